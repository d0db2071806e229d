"""Measures of heads against their definitions in NumPy, of whatever weights and masks; each is asked for once a map."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import regard
from regard import AttentionWeights, view
from regard.weights import with_summary
from tests.viewer.examples import weights

SIZE, HEADS = 40, 4
WORDS = [f"t{place % 9}" for place in range(SIZE)]


def masked(kind: str) -> AttentionWeights:
    """Return random weights of four heads under a mask."""
    make = torch.Generator().manual_seed(4)
    if kind == "padding":
        return weights(HEADS, SIZE, mask=(torch.arange(SIZE) < 31)[None, None, None])
    if kind == "each head its own":
        mask = torch.rand(1, HEADS, SIZE, SIZE, generator=make) > 0.4
        mask[:, 1], mask[:, 2, 3:], mask[:, 3, :, 20:] = False, False, False  # nothing, three queries, half of the keys
        return weights(HEADS, SIZE, mask=mask)
    if kind == "a few keys":
        query, key = torch.randn(2, 1, HEADS, SIZE, 8, generator=make)
        query[..., 0], key[..., 5, 0], key[:, 2:, 30, 0] = 3.0, 9.0, 11.0
        return regard.attention(query, key, key, causal=True, need_weights=True)[1]
    return weights(HEADS, SIZE, causal=kind == "causal")


KINDS = ["everything", "causal", "padding", "each head its own", "a few keys"]


def defined(matrix: NDArray[np.float64], visible: NDArray[np.bool_], words: list[str]) -> dict[str, Any]:
    """Return the measures of one head as their definitions say, {} for one that sees nothing."""
    queries, keys = matrix.shape
    sees = visible.any(-1)
    if not sees.any():
        return {}
    apart = np.arange(keys) - np.arange(queries)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(matrix > 0, matrix * np.log(matrix), 0.0).sum(-1)[sees]
        even = np.nan_to_num(visible / visible.sum(-1, keepdims=True))[sees].mean(0)
    share = matrix[sees].mean(0)

    def odds(of: Any, than: Any) -> Any:
        return of * (1 - than) / (than * (1 - of)).clip(1e-300)

    chosen = (share >= 0.02) & (odds(share, even) >= 3)
    for word in set(words):
        alike = np.array([one == word for one in words]) & (odds(share, even) >= 1.5)
        if words.count(word) > 1 and share[alike].sum() >= 0.02 and odds(share[alike].sum(), even[alike].sum()) >= 3:
            chosen |= alike
    sink = share[chosen].sum() if sees.sum() >= 4 and share[chosen].sum() >= 0.3 else 0.0
    return {
        "self": matrix[apart == 0].sum() / sees.sum(),
        "previous": matrix[apart == -1].sum() / sees.sum(),
        "next": matrix[apart == 1].sum() / sees.sum(),
        "entropy": entropy.mean(),
        "effective_keys": np.exp(entropy).mean(),
        "peak": matrix.max(-1)[sees].mean(),
        "distance": (matrix * abs(apart)).sum(-1)[sees].mean(),
        "sink": sink,
        "sinks": sorted(np.nonzero(chosen)[0].tolist()) if sink else [],
    }


@pytest.mark.parametrize("form", ["lazy", "summed", "stored"])
@pytest.mark.parametrize("kind", KINDS)
def test_measures_are_what_they_are_defined_as(kind: str, form: str) -> None:
    """Of lazy weights, of those with a summary at hand, and of a stored matrix, whose mask is where it is not 0."""
    lazy = masked(kind)
    dense, hidden = lazy.dense()[0].double().numpy(), lazy.masked()[0].numpy()
    if form == "stored":
        hidden = np.zeros_like(hidden)
    shown = {"lazy": lazy, "summed": with_summary(lazy), "stored": lazy.dense()[0]}[form]
    made = json.loads(view(shown, WORDS).source.block("measures/0") or b"")
    for head in range(HEADS):
        wanted = defined(dense[head], ~hidden[head], WORDS)
        if form == "stored":  # a sink takes more than an even share of the keys that a query gives more than 0
            of_numbers = defined(dense[head], dense[head] > 0, WORDS)
            wanted.update({name: of_numbers.get(name, 0 if name == "sink" else []) for name in ("sink", "sinks")})
        if not wanted:
            assert made["kind"][head] == "sees nothing"
            assert made["sinks"][head] == []
            assert all(made[name][head] is None for name in ("self", "entropy", "distance", "sink"))
            continue
        assert sorted(key for key, _ in made["sinks"][head]) == wanted.pop("sinks")
        for name, number in wanted.items():
            assert made[name][head] == pytest.approx(number, abs=2e-5), name
    sums = dense.sum(-1)[~hidden.all(-1)]
    assert made["row_sums"] == pytest.approx([sums.min(), sums.max()], abs=1e-5)


def test_one_head_that_is_no_number_leaves_the_others() -> None:
    """NaN in the second head: its numbers are told as NaN, those of others as they are; sums of rows are not known."""
    query = torch.randn(1, 3, 20, 8, generator=torch.Generator().manual_seed(1))
    broken = query.clone()
    broken[0, 1, 5] = math.nan
    calls = (regard.attention(one, one, one, need_weights=True)[1] for one in (query, broken))
    whole, made = (json.loads(view(call).source.block("measures/0") or b"") for call in calls)
    assert (made["entropy"][1], made["peak"][1], made["sinks"][1], made["kind"][1]) == ("NaN", "NaN", None, None)
    assert made["row_sums"] is None
    for name in ("entropy", "peak", "distance", "self", "sinks", "kind"):
        assert [made[name][head] for head in (0, 2)] == [whole[name][head] for head in (0, 2)]


@pytest.mark.parametrize("summed", [False, True])
def test_a_question_is_asked_once_of_all_heads(summed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve heads are asked as many questions as one: a BERT's 144 took six seconds one by one."""
    from regard.weights import _matrix

    asked = list[str]()
    answered = _matrix.answer

    def counted(question: Any) -> Any:
        asked.append(question.name)
        return answered(question)

    monkeypatch.setattr(_matrix, "answer", counted)
    counts = []
    for count in (1, 12):
        call = weights(count, 30, causal=True)
        source = view(with_summary(call) if summed else call, WORDS[:30]).source
        asked.clear()
        source.block("measures/0")
        counts.append(sorted(asked))
    assert counts[0] == counts[1] != []
