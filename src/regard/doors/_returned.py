"""Weights of modules that compute attention by themselves: what they gave to softmax, and what they returned."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ..weights import AttentionWeights, from_dense
from ._untouched import untouched


class Frame:
    """One module of a model that is running; there are hundreds in a pass, so it holds little."""

    __slots__ = ("module", "name", "seen", "softmaxes")

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name = name
        self.module = module
        self.seen = 0
        """How many calls of attention it made, its own modules included."""
        self.softmaxes: list[tuple[Tensor, Tensor]] | None = None
        """What it gave to softmax, and what that made."""


def found_in(frame: Frame, output: object) -> list[tuple[str, AttentionWeights]]:
    """Return the attention of a module that returned `output`, with the way by which each was found."""
    if untouched((output,)) is not None:
        return []
    made = [_softmax_of_module(scores, weights, output) for scores, weights in frame.softmaxes or ()]
    found = [("softmax", weights) for weights in made if weights is not None]
    if not found and not frame.seen and not isinstance(output, Tensor):
        weights = _weights_of_output(output)
        found = [] if weights is None else [("weights that a module returned", weights)]
    return found


def why_nothing(frame: Frame, output: object) -> str | None:
    """Say why nothing was found in a module that computes attention by its name, None for any other module."""
    if not computes_attention(frame.module):
        return None
    reason = untouched((output,))
    name, out = f"{frame.name} ({type(frame.module).__name__})", _first_tensor(output)
    if reason is not None or not frame.softmaxes or out is None:
        return name if reason is None else f"{name}: {reason}"
    shape = tuple(frame.softmaxes[-1][1].shape)
    if len(shape) == 3:
        return f"{name}: softmax gave {shape}, heads and sequences in one; run one sequence at a time"
    return f"{name}: softmax gave {shape}, not (batch, heads, queries, keys) of an output {tuple(out.shape)}"


def computes_attention(module: nn.Module) -> bool:
    """Say whether a module's class is named after attention."""
    return _is_named_after_attention(type(module).__name__)


@functools.lru_cache(maxsize=4096)
def _is_named_after_attention(name: str) -> bool:
    return re.search("atten|attn|mhsa", name.lower()) is not None


def _first_tensor(output: object) -> Tensor | None:
    """Return what a module returned, the first of several, or None where that is no tensor."""
    if isinstance(output, tuple | list):
        output = output[0] if output else None
    return output if isinstance(output, Tensor) else None


def weights_of_softmax(scores: Tensor, weights: Tensor) -> AttentionWeights:
    """Return what softmax made of scores as weights, those before dropout.

    A score at the lowest end of its dtype hides a key, unless the whole row is so low that softmax spread it evenly.
    """
    scores, weights = scores.detach(), weights.detach()
    weights = weights.masked_fill((scores == -torch.inf).all(-1, keepdim=True), 0.0)  # softmax of nothing is NaN
    return from_dense(weights, (scores > torch.finfo(scores.dtype).min / 2) | (weights > 0))


def _softmax_of_module(scores: Tensor, weights: Tensor, output: object) -> AttentionWeights | None:
    """Return what softmax gave as the weights `(B, H, L, S)` of a module with this output, None if it is no such.

    Where the module returns fewer keys than went into softmax, the last one was a sink. Weights `(N, L, S)` have their
    heads in the batch; which is which is known where there is one head, or one sequence.
    """
    out = _first_tensor(output)
    if out is not None and weights.ndim == 3:
        shapes = [(batch, len(weights) // batch, *weights.shape[1:]) for batch in (1, len(weights))]
        known = [shape for shape in shapes if _fits(shape, out.shape)]
        if not known:
            return None
        scores, weights = (one.reshape(known[0]) for one in (scores, weights))
    if out is None or not _fits(weights.shape, out.shape):
        return None
    keys = min((other.shape[3] for other in _candidates(output, weights.shape)), default=weights.shape[3])
    return weights_of_softmax(scores[..., :keys], weights[..., :keys])


def _weights_of_output(output: object) -> AttentionWeights | None:
    """Return the weights `(B, H, L, S)` in what an eager attention module returned, `(out, ..., weights)`, or None."""
    out = _first_tensor(output)
    for weights in _candidates(output, None):
        if out is not None and _fits(weights.shape, out.shape) and _sums_to_one(weights):
            return from_dense(weights.detach())
    return None


def _candidates(output: object, shape: Sequence[int] | None) -> Iterable[Tensor]:
    """List the floating 4-D tensors behind the first; with a shape those that have it, or fewer keys."""
    for other in output[1:] if isinstance(output, tuple | list) else ():
        if not isinstance(other, Tensor) or other.ndim != 4 or not other.is_floating_point() or not other.numel():
            continue
        if shape is None or (other.shape[:3] == shape[:3] and shape[3] - 1 <= other.shape[3] <= shape[3]):
            yield other


def _fits(weights: Sequence[int], out: Sequence[int]) -> bool:
    """Say whether weights of this shape have a row for every place of an output."""
    batch, heads, queries, _ = weights
    if len(out) < 3:
        return False
    if out[:2] == (queries, batch):  # sequence first
        return True
    places = {out[1], math.prod(out[1:-1]), math.prod(out[2:])}  # tokens, or a picture with channels last or first
    if len(out) == 4 and out[1] == heads:
        places.add(out[2])
    return out[0] == batch and queries in places


def _sums_to_one(weights: Tensor) -> bool:
    # A bias of the positions has the same shape. Dropout and sinks leave rows near 1, not at it.
    if bool((weights < 0).any()):
        return False
    sums = weights.detach().double().sum(-1)
    return bool(sums.amax() > 0.5) and bool(sums.mean() < 1.5)
