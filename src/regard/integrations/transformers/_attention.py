"""The attention implementation "regard" of transformers."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn

from ... import masks
from ..._attention import attention
from ..._tracing import sizes
from ...errors import ArgumentError
from ...masks import Mask
from ...weights import AttentionWeights
from .._sink_attention import sink_attention
from ._masks import read_mask, regard_mask
from ._package import hugging_face

__all__ = ["NAME", "attention_forward", "register", "why_not"]

NAME = "regard"


def register(model: nn.Module | None = None) -> None:
    """Make `attn_implementation="regard"` known to transformers; with a `model`, also switch it over.

    Registers the attention and the mask function: without the second, transformers would pass no mask at all. May be
    called more than once.

    Args:
        model: a `PreTrainedModel` that is to use regard from now on.

    Raises:
        MissingExtraError: transformers is not installed.
        ArgumentError: the model's attention does not go through transformers' interface (see `why_not`).

    Outputs are those of "sdpa" and "eager" to rounding, except in rows that see no key (padding on the left): their
    attention is 0 here, and the mean of the values under "eager". Cost: none until a model runs.
    """
    hugging_face("utils.output_capturing")
    hugging_face("modeling_utils").AttentionInterface.register(NAME, attention_forward)
    hugging_face("masking_utils").AttentionMaskInterface.register(NAME, regard_mask)
    if model is None:
        return
    reason = why_not(model)
    if reason is not None:
        raise ArgumentError(f"{type(model).__name__} cannot use regard: {reason}.")
    model.set_attn_implementation(NAME)  # type: ignore[operator]


def why_not(model: nn.Module) -> str | None:
    """Say why `attn_implementation="regard"` would have no effect on a model, or None if it has.

    transformers accepts any registered name for every model, also where the model's code never asks for it (DeBERTa,
    Longformer): such a model runs its own attention without a word.
    """
    kind = hugging_face("modeling_utils").PreTrainedModel
    if not isinstance(model, kind):
        return "it is not a PreTrainedModel of transformers"
    parts = [part for part in model.modules() if isinstance(part, kind)]
    if not any(_asks(type(part), kind) for part in parts):
        return (
            "its code computes attention itself, without transformers' AttentionInterface; "
            "output_attentions=True works there as it is"
        )
    return None


def _asks(model: type, base: type) -> bool:
    # A file that never looks an implementation up takes the setting and ignores it. A user's class may inherit.
    files = [sys.modules.get(kind.__module__) for kind in model.__mro__ if issubclass(kind, base) and kind is not base]
    return any(hasattr(file, "ALL_ATTENTION_FUNCTIONS") for file in files)


def attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    cache: Any = None,
    **settings: Any,
) -> tuple[Tensor, AttentionWeights | None]:
    """Compute attention as transformers asks for it.

    Shapes: `query` `(B, H, L, E)`, `key` and `value` `(B, G, S, E)`; the output is `(B, L, H, Ev)`.

    Args:
        module: the attention module that calls; its `is_causal` counts where the argument is None.
        attention_mask: a `SpanMask`, a bool tensor (True = may look) or a floating one that is added.
        dropout, scaling, softcap: as in `regard.attention`.
        is_causal: whether a call without a mask sees the past only, counted from the first key, as SDPA counts.
        position_bias: added to the scores.
        s_aux: `(H,)`, the score of one more key per head that holds no value (the sinks of GPT-OSS).
        cache: a paged cache, which is refused.
        settings: what other implementations take. `output_attentions` counts here too; a sliding window is already in
            the mask.

    Returns:
        The output and, where the caller collects attentions, the lazy weights, else None.

    Raises:
        ArgumentError: a paged cache.
    """
    if cache is not None and type(cache).__name__.startswith("Paged"):
        raise ArgumentError(
            'attn_implementation="regard" was given a paged cache of continuous batching, which holds keys in pages. '
            'Use "sdpa" or a flash implementation for continuous batching.'
        )
    mask, bias = _mask_and_bias(module, query, key, attention_mask, is_causal)
    if position_bias is not None:
        bias = position_bias if bias is None else bias + position_bias
    if bias is not None and bias.dtype not in (query.dtype, torch.float32):
        bias = bias.to(query.dtype)
    wanted = _collects(module, settings)
    if mask is None:
        mask = Mask()
    result = (
        attention(
            query, key, value, mask=mask, bias=bias, scale=scaling, softcap=softcap, dropout=dropout,
            need_weights=wanted,
        )
        if s_aux is None
        else sink_attention(
            query, key, value, s_aux, mask=mask, bias=bias, scale=scaling, softcap=softcap, dropout=dropout
        )
    )  # fmt: skip
    if not isinstance(result, tuple):
        return result.transpose(1, 2).contiguous(), None
    output, weights = result
    return output.transpose(1, 2).contiguous(), weights if wanted else None


def _mask_and_bias(
    module: nn.Module, query: Tensor, key: Tensor, given: Tensor | None, is_causal: bool | None
) -> tuple[Mask | None, Tensor | None]:
    if given is not None:
        return read_mask(given)
    past = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if not past or sizes(query)[2] == 1:
        return None, None
    return masks.causal() if sizes(query)[2] == sizes(key)[2] else masks.causal(offset=0), None


def _collects(module: nn.Module, settings: dict[str, Any]) -> bool:
    """Return whether the caller will look at the attentions."""
    asked = settings.get("output_attentions")
    if asked is not None:
        return bool(asked)
    capturing = hugging_face("utils.output_capturing")
    if not hasattr(capturing, "_active_collector"):  # another release: lazy weights nobody takes cost little
        return True
    collected: dict[str, Any] | None = capturing._active_collector.get()
    return any("attentions" in name for name in collected or ())
