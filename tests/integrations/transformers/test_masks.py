"""transformers' mask functions as spans: equal to its masks for "eager", and dense where they are not known."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import masking_utils as theirs

from regard import masks
from regard.errors import DtypeError, ShapeError
from regard.integrations.transformers import SpanMask, regard_mask
from regard.integrations.transformers._span_mask import read_mask

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


def _spans(call: dict[str, Any]) -> SpanMask:
    """Return what `regard_mask` makes of a call: spans that say what transformers' mask for "eager" says."""
    found, expected = regard_mask(**call), theirs.eager_mask(**call)
    assert isinstance(found, SpanMask)
    assert torch.equal(found.to_plain(), expected.expand(found.shape))
    return found


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
    found, expected = _spans(call), theirs.eager_mask(**call)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    if padding != "holes":
        assert found.mask.resolve(*found.shape[-2:]).dense is None


@pytest.mark.parametrize("inner", ["causal", "sliding causal"])
def test_packed_documents_become_spans(inner: str) -> None:
    """Documents packed into one row, which transformers finds in the position ids."""
    function = theirs.packed_sequence_compatibility_function(FUNCTIONS[inner](), _POSITIONS, _PACKED)
    found = _spans({**_LENGTHS, "batch_size": 2, "mask_function": function})
    assert found.mask.resolve(7, 7).dense is None


def test_unknown_functions_are_evaluated() -> None:
    """A function of someone's own, and a union, are evaluated."""
    blocks = theirs.blockwise_overlay(torch.tensor([[0, 0, -1, 1, 1, 1, -1]] * 2))
    for function in (
        lambda b, h, q, k: (k + q) % 2 == 0,
        theirs.or_masks(theirs.causal_mask_function, blocks),
        theirs.and_masks(theirs.causal_mask_function, lambda b, h, q, k: k != 2),
    ):
        _spans({**_LENGTHS, "batch_size": 2, "mask_function": function})


def test_a_function_that_changed_its_meaning_is_evaluated() -> None:
    """A function that looks like a known one and says something else is caught at the ends of its spans."""
    known = theirs.sliding_window_overlay(3)

    def made_elsewhere(sliding_window: int) -> Any:
        return lambda b, h, q, k: k > q - sliding_window - 1

    other = made_elsewhere(3)
    other.__module__, other.__qualname__ = known.__module__, known.__qualname__
    both = theirs.and_masks(other, theirs.causal_mask_function)
    _spans({**_LENGTHS, "batch_size": 1, "mask_function": both})


def test_nothing_hidden_is_no_mask_where_allowed() -> None:
    """A bidirectional mask without padding is None if the caller may get None."""
    call = {**_LENGTHS, "batch_size": 2, "mask_function": theirs.bidirectional_mask_function}
    assert regard_mask(**call, allow_is_bidirectional_skip=True) is None
    assert isinstance(regard_mask(**call), SpanMask)


def test_a_window_both_ways_is_not_skipped_where_it_hides() -> None:
    """The right to give no mask holds only where the window reaches over all keys."""
    call = {
        **_LENGTHS, "batch_size": 1, "mask_function": FUNCTIONS["sliding both ways"](), "local_size": 2,
        "allow_is_bidirectional_skip": True,
    }  # fmt: skip
    for more in ({}, {"use_vmap": True}):
        _spans(call | more)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_span_mask_is_the_mask_of_eager_to_others(dtype: torch.dtype) -> None:
    """What models compute with a mask gives what eager's gives; a slice of everything keeps the spans."""
    mask = SpanMask(masks.causal(), (2, 1, 4, 4), dtype)
    plain = theirs.eager_mask(batch_size=2, q_length=4, kv_length=4, dtype=dtype)
    assert (mask.shape, mask.dtype, mask.ndim) == (plain.shape, dtype, 4)
    assert isinstance(mask[:, :, :, :4], SpanMask)
    assert isinstance(mask[:, :, -4:, :], SpanMask)
    assert isinstance(mask.detach(), SpanMask)
    scores = torch.randn(2, 3, 4, 4).to(dtype)
    for act in (
        lambda m: m[:, :, :, :3], lambda m: m[1:], lambda m: scores + m, lambda m: m == 0, lambda m: ~m.bool(),
        lambda m: torch.cat([m, torch.zeros_like(m)], -1), lambda m: F.pad(m, (0, 2), value=0.0),
        lambda m: torch.where(m < 0, 1.0, 0.0), lambda m: m.masked_fill(m == 0, 5.0), lambda m: m.expand(2, 3, 4, 4),
        lambda m: m.to(torch.float64), lambda m: F.scaled_dot_product_attention(scores, scores, scores, attn_mask=m),
    ):  # fmt: skip
        assert torch.equal(act(mask), act(plain))
    assert "causal()" in repr(mask)


def test_what_a_model_writes_into_a_mask_counts() -> None:
    """Written in place, directly, through a slice or through an alias, a mask says what stands there now."""
    for write in (
        lambda m: m.masked_fill_(torch.eye(4, dtype=torch.bool), -1e30),
        lambda m: m.__setitem__((..., 0), -1e30),
        lambda m: m[:, :, 1:].fill_(-1e30),
        lambda m: m.detach().add_(1.0),
    ):
        mask, plain = SpanMask(masks.causal(), (1, 1, 4, 4)), theirs.eager_mask(1, 4, 4)
        write(mask)
        write(plain)
        read, bias = read_mask(mask)
        assert read is None
        assert torch.equal(bias, plain)
    with torch.inference_mode():  # tensors that count no writes: the entries are read again
        mask = SpanMask(masks.causal(), (1, 1, 4, 4))
        mask[..., 0].fill_(torch.finfo(torch.float32).min)
        read, _ = read_mask(mask)
        assert not read.to_dense(4, 4)[..., 0].any()
    read, _ = read_mask(SpanMask(masks.causal(), (1, 1, 4, 4)) + 0)
    assert torch.equal(read.to_dense(4, 4)[0, 0], torch.ones(4, 4, dtype=torch.bool).tril())


def test_reading_a_mask_does_not_make_its_entries() -> None:
    """A mask that is only passed on, and looked at, never becomes a matrix."""
    mask = SpanMask(masks.causal(), (1, 1, 1 << 20, 1 << 20))
    read, _ = read_mask(mask[:, :, :, : 1 << 20].detach())
    assert read is mask.mask


def test_what_cannot_be_a_mask_is_refused() -> None:
    """Sizes and dtypes that no mask has."""
    with pytest.raises(ShapeError, match=r"the rule is \(B, 1, L, S\)"):
        SpanMask(masks.causal(), (4, 4))
    with pytest.raises(DtypeError, match="give a floating dtype"):
        SpanMask(masks.causal(), (1, 1, 4, 4), torch.bool)
