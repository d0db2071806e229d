"""What a model's code hands to an attention implementation beyond the common arguments: keys it chose, and the rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ... import masks
from ..._tracing import traced
from ...errors import ArgumentError
from ...masks import Mask
from ._reach import spoken

_CHOICES = {"indices", "block_indices"}
# What "eager" and "sdpa" leave out too: the mask and the tensors say it already.
_LEFT_OUT = {
    "cache_position", "cu_seq_lens_k", "cu_seq_lens_q", "max_length_k", "max_length_q", "position_embeddings",
    "position_ids",
}  # fmt: skip


def refuse_unknown(module: nn.Module, settings: dict[str, Any]) -> None:
    """Raise `ArgumentError` for a tensor that the module's own code hands over and nobody here reads.

    What a user adds to the call of a model comes through too, and is left out as "sdpa" leaves it out.
    """
    unknown = [
        name for name, value in settings.items() if isinstance(value, Tensor) and name not in _CHOICES | _LEFT_OUT
    ]
    if unknown and not traced():
        unknown = [name for name in unknown if name in spoken(type(module))]
        if unknown:
            raise ArgumentError(
                f"{type(module).__name__} hands {', '.join(unknown)} to its attention, which "
                'attn_implementation="regard" does not know: leaving it out could change the result. Use "eager" for '
                "this model."
            )


def chosen_keys(module: nn.Module, query: Tensor, key: Tensor, settings: dict[str, Any]) -> Mask | None:
    """Return which keys the indexer of a sparse model chose, or None if it chose none.

    Under "eager" the code of such a model joins the choice with the mask, under other names it hands it over.
    `indices` `(B, L, k)` names keys; `block_indices` `(B, H', L, k)` names blocks of `module.indexer.block_size` keys
    for each group of heads. -1 names nothing.
    """
    found: Mask | None = None
    if settings.get("indices") is not None:
        found = masks.dense(_named(settings["indices"], key.shape[2])[:, None])
    if settings.get("block_indices") is not None:
        named: Tensor = settings["block_indices"]
        size: Any = getattr(getattr(module, "indexer", None), "block_size", None)
        if not isinstance(size, int):
            raise ArgumentError(
                f"{type(module).__name__} hands block_indices to its attention, and there is no module.indexer."
                'block_size that says how long a block is. Use "eager" for this model.'
            )
        blocks = _named(named, -(-key.shape[2] // size)).repeat_interleave(size, -1)[..., : key.shape[2]]
        part = masks.dense(blocks.repeat_interleave(query.shape[1] // named.shape[1], 1))
        found = part if found is None else found & part
    return found


def _named(indices: Tensor, size: int) -> Tensor:
    """Return a bool tensor whose last axis, `size` long, is True where `indices` names it."""
    place = torch.where(indices < 0, size, indices).long()
    chosen = torch.zeros(*indices.shape[:-1], size + 1, dtype=torch.bool, device=indices.device)
    return chosen.scatter_(-1, place, True)[..., :size]
