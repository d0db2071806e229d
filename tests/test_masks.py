"""The algebra of masks: every part against its definition, written down cell by cell."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from regard import masks
from regard.errors import ArgumentError, DtypeError, ShapeError
from regard.masks import Mask

BATCH = 2
SIZES = st.tuples(st.integers(0, 9), st.integers(0, 9))
SIDES = st.one_of(st.none(), st.integers(0, 10))
Sees = Callable[[int, int, int], bool]  # batch row, query, key


def cells(queries: int, keys: int, sees: Sees) -> Tensor:
    """Write a mask down cell by cell, `(B, L, S)`."""
    rows = [[[sees(b, i, j) for j in range(keys)] for i in range(queries)] for b in range(BATCH)]
    return torch.tensor(rows, dtype=torch.bool).reshape(BATCH, queries, keys)


def draw_part(data: st.DataObject, queries: int, keys: int) -> tuple[Mask, Sees]:
    """Draw a part that fits the sizes, with its definition."""
    shift = keys - queries
    kind = data.draw(st.sampled_from(["causal", "offset", "window", "padding", "left", "prefix", "spans", "dense"]))
    if kind == "causal":
        return masks.causal(), lambda b, i, j: j <= i + shift
    if kind == "offset":
        offset = data.draw(st.integers(-12, 12))
        return masks.causal(offset), lambda b, i, j: j <= i + offset
    if kind == "window":
        left, right = data.draw(SIDES), data.draw(SIDES)
        offset = data.draw(st.one_of(st.none(), st.integers(-3, 3)))
        moved = shift if offset is None else offset
        return masks.window(
            left, right, offset
        ), lambda b, i, j: (left is None or j >= i + moved - left) and (right is None or j <= i + moved + right)
    if kind in ("padding", "left"):
        lengths = data.draw(st.lists(st.integers(0, keys), min_size=BATCH, max_size=BATCH))
        if kind == "left":
            return masks.padding(lengths, side="left"), lambda b, i, j: j >= keys - lengths[b]
        return masks.padding(lengths), lambda b, i, j: j < lengths[b]
    if kind == "prefix":
        lengths = data.draw(st.lists(st.integers(0, keys + 2), min_size=BATCH, max_size=BATCH))
        return masks.prefix(lengths), lambda b, i, j: j < lengths[b] or j <= i + shift
    if kind == "spans":
        numbers = st.lists(st.integers(-2, keys + 2), min_size=queries, max_size=queries)
        start, stop = data.draw(numbers), data.draw(numbers)
        mask = masks.spans(torch.tensor(start, dtype=torch.int64), torch.tensor(stop, dtype=torch.int64))
        return mask, lambda b, i, j: start[i] <= j < stop[i]
    bits = torch.rand(BATCH, 1, queries, keys) < 0.5
    return masks.dense(bits), lambda b, i, j: bool(bits[b, 0, i, j])


@given(SIZES, st.data())
def test_every_part_equals_its_definition(sizes: tuple[int, int], data: st.DataObject) -> None:
    """One part, cell by cell, for L = S, L < S, L > S and empty sizes."""
    mask, sees = draw_part(data, *sizes)
    expected = cells(*sizes, sees)
    assert torch.equal(mask.to_dense(*sizes).expand(BATCH, 1, *sizes)[:, 0], expected)


@given(SIZES, st.data(), st.integers(2, 4))
def test_and_is_the_intersection(sizes: tuple[int, int], data: st.DataObject, count: int) -> None:
    """Several parts joined by & see what all of them see, in any order."""
    parts = [draw_part(data, *sizes) for _ in range(count)]
    expected = cells(*sizes, lambda b, i, j: all(sees(b, i, j) for _, sees in parts))
    joined, backwards = Mask(), Mask()
    for mask, _ in parts:
        joined, backwards = joined & mask, mask & backwards
    for mask in (joined, backwards):
        assert torch.equal(mask.to_dense(*sizes).expand(BATCH, 1, *sizes)[:, 0], expected)


@given(SIZES, st.data())
def test_spans_are_in_order_and_inside_the_keys(sizes: tuple[int, int], data: st.DataObject) -> None:
    """What backends rely on: int32, 0 <= start <= stop <= S, a row for each query."""
    queries, keys = sizes
    start, stop, _ = (masks.causal() & draw_part(data, *sizes)[0] & draw_part(data, *sizes)[0]).resolve(*sizes)
    assert start is not None
    assert stop is not None
    assert start.dtype == stop.dtype == torch.int32
    assert start.shape[-1] == stop.shape[-1] == queries
    assert bool(((start >= 0) & (start <= stop) & (stop <= keys)).all())


@given(st.lists(st.integers(0, 5), max_size=6), st.data())
def test_documents_by_lengths_and_by_ids_agree(lengths: list[int], data: st.DataObject) -> None:
    """Two ways to say the same packing, also for the last L queries only."""
    owner = [document for document, length in enumerate(lengths) for _ in range(length)]
    keys = len(owner)
    queries = data.draw(st.integers(0, keys))
    expected = cells(queries, keys, lambda b, i, j: owner[i + keys - queries] == owner[j])[:1]
    ids = torch.tensor(owner, dtype=torch.int64)
    for mask in (masks.documents(lengths), masks.documents(torch.tensor(lengths).long()), masks.documents(ids=ids)):
        assert torch.equal(mask.to_dense(queries, keys)[:, 0], expected)
        assert mask.resolve(queries, keys).dense is None


@given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=3), st.integers(1, 6))
def test_documents_by_any_ids(ids: list[list[int]], queries: int) -> None:
    """Ids in any order: equal ids see each other, as spans or dense."""
    table = torch.tensor(ids)
    expected = table[:, 6 - queries :, None] == table[:, None, :]
    assert torch.equal(masks.documents(ids=table).to_dense(queries, 6)[:, 0], expected)


def test_documents_that_come_back_are_dense() -> None:
    """An id that returns after another is no single run, in one batch row or in all."""
    assert masks.documents(ids=torch.tensor([[0, 0, 1], [0, 1, 0]])).resolve(3, 3).dense is not None
    assert masks.documents(ids=torch.tensor([[5, 5, 1], [0, 1, 2]])).resolve(3, 3).dense is None


@given(
    st.lists(st.sampled_from([1, 2]), min_size=2, max_size=2),
    st.integers(0, 7), st.integers(0, 7), st.booleans(), st.booleans(), st.randoms(use_true_random=False),
)  # fmt: skip
def test_recognise_round_trip(lead, queries, keys, runs, additive, random) -> None:  # type: ignore[no-untyped-def]
    """Whatever the tensor, the recognised mask says the same; it is spans exactly when every row is one run."""
    shape = (*lead, queries, keys)
    visible = torch.zeros(shape, dtype=torch.bool)
    for index in torch.cartesian_prod(*map(torch.arange, shape[:3])).reshape(-1, 3).tolist():
        bits = [random.random() < 0.5 for _ in range(keys)]
        if runs:
            a, b = sorted((random.randint(0, keys), random.randint(0, keys)))
            bits = [a <= j < b for j in range(keys)]
        visible[tuple(index)] = torch.tensor(bits, dtype=torch.bool)
    given_mask = torch.where(visible, 0.0, random.choice([-torch.inf, torch.finfo().min])) if additive else visible
    mask = masks.recognise(given_mask)
    assert torch.equal(mask.to_dense(queries, keys).expand(shape), visible)
    if keys >= 2:
        rows = visible.reshape(-1, keys).tolist()
        single = all("01" not in "".join(str(int(bit)) for bit in row).lstrip("0") for row in rows)
        assert (mask.resolve(queries, keys).dense is None) == single


@pytest.mark.parametrize("shape", [(5,), (1, 5), (4, 5), (3, 4, 5), (2, 1, 1, 5), (2, 3, 1, 5), (2, 3, 4, 5)])
def test_recognise_takes_every_broadcastable_shape(shape: tuple[int, ...]) -> None:
    """A mask of fewer dimensions, or with sizes of 1, is recognised and broadcasts as it did."""
    visible = torch.ones(shape, dtype=torch.bool)
    visible[..., 3:] = False
    mask = masks.recognise(visible)
    assert mask.resolve(4, 5).dense is None
    assert torch.equal(mask.to_dense(4, 5).expand(2, 3, 4, 5), visible.expand(2, 3, 4, 5))


def test_recognise_reads_an_expanded_mask_once() -> None:
    """Dimensions of stride 0 come out with size 1: nothing is stored for each head."""
    causal = torch.ones(6, 6, dtype=torch.bool).tril().expand(2, 8, 6, 6)
    assert masks.recognise(causal).resolve(6, 6).start.shape == (1, 1, 6)  # type: ignore[union-attr]
    padding = (torch.arange(6) < torch.tensor([[3], [6]]))[:, None, None].expand(2, 8, 6, 6)
    mask = masks.recognise(padding)
    assert mask.resolve(6, 6).start.shape == (2, 1, 6)  # type: ignore[union-attr]
    assert torch.equal(mask.to_dense(6, 6).expand(2, 8, 6, 6), padding)


def test_boolean_padding_is_spans_on_both_sides() -> None:
    """Padding on the left, on the right and of whole sequences needs no dense mask; holes do."""
    real = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]]).bool()
    assert masks.padding(real).resolve(2, 4).dense is None
    assert torch.equal(masks.padding(real).to_dense(2, 4), real[:, None, None].expand(4, 1, 2, 4))
    holes = torch.tensor([[1, 0, 1]]).bool()
    assert torch.equal(masks.padding(holes).to_dense(2, 3), holes[:, None, None].expand(1, 1, 2, 3))


def test_the_empty_mask_sees_everything() -> None:
    """Mask() is the unit of &."""
    assert bool(Mask().to_dense(2, 3).all())
    assert Mask().resolve(2, 3) == (None, None, None)
    assert repr(Mask() & masks.causal()) == "causal()"


def test_a_tensor_joins_from_both_sides() -> None:
    """A boolean tensor on either side of & is a dense part."""
    bits = torch.tensor([[True, False], [True, True]])
    for mask in (masks.causal() & bits, bits & masks.causal()):
        assert isinstance(mask, Mask)
        assert torch.equal(mask.to_dense(2, 2)[0, 0], bits)


def test_what_is_no_mask_does_not_join() -> None:
    """& with anything else is Python's own error."""
    with pytest.raises(TypeError, match="unsupported operand"):
        masks.causal() & 3  # type: ignore[operator]


def test_masks_are_values() -> None:
    """A mask does not change with the tensors it was made of, and can be pickled and copied, also after use."""
    lengths, edges = torch.tensor([1, 2]), torch.tensor([0, 0])
    ids = torch.tensor([[0, 1, 0]])
    made = [
        masks.padding(lengths), masks.prefix(lengths), masks.documents(lengths), masks.spans(edges, lengths),
        masks.documents(ids=ids), masks.causal() & masks.window(1, None),
    ]  # fmt: skip
    before = [mask.to_dense(2 if mask is made[3] else 3, 3) for mask in made]
    for tensor in (lengths, edges, ids):
        tensor.fill_(1)
    for mask, expected in zip(made, before, strict=True):
        queries = expected.shape[2]
        for same in (mask, copy.deepcopy(mask), pickle.loads(pickle.dumps(mask)), mask & Mask()):
            assert torch.equal(same.to_dense(queries, 3), expected)


def test_answers_are_remembered_and_bounded() -> None:
    """The same sizes give the same arrays without work; many sizes do not pile up."""
    mask = masks.causal() & masks.padding([3, 4])
    assert mask.resolve(5, 5) is mask.resolve(5, 5)
    assert mask.banded(True, (2, None)) is mask.banded(True, (2, None))
    for keys in range(4, 40):
        assert mask.resolve(4, keys).start.shape == (2, 1, 4)  # type: ignore[union-attr]
        assert mask.banded(True, (keys, 0)).resolve(4, keys)[0] is not None
    assert len(mask._resolved) <= 8
    assert len(mask._banded) <= 8
    long = masks.causal()
    long.resolve(2**16 + 1, 2**16 + 1)
    assert not long._resolved


def test_remembered_arrays_serve_inference_and_training() -> None:
    """Arrays made under inference_mode or inside torch.func.grad work in a later training step."""
    mask = masks.causal()
    with torch.inference_mode():
        assert not mask.resolve(2, 2).start.is_inference()  # type: ignore[union-attr]

    def inside(x: Tensor) -> Tensor:
        start = mask.resolve(3, 3).stop
        assert start is not None
        return (x * start).sum()

    torch.func.grad(inside)(torch.ones(3))
    stop = mask.resolve(3, 3).stop
    assert stop is not None
    assert torch.equal(stop, torch.tensor([[[1, 2, 3]]]))
    assert not torch._C._functorch.is_functorch_wrapped_tensor(stop)


def test_no_sequences_at_all() -> None:
    """An empty batch is a batch."""
    assert masks.padding([]).resolve(2, 3).start.shape == (0, 1, 2)  # type: ignore[union-attr]
    assert masks.documents([]).resolve(0, 0).start.shape == (1, 1, 0)  # type: ignore[union-attr]


def test_what_is_remembered_is_not_pickled() -> None:
    """A mask that was used is as small on its way to another process as a new one."""
    mask = masks.causal()
    before = len(pickle.dumps(mask))
    mask.resolve(1000, 1000)
    assert len(pickle.dumps(mask)) == before


def test_representations() -> None:
    """A mask prints as the expression that builds it, or says how large its parts are."""
    mask = masks.causal(offset=2) & masks.window(3, None) & masks.padding([1, 2]) & masks.prefix([1])
    assert repr(mask) == "causal(offset=2) & window(3, None) & padding(<2 sequences>) & prefix([1])"
    assert repr(masks.window(1, 0, offset=0)) == "window(1, 0, offset=0)"
    assert repr(masks.documents([1, 2])) == "documents(<2 documents>)"
    assert repr(masks.documents(ids=torch.tensor([0, 0, 1]))) == "documents(<3 tokens>)"
    assert repr(masks.documents(ids=torch.tensor([0, 1, 0]))) == "documents(<3 tokens, scattered>)"
    assert repr(masks.dense(torch.ones(2, 3).bool())) == "dense(<(1, 1, 2, 3)>)"
    assert repr(masks.spans(torch.zeros(2, 3).long(), torch.ones(3).long())) == "spans(<(2, 1, 3)>)"


def test_long_documents_stay_small() -> None:
    """Thousands of documents in a long sequence: two numbers per row, and every row its own document."""
    lengths = torch.arange(8000) % 64 + 1
    total = int(lengths.sum())
    start, stop, rest = (masks.documents(lengths) & masks.causal()).resolve(total, total)
    assert rest is None
    assert start is not None
    assert stop is not None
    place = torch.arange(total, dtype=torch.int32)
    assert torch.equal(stop[0, 0], place + 1)
    assert torch.equal(start[0, 0], torch.repeat_interleave((lengths.cumsum(0) - lengths).int(), lengths))


ERRORS: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "window negative": (lambda: masks.window(-1, 0), ArgumentError, r"window left is -1\. .* >= 0, or None .* -1"),
    "window float": (lambda: masks.window(0, 1.5), ArgumentError, r"window right is 1\.5; it must be a whole number"),
    "window bool": (lambda: masks.window(True, 0), ArgumentError, r"window left is True; it must be a whole number"),
    "offset float": (lambda: masks.causal(0.5), ArgumentError, r"causal offset is 0\.5; it must be a whole n"),
    "padding side": (lambda: masks.padding([1], side="top"), ArgumentError, r"side is 'top'\. .*'right', 'left'"),
    "padding rank": (lambda: masks.padding(torch.ones(3).bool()), ShapeError, r"shape \(3,\); the rule .*is \(B, S\)"),
    "padding of 0 and 1": (lambda: masks.padding(torch.ones(2, 3).long()), ShapeError, r"mask\.bool\(\) if it holds"),
    "padding float": (lambda: masks.padding([0.5]), ArgumentError, r"real is \[0\.5\]; .*integer lengths"),
    "padding negative": (lambda: masks.padding([-1]), ArgumentError, r"padding real holds -1; .*>= 0"),
    "padding too long": (lambda: masks.padding([5]).resolve(1, 4), ShapeError, r"length of 5, but there are only 4 k"),
    "padding mask of other keys": (
        lambda: masks.padding(torch.ones(1, 5).bool()).resolve(1, 4), ShapeError, r"1 rows and 5 keys, .* 4 keys",
    ),
    "documents both": (lambda: masks.documents([1], ids=torch.ones(1)), ArgumentError, r"either lengths or ids="),
    "documents none": (lambda: masks.documents(), ArgumentError, r"exactly one of them"),
    "documents negative": (lambda: masks.documents([2, -1]), ArgumentError, r"documents lengths holds -1; .*>= 0"),
    "documents float": (lambda: masks.documents([0.5]), ArgumentError, r"lengths is \[0\.5\]; .*integers >= 0"),
    "documents ids": (lambda: masks.documents(ids=torch.ones(1, 1, 1).long()), ShapeError, r"\(S,\) or \(B, S\)"),
    "documents ids float": (lambda: masks.documents(ids=torch.ones(2)), DtypeError, r"a float32 tensor of sh"),
    "documents sum": (lambda: masks.documents([1, 2]).resolve(4, 4), ShapeError, r"describes 3 tokens, .* 4 keys"),
    "documents queries": (lambda: masks.documents([3]).resolve(4, 3), ShapeError, r"4 queries and 3 keys"),
    "prefix": (lambda: masks.prefix(-1), ArgumentError, r"masks\.prefix lengths holds -1"),
    "prefix float": (lambda: masks.prefix(1.5), ArgumentError, r"prefix lengths is 1\.5; .*integers"),
    "spans float": (lambda: masks.spans(torch.ones(2), torch.ones(2)), DtypeError, r"start is a float32 tensor of"),
    "spans misfit": (
        lambda: masks.spans(torch.ones(2).int(), torch.ones(3).int()), ShapeError, r"start has shape .*2\) and stop",
    ),
    "spans rows": (
        lambda: masks.spans(torch.ones(2).int(), torch.ones(2).int()).resolve(3, 3), ShapeError, r"2 rows, .*3 queries",
    ),
    "dense dtype": (lambda: masks.dense(torch.ones(2)), DtypeError, r"dtype torch\.float32; the rule is bool"),
    "dense rank": (lambda: masks.dense(torch.ones(1, 1, 1, 1, 1).bool()), ShapeError, r"the rule is 1 to 4 dimensions"),
    "dense sizes": (lambda: masks.dense(torch.ones(2, 3).bool()).resolve(2, 4), ShapeError, r"L = 2 .* S = 4 keys"),
    "parts misfit": (
        lambda: (masks.padding([1, 2]) & masks.padding([1, 2, 3])).resolve(3, 3), ShapeError,
        r"padding\(<2 sequences>\) & padding\(<3 sequences>\) have shapes \(2, 1, 3\) and \(3, 1, 3\)",
    ),
    "dense parts misfit": (
        lambda: (masks.dense(torch.ones(2, 1, 1, 1).bool()) & torch.ones(3, 1, 1, 1).bool()).resolve(1, 1), ShapeError,
        r"have shapes \(2, 1, 1, 1\) and \(3, 1, 1, 1\)",
    ),
    "recognise a bias": (lambda: masks.recognise(torch.tensor([0.0, 0.5])), ArgumentError, r"That is a bias: .*bias="),
    "recognise NaN": (lambda: masks.recognise(torch.tensor([0.0, torch.nan])), ArgumentError, r"That is a bias"),
    "recognise integers": (lambda: masks.recognise(torch.ones(2, 2).long()), DtypeError, r"the rule is bool"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_was_given_and_what_to_do(name: str) -> None:
    """Each refusal has its class and its text."""
    make, kind, text = ERRORS[name]
    with pytest.raises(kind, match=text):
        make()


INTEGERS = (
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64,
)  # fmt: skip


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_of_every_dtype(dtype: torch.dtype) -> None:
    """Lengths, starts and ids mean the same in every integer dtype, as tensors, arrays and lists, over many keys."""

    def every(*numbers: int) -> list[Any]:
        tensor = torch.tensor(numbers).to(dtype)
        return [tensor, tensor.numpy(), [*tensor.numpy()], list(numbers)]

    long = 200  # more keys than an int8 counts
    for sizes in every(3, 100):
        expected = torch.arange(long) < torch.tensor([3, 100])[:, None]
        assert torch.equal(masks.padding(sizes).to_dense(1, long)[:, 0, 0], expected)
        left = masks.padding(sizes, side="left").to_dense(1, long)[:, 0, 0]
        assert torch.equal(left, expected.flip(-1))
        assert masks.prefix(sizes).to_dense(long, long)[:, 0, 0].sum(-1).tolist() == [3, 100]
    for sizes in every(100, 90, 10):
        expected = torch.repeat_interleave(torch.arange(3), torch.tensor([100, 90, 10]))
        assert torch.equal(masks.documents(sizes).to_dense(long, long)[0, 0], expected[:, None] == expected)
    for sizes in every(7, 7, 9, 7):
        ids = torch.tensor([7, 7, 9, 7])
        assert torch.equal(masks.documents(ids=sizes).to_dense(4, 4)[0, 0], ids[:, None] == ids)
    for start, stop in zip(every(0, 2), every(1, 120), strict=True):
        found = masks.spans(start, stop).to_dense(2, long)[0, 0]
        assert (found.sum(-1).tolist(), int(found[1].int().argmax())) == ([1, 118], 2)


@pytest.mark.parametrize("far", [2**31 - 1, 2**31, 2**33, 2**40, 2**63 - 1, 2**63, 2**64, 10**30])
def test_integers_as_large_as_they_come(far: int) -> None:
    """Beyond all keys is all keys, on every side, alone and against each other."""
    everything = torch.ones(3, 5).bool()
    past = masks.causal().to_dense(3, 5)[0, 0]
    seen = {
        "left": masks.window(far, 0), "right": masks.window(0, far), "both": masks.window(far, far),
        "ahead": masks.causal(far), "behind": masks.causal(-far), "moved": masks.window(far, 0, far),
        "cancelled": masks.window(far, far, -far), "prefix": masks.prefix(far), "spans": masks.spans([-far], [far]),
    }  # fmt: skip
    found = {name: mask.to_dense(3, 5)[0, 0] for name, mask in seen.items()}
    assert torch.equal(found["left"], past)
    assert torch.equal(found["right"], ~masks.causal().to_dense(3, 5)[0, 0] | torch.eye(3, 5).bool().roll(2, 1))
    for name in ("both", "ahead", "prefix", "spans"):
        assert torch.equal(found[name], everything), name
    assert not found["behind"].any()
    # Query i stands at i + far and sees back to i; at i - far it sees ahead up to i.
    assert torch.equal(found["moved"], torch.arange(5) >= torch.arange(3)[:, None])
    assert torch.equal(found["cancelled"], torch.arange(5) <= torch.arange(3)[:, None])
    with pytest.raises(ShapeError, match="only 5 keys"):
        masks.padding([far]).resolve(3, 5)
    with pytest.raises((ShapeError, ArgumentError)):
        masks.documents([far, 1]).resolve(5, 5)


def test_bools_and_wide_ids_are_no_integers() -> None:
    """True is no length; ids that differ beyond 64 bits are refused in place of being mixed up."""
    for flags in (torch.tensor([True, False]), np.array([True]), [True, True]):
        with pytest.raises((DtypeError, ArgumentError)):
            masks.documents(flags)
        with pytest.raises((DtypeError, ArgumentError)):
            masks.documents(ids=flags)
    with pytest.raises(ArgumentError, match="ids"):
        masks.documents(ids=[2**64, 2**65])
    ids = np.array([2**63, 2**64 - 1, 2**63], np.uint64)
    assert masks.documents(ids=ids).to_dense(3, 3)[0, 0].int().tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize("queries", [0, 1, 3])
@pytest.mark.parametrize("keys", [0, 3])
def test_masks_of_empty_sizes(queries: int, keys: int) -> None:
    """No queries, no keys, no sequences: arrays of that size."""
    parts = [masks.causal(), masks.causal(0), masks.window(1, 1), masks.prefix(2), masks.padding([min(keys, 1)] * 2)]
    parts += [masks.spans(torch.zeros(queries).int(), torch.ones(queries).int())] if queries else []
    parts += [masks.documents([keys]), masks.documents(ids=torch.zeros(keys).int())] if queries <= keys else []
    for mask in parts:
        assert mask.to_dense(queries, keys).shape[-2:] == (queries, keys)
        assert (mask & masks.causal()).to_dense(queries, keys).shape[-2:] == (queries, keys)
    assert masks.padding([]).to_dense(queries, keys).shape == (0, 1, queries, keys)
    assert masks.padding(torch.zeros(0, keys).bool()).to_dense(queries, keys).shape[0] == 0
