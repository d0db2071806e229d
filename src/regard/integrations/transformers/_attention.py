"""The attention implementation "regard" of transformers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ... import masks
from ..._attention import attention
from ..._tracing import sizes
from ...errors import ArgumentError
from ...masks import Mask
from ...weights import AttentionWeights
from ._masks import regard_mask
from ._package import hugging_face
from ._reach import NAME, why_not
from ._settings import chosen_keys, refuse_unknown
from ._span_mask import read_mask


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
    sinks: Tensor | None = None,
    cache: Any = None,
    **settings: Any,
) -> tuple[Tensor, AttentionWeights | None]:
    """Compute attention as transformers asks for it.

    Shapes: `query` `(B, H, L, E)`, `key` and `value` `(B, G, S, E)`; the output is `(B, L, H, Ev)`. A batch of 1
    stands for any.

    Args:
        module: the attention module that calls; its `is_causal` counts where the argument is None, and its `training`
            says whether `dropout` does.
        attention_mask: a `SpanMask`, a floating tensor that is added, or a bool one (True = may look).
        dropout, scaling, softcap: as in `regard.attention`.
        is_causal: whether a call without a mask sees the past only, counted from the first key, as SDPA counts. A
            module that says nothing sees everything, as under "eager".
        position_bias: added to the scores.
        s_aux: `(H,)`, the score of one more key per head that holds no value (the sinks of GPT-OSS).
        sinks: `(B, H, L, 1)`, the same with a score for each row.
        cache: a paged cache, which is refused.
        settings: what other implementations take. `output_attentions` counts here too, and the keys that a model's
            indexer chose (`indices`, `block_indices`); a sliding window is already in the mask.

    Returns:
        The output and, where the caller collects attentions, the lazy weights, else None.

    Raises:
        ArgumentError: a paged cache, or a tensor that the module's own code hands over and regard does not know.
    """
    if cache is not None and type(cache).__name__.startswith("Paged"):
        raise ArgumentError(
            'attn_implementation="regard" was given a paged cache of continuous batching, which holds keys in pages. '
            'Use "sdpa" or a flash implementation for continuous batching.'
        )
    refuse_unknown(module, settings)
    query, key, value = _one_batch(query, key, value)
    mask, bias = _mask_and_bias(module, query, key, attention_mask, is_causal)
    chosen = chosen_keys(module, query, key, settings)
    if chosen is not None:
        mask = chosen if mask is None else mask & chosen
    if position_bias is not None:
        bias = position_bias if bias is None else bias + position_bias
    result = attention(
        query, key, value, mask=Mask() if mask is None else mask, bias=_added(bias, query), scale=scaling,
        softcap=softcap, sinks=_added(s_aux if sinks is None else sinks.squeeze(-1), query),
        dropout=dropout if module.training else 0.0, need_weights=_collects(module, settings),
    )  # fmt: skip
    output, weights = result if isinstance(result, tuple) else (result, None)
    return output.transpose(1, 2).contiguous(), weights


def _added(scores: Tensor | None, query: Tensor) -> Tensor | None:
    """Return scores in a dtype that may stand beside the query."""
    return scores if scores is None or scores.dtype in (query.dtype, torch.float32) else scores.to(query.dtype)


def _one_batch(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return tensors of one batch size: eager attention multiplies a batch of 1 with any other."""
    given = [sizes(tensor)[0] for tensor in tensors]
    batch = max(given)
    return tuple(
        t.expand(batch, -1, -1, -1) if size == 1 != batch else t for t, size in zip(tensors, given, strict=True)
    )


def _mask_and_bias(
    module: nn.Module, query: Tensor, key: Tensor, given: Tensor | None, is_causal: bool | None
) -> tuple[Mask | None, Tensor | None]:
    if given is not None:
        return read_mask(given)
    past = getattr(module, "is_causal", False) if is_causal is None else is_causal
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
