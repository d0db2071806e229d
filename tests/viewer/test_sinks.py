"""Sinks are found, whatever key takes the mass, and nothing is called one that is none."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regard
from regard import view
from regard.viewer._measures import Side, measures
from regard.viewer._sinks import sinks
from regard.weights import AttentionWeights, from_dense, of_heads, with_summary
from tests.viewer.examples import weights


def taken(shares: dict[int, float], tokens: int = 20, queries: int | None = None) -> Tensor:
    """Return a matrix in which every query gives the same shares to some keys, and the rest evenly."""
    rest = (1 - sum(shares.values())) / (tokens - len(shares))
    row = torch.full((tokens,), rest)
    for key, share in shares.items():
        row[key] = share
    return row.expand(queries or tokens, tokens).clone()


def heads(weights: AttentionWeights) -> AttentionWeights:
    """Return the heads of the first input."""
    return of_heads(weights, slice(None), 0)


def found(matrix: Tensor, tokens: list[str] | None = None) -> dict[str, Any]:
    """Return the measures of a matrix as the page reads them."""
    made: dict[str, Any] = json.loads(view(matrix, tokens).source.block("measures/0") or b"")
    return made


@pytest.mark.parametrize(
    ("shares", "keys"),
    [
        ({0: 0.9}, [0]),
        ({19: 0.9}, [19]),
        ({7: 0.5, 19: 0.35}, [7, 19]),
        (dict.fromkeys(range(12, 20), 0.115), [*range(12, 20)]),
    ],
)
def test_the_keys_that_take_the_mass_are_named(shares: dict[int, float], keys: list[int]) -> None:
    """First key, separator at the end, punctuation in the middle, padding: each with its share, and the head is one."""
    made = found(taken(shares), [*"abcdefghijkl", *["[PAD]"] * 8])
    assert sorted(key for key, _ in made["sinks"][0]) == keys
    assert {key: round(share, 4) for key, share in made["sinks"][0]} == shares
    assert made["kind"] == ["sink"]
    assert made["sink"][0] == pytest.approx(sum(shares.values()), abs=1e-5)


@pytest.mark.parametrize(
    "matrix",
    [
        taken({}), torch.eye(20), torch.eye(20).roll(1, 0), taken({3: 0.25}), taken({3: 0.95}, queries=1),
        torch.ones(5, 5).tril() / torch.arange(1, 6)[:, None],
    ],
    ids=["even", "itself", "neighbour", "a quarter", "one query", "causal and even"],
)  # fmt: skip
def test_what_is_no_sink_is_not_called_one(matrix: Tensor) -> None:
    """Even attention, also under a causal mask, a diagonal, a share too small, and what one query looks at."""
    made = found(matrix)
    assert made["sinks"] == [[]]
    assert made["sink"] == [0]


def test_a_first_key_under_a_causal_mask() -> None:
    """The even share of the first key is large in a short text; most of the attention is still more."""
    query, key = torch.zeros(1, 1, 6, 4), torch.zeros(1, 1, 6, 4)
    query[..., 0], key[..., 0, 0] = 1.0, 12.0
    lazy = regard.attention(query, key, key, causal=True, need_weights=True)[1]
    (made,) = sinks(heads(with_summary(lazy)))
    assert made is not None
    assert [at for at, _ in made] == [0]


def test_a_summary_finds_what_the_exact_weights_give() -> None:
    """Recorded as a summary, a model's heads have the sinks that they have exactly."""

    class Model(nn.Module):
        def forward(self, query: Tensor, key: Tensor) -> Tensor:
            return nn.functional.scaled_dot_product_attention(query, key, key, is_causal=True)

    make = torch.Generator().manual_seed(1)
    query, key = torch.randn(2, 1, 3, 200, 8, generator=make)
    query[..., 0], key[..., 5, 0] = 3.0, 9.0
    model, answers = Model().eval(), []
    for keep in ("exact", "summary"):
        with torch.no_grad(), regard.watch(model, keep=keep) as recording:
            model(query, key)
        (made,) = recording.values()
        answers.append(sinks(with_summary(heads(made))))
    assert any(answers[0])
    for exact, summary in zip(*answers, strict=True):
        assert [at for at, _ in summary] == [at for at, _ in exact]
        assert [share for _, share in summary] == pytest.approx([share for _, share in exact], abs=2e-3)


@pytest.mark.parametrize("tokens", [300, 3000])
def test_a_long_matrix_is_searched_in_its_map(tokens: int) -> None:
    """Without a summary only columns of the map that hold enough are looked at: the same keys, the same shares."""
    make = torch.Generator().manual_seed(1)
    query, key = torch.randn(2, 1, 1, tokens, 8, generator=make)
    query[..., 0], key[..., 0] = 4.0, 0.0
    key[..., 3, 0], key[..., 250, 0] = 14.0, 13.0
    lazy = regard.attention(query, key, key, causal=True, need_weights=True)[1]
    (every,), (some,) = sinks(heads(with_summary(lazy))), sinks(heads(lazy))
    if not lazy.map_cell:
        assert some is None
        return
    assert every is not None
    assert some is not None
    assert {at for at, _ in every} >= {3}
    assert [at for at, _ in some] == [at for at, _ in every]
    assert [share for _, share in some] == pytest.approx([share for _, share in every], abs=1e-5)


def test_what_is_not_known_is_not_stated() -> None:
    """NaN is told as NaN, and neither a kind nor a sink is; too large for its measures, a head has no kind."""
    call = weights(2, 6)
    broken = call.dense()[0].clone()
    broken[0, 2] = math.nan
    made = found(broken)
    assert made["entropy"][0] == "NaN"
    assert made["sinks"][0] is None
    assert made["kind"][0] is None
    assert made["kind"][1] is not None
    json.dumps(made, allow_nan=False)
    matrix = torch.full((40, 40), 1 / 40)
    patched = pytest.MonkeyPatch()
    try:
        patched.setattr("regard.viewer._measures._MOST_MEASURED", 10)
        patched.setattr("regard.viewer._measures._MOST_STREAMED", 10)
        assert measures(heads(from_dense(matrix)), Side(same_axis=True))["kind"] == [None]
    finally:
        patched.undo()


def test_what_a_summary_holds_is_stated_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too large to be looked through for its measures, a head whose summary is at hand has them all the same."""
    plain = weights(1, 60, causal=True)
    known = with_summary(plain)
    side = Side(same_axis=True)
    whole = measures(heads(plain), side)
    monkeypatch.setattr("regard.viewer._measures._MOST_MEASURED", 10)
    monkeypatch.setattr("regard.viewer._measures._MOST_STREAMED", 10)
    assert measures(heads(plain), side)["kind"] == [None]
    found = measures(heads(known), side)
    for name in ("entropy", "effective_keys", "peak", "distance", "sink", "self", "previous"):
        assert found[name] == pytest.approx(whole[name], abs=1e-5)
    assert found["kind"] == whole["kind"] != [None]
