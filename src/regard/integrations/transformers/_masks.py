"""Masks of transformers as spans: what its mask functions say is read from them in place of an n x n tensor.

transformers describes a mask by small functions of (batch, head, query, key), joined by closures. The known ones are
read here; whatever else comes is evaluated densely and recognised. What was read is checked against the function
itself at both ends of every span, so a release that changes the meaning of one makes the mask dense, not wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ... import masks
from ..._tracing import traced
from ...masks import Mask
from ._package import hugging_face
from ._span_mask import SpanMask

MaskFunction = Callable[[Any, Any, Any, Any], Any]


def regard_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int | Tensor = 0,
    kv_offset: int = 0,
    mask_function: MaskFunction | None = None,
    attention_mask: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    allow_is_bidirectional_skip: bool = False,
    use_vmap: bool = False,
    device: torch.device | str = "cpu",
    **settings: Any,
) -> Tensor | None:
    """Build the mask of a forward pass: what `AttentionMaskInterface` calls for the implementation "regard".

    Returns a `SpanMask`, and None where nothing is hidden and the caller allows that: to the code of a model it is
    the mask of "eager", the one implementation that every model is written for. Where values cannot be read (a
    compiled graph, a transform, the device "meta") it is that mask itself.

    `settings` are the arguments that transformers passes for other implementations (`config`, ...).
    """
    theirs = hugging_face("masking_utils")
    function = theirs.causal_mask_function if mask_function is None else mask_function
    place = torch.device(device)
    asked: dict[str, Any] = {
        "batch_size": batch_size, "q_length": q_length, "kv_length": kv_length, "q_offset": q_offset,
        "kv_offset": kv_offset, "mask_function": function, "attention_mask": attention_mask,
        "allow_is_bidirectional_skip": allow_is_bidirectional_skip, "local_size": settings.get("local_size"),
        "use_vmap": use_vmap, "device": device,
    }  # fmt: skip
    if traced() or place.type == "meta":
        eager: Tensor | None = theirs.eager_mask(**asked, dtype=dtype)
        return eager
    places = _Places(q_length, kv_length, int(q_offset), kv_offset)
    found = None if use_vmap else _known(function, places, attention_mask, theirs, place)
    if found is None:
        dense = theirs.sdpa_mask(**asked, allow_is_causal_skip=False)
        if dense is None:
            return None
        found = masks.recognise(dense) if place.type == "cpu" else masks.dense(dense)
    elif not found.parts and allow_is_bidirectional_skip:
        return None
    return SpanMask(found, (batch_size, 1, q_length, kv_length), dtype, place)


class _Places(NamedTuple):
    """Which queries and keys of the whole sequence a call has."""

    queries: int
    keys: int
    q_offset: int
    kv_offset: int


def _known(
    function: MaskFunction, places: _Places, real: Tensor | None, theirs: Any, device: torch.device
) -> Mask | None:
    """Return the mask that `function` and the padding say, or None where it cannot be read from the function."""
    found = _read(function, places, theirs)
    if found is None or not _agrees(function, found, places, device):
        return None
    padding = None if real is None else theirs.prepare_padding_mask(real, places.keys, places.kv_offset)
    if padding is not None:
        padding = padding[:, places.kv_offset : places.kv_offset + places.keys].bool()
        if not bool(padding.all()):
            found = found & masks.padding(padding)
    return found


def _read(function: MaskFunction, places: _Places, theirs: Any, packed: bool = False) -> Mask | None:
    """Return what a mask function says, None if it is not one of the known. `packed`: documents are apart already."""
    offset = places.q_offset - places.kv_offset
    if function is theirs.causal_mask_function:
        return masks.causal(offset=offset)
    if function is theirs.bidirectional_mask_function:
        return Mask()
    name, held = _closure(function)
    if name == "and_masks":
        return _read_all(held.get("mask_functions", ()), places, theirs)
    if name == "remap_positions_for_packed_sequence" and packed and callable(held.get("mask_function")):
        return _read(held["mask_function"], places, theirs)  # distances inside a document stay what they are
    ids = held.get("packed_sequence_mask")
    if name == "packed_sequence_mask_function" and isinstance(ids, Tensor) and places.queries == places.keys:
        return masks.documents(ids=ids)
    size = held.get("sliding_window")
    if name == "sliding_window_overlay" and isinstance(size, int) and size > 0:
        return masks.window(size - 1, None, offset=offset)
    if name == "sliding_window_bidirectional_overlay" and isinstance(size, int) and size >= 0:
        return masks.window(size, size, offset=offset)
    chunk, padding = held.get("chunk_size"), held.get("left_padding")
    if name == "chunked_overlay" and isinstance(chunk, int) and isinstance(padding, Tensor):
        place = torch.arange(places.queries, device=padding.device) + places.q_offset
        first = (place - padding[:, None]) // chunk * chunk + padding[:, None] - places.kv_offset
        return masks.spans(first, first + chunk)
    return None


def _read_all(functions: Sequence[MaskFunction], places: _Places, theirs: Any) -> Mask | None:
    packed = any(_closure(part)[0] == "packed_sequence_mask_function" for part in functions)
    found = Mask()
    for part in functions:
        one = _read(part, places, theirs, packed)
        if one is None:
            return None
        found = found & one
    return found


def _closure(function: MaskFunction) -> tuple[str, dict[str, Any]]:
    """Return the name of the function of transformers that made this one, and what it holds."""
    if getattr(function, "__module__", "") != "transformers.masking_utils":
        return "", {}
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    names = () if code is None else code.co_freevars
    held = {name: cell.cell_contents for name, cell in zip(names, cells or (), strict=True)}
    return str(getattr(function, "__qualname__", "")).split(".")[0], held


def _agrees(function: MaskFunction, found: Mask, places: _Places, device: torch.device) -> bool:
    """Return whether the function itself sees the two ends of every span, and not what lies beside them."""
    start, stop, dense = found.resolve(places.queries, places.keys, device)
    if dense is not None:
        return False
    if start is None or stop is None:
        start = torch.zeros(1, 1, places.queries, dtype=torch.int32, device=device)
        stop = torch.full_like(start, places.keys)
    start, stop = start[:, 0], stop[:, 0]
    row = torch.arange(places.queries, device=device).expand_as(start) + places.q_offset
    batch = torch.arange(start.shape[0], device=device)[:, None].expand_as(start)
    wrong = torch.zeros((), dtype=torch.bool, device=device)
    for key, expected in ((start, True), (stop - 1, True), (start - 1, False), (stop, False)):
        exists = (start < stop) & (key >= 0) & (key < places.keys)
        place = key.long().clamp(0, max(places.keys - 1, 0)) + places.kv_offset
        said = function(batch, torch.zeros_like(batch), row, place)
        wrong = wrong | (exists & (said != expected)).any()
    return not bool(wrong)
