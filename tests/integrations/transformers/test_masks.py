"""transformers' mask functions as spans: equal to its own dense masks, and dense where they are not known."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import masking_utils as theirs

from regard import masks
from regard.integrations.transformers import SpanMask, regard_mask

_LENGTHS = {"q_length": 7, "kv_length": 7}
_DECODE = {"q_length": 1, "kv_length": 9, "q_offset": 8}
_CHUNK = {"q_length": 3, "kv_length": 9, "q_offset": 6}
_STATIC = {"q_length": 4, "kv_length": 12, "q_offset": torch.tensor(3)}
_SLIDING_CACHE = {"q_length": 2, "kv_length": 5, "q_offset": 10, "kv_offset": 7}
_PACKED = torch.tensor([[0, 0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 0, 0, 1]])
_POSITIONS = torch.tensor([[0, 1, 2, 0, 1, 0, 1], [0, 1, 2, 3, 4, 5, 0]])

FUNCTIONS: dict[str, Callable[[], Any]] = {
    "causal": lambda: theirs.causal_mask_function,
    "bidirectional": lambda: theirs.bidirectional_mask_function,
    "sliding causal": lambda: theirs.sliding_window_causal_mask_function(3),
    "sliding both ways": lambda: theirs.sliding_window_bidirectional_mask_function(2),
    "chunked": lambda: theirs.chunked_causal_mask_function(3, torch.tensor([0, 2])),
}


def _assert_equal(found: Any, expected: Tensor) -> None:
    plain = found.to_plain() if isinstance(found, SpanMask) else found
    assert torch.equal(plain, expected.expand(plain.shape))


@pytest.mark.parametrize("padding", [None, "left", "right", "holes"])
@pytest.mark.parametrize("sizes", [_LENGTHS, _DECODE, _CHUNK, _STATIC, _SLIDING_CACHE])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_known_functions_become_spans(name: str, sizes: dict[str, Any], padding: str | None) -> None:
    """Every known function, at every stage of decoding, is a `SpanMask` that says what transformers' mask says."""
    real = None
    if padding is not None:
        real = torch.ones(2, int(sizes.get("q_offset", 0)) + sizes["q_length"], dtype=torch.bool)
        hidden = {"left": slice(0, 2), "right": slice(-2, None), "holes": slice(1, -1, 3)}[padding]
        real[0, hidden] = False
    call = {**sizes, "batch_size": 2, "mask_function": FUNCTIONS[name](), "attention_mask": real}
    expected = theirs.sdpa_mask(**call, allow_is_causal_skip=False)
    found = regard_mask(**call)
    assert isinstance(found, SpanMask)
    assert found.shape == expected.shape
    if padding != "holes":
        assert found.mask.resolve(*found.shape[-2:]).dense is None
    _assert_equal(found, expected)


@pytest.mark.parametrize("inner", ["causal", "sliding causal"])
def test_packed_documents_become_spans(inner: str) -> None:
    """Documents packed into one row, which transformers finds in the position ids."""
    function = theirs.packed_sequence_compatibility_function(FUNCTIONS[inner](), _POSITIONS, _PACKED)
    call = {**_LENGTHS, "batch_size": 2, "mask_function": function}
    found = regard_mask(**call)
    assert isinstance(found, SpanMask)
    assert found.mask.resolve(7, 7).dense is None
    _assert_equal(found, theirs.sdpa_mask(**call, allow_is_causal_skip=False))


def test_unknown_functions_stay_dense() -> None:
    """A function of someone's own, and a union, are evaluated."""
    blocks = theirs.blockwise_overlay(torch.tensor([[0, 0, -1, 1, 1, 1, -1]] * 2))
    for function in (
        lambda b, h, q, k: (k + q) % 2 == 0,
        theirs.or_masks(theirs.causal_mask_function, blocks),
        theirs.and_masks(theirs.causal_mask_function, lambda b, h, q, k: k != 2),
    ):
        call = {**_LENGTHS, "batch_size": 2, "mask_function": function}
        found = regard_mask(**call)
        assert not isinstance(found, SpanMask)
        _assert_equal(found, theirs.sdpa_mask(**call, allow_is_causal_skip=False))


def test_a_function_that_changed_its_meaning_stays_dense() -> None:
    """A function that looks like a known one and says something else is caught at the ends of its spans."""
    known = theirs.sliding_window_overlay(3)

    def made_elsewhere(sliding_window: int) -> Any:
        return lambda b, h, q, k: k > q - sliding_window - 1

    other = made_elsewhere(3)
    other.__module__, other.__qualname__ = known.__module__, known.__qualname__
    call = {**_LENGTHS, "batch_size": 1, "mask_function": theirs.and_masks(other, theirs.causal_mask_function)}
    found = regard_mask(**call)
    assert not isinstance(found, SpanMask)
    _assert_equal(found, theirs.sdpa_mask(**call, allow_is_causal_skip=False))


def test_nothing_hidden_is_no_mask_where_allowed() -> None:
    """A bidirectional mask without padding is None if the caller may get None."""
    call = {**_LENGTHS, "batch_size": 2, "mask_function": theirs.bidirectional_mask_function}
    assert regard_mask(**call, allow_is_bidirectional_skip=True) is None
    assert isinstance(regard_mask(**call), SpanMask)


def test_a_span_mask_is_a_tensor_to_others() -> None:
    """What models do with a mask gives what a plain tensor gives; a slice of everything keeps the spans."""
    mask = SpanMask(masks.causal(), (2, 1, 4, 4))
    plain = torch.ones(4, 4, dtype=torch.bool).tril().expand(2, 1, 4, 4)
    assert (mask.shape, mask.dtype, mask.ndim) == (plain.shape, torch.bool, 4)
    assert isinstance(mask[:, :, :, :4], SpanMask)
    assert torch.equal(mask[:, :, :, :3], plain[:, :, :, :3])
    assert torch.equal(mask[1:], plain[1:])
    assert torch.equal(~mask, ~plain)
    assert torch.equal(torch.where(mask, 0.0, -1.0), torch.where(plain, 0.0, -1.0))
    assert torch.equal(torch.cat([mask, mask], -1), torch.cat([plain, plain], -1))
    assert "causal()" in repr(mask)
