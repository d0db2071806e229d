"""One look at every weight in PyTorch, against the questions asked one by one."""

from dataclasses import fields

import pytest
import torch

import regard
from regard import masks
from regard._inputs import Summary
from regard.weights import AttentionWeights, _softmax_source, from_dense, summarise, top_of
from tests.doors.models import Operations
from tests.weights.cases import assert_same_answers

CALLS = {
    "plain": {},
    "causal": {"causal": True},
    "window": {"window": (9, 2)},
    "padding": {"mask": masks.padding([200, 31])},
    "dense mask": {"mask": torch.rand(2, 1, 150, 200, generator=torch.Generator().manual_seed(0)) > 0.7},
    "softcap": {"softcap": 2.0},
}
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "_linear_pointwise")


def call(name: str, backend: str) -> AttentionWeights:
    """Return the weights of a call with one feature, two key heads for four."""
    torch.manual_seed(1)
    query, key = torch.randn(2, 4, 150, 16), torch.randn(2, 2, 200, 16)
    return regard.attention(query, key, key, **CALLS[name], need_weights=True, backend=backend)[1]


@pytest.mark.parametrize("name", CALLS)
def test_each_figure_is_that_of_its_own_question(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Map, entropy, distance, received, top weights and neighbours of every mask; rows that see nothing have none."""
    monkeypatch.setattr("regard.backends.INSPECTORS", ())
    monkeypatch.setattr("regard.weights._stream._ENTRIES", {"cpu": 1 << 14})  # several blocks a row
    weights = call(name, "math")
    assert_same_answers(AttentionWeights.of_summary(summarise(weights)), weights)


@pytest.mark.parametrize("name", CALLS)
def test_it_is_what_the_kernel_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same figures as from the native kernel, to rounding."""
    weights = call(name, "native")
    native = summarise(weights)
    monkeypatch.setattr("regard.backends.INSPECTORS", ())
    streamed = summarise(weights)
    for field in fields(Summary):
        found, expected = getattr(streamed, field.name), getattr(native, field.name)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_equal_weights_keep_the_first_keys() -> None:
    """Among equals the lower key comes first, whatever topk takes; hidden keys and missing ones are -1."""
    weights = torch.full((1, 1, 1, 500), 1 / 500)
    assert summarise(from_dense(weights)).top_keys.tolist() == [[[[0, 1, 2, 3]]]]
    some = torch.tensor([[0.25, -torch.inf, 0.5, 0.25], [-torch.inf] * 4])
    values, keys = top_of(some[:, :3])
    assert values.tolist() == [[0.5, 0.25, 0.0, 0.0], [0.0] * 4]
    assert keys.tolist() == [[2, 0, -1, -1], [-1] * 4]


def test_heads_as_a_model_lays_them_out_are_multiplied_whole() -> None:
    """Of keys that are a view of `(B, L, H, E)` whole rows are multiplied; gaps took a hundred times as long."""
    key = torch.randn(1, 2048, 12, 64).transpose(1, 2)
    with Operations() as operations:
        _softmax_source._product(key[:, 1:2, :512], key[:, 1:2])
    products = [args for name, args in operations.ran if name.split(".")[0] in PRODUCTS]
    assert products
    for operand in (one for args in products for one in [x for x in args if isinstance(x, torch.Tensor)][-2:]):
        assert operand.is_contiguous() or operand.mT.is_contiguous()
