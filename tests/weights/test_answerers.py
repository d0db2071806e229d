"""Who answers: the first machine without a reason not to, and the map of the forward pass is exact."""

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch

import regard
from regard import AttentionWeights
from regard.errors import ArgumentError
from regard.weights import WeightSource, _answering, summarise
from regard.weights._answering import ANSWERERS
from regard.weights._kept import KeptMap
from regard.weights._question import Question, QuestionName
from tests.weights.cases import NOT_KEPT, QUESTIONS, assert_same_answers


def with_map(rows: int, keys: int, cell: int) -> tuple[AttentionWeights, AttentionWeights]:
    """Return the weights of one call, without and with a map like the one that a kernel makes."""
    q, k = torch.randn(2, 3, rows, 4), torch.randn(2, 3, keys, 4)
    _, weights = regard.attention(q, k, k, causal=True, need_weights=True)
    return weights, AttentionWeights(replace(weights._source, map=weights.pooled(cell), map_cell=cell))


@pytest.mark.parametrize(("rows", "keys"), [(64, 64), (61, 70), (7, 100)])
def test_map_is_exact(rows: int, keys: int) -> None:
    """Cells joined from the map are the cells of the matrix, ragged ends and rectangles included."""
    weights, mapped = with_map(rows, keys, 8)
    for cell in (8, 16, (24, 8), 1000 * 8):
        assert torch.allclose(mapped.pooled(cell), weights.pooled(cell), atol=1e-6)
    part = {"rows": slice(0, 8), "columns": slice(16, None)}
    assert torch.allclose(mapped.pooled(8, **part), weights.pooled(8, **part), atol=1e-6)


def test_map_serves_what_it_can_and_refuses_the_rest() -> None:
    """Sums on the map's borders come from the map; anything else does not, with a reason."""
    _, mapped = with_map(64, 64, 8)
    source = replace(mapped._ready(differentiable=False), map=torch.full((2, 3, 8, 8), 5.0))
    everything = Question("pooled", source, slice(0, 64), slice(0, 64), (8, 8))
    assert KeptMap().why_not(everything) is None
    assert AttentionWeights(source).pooled(16)[0, 0, 0, 0] == 10
    refused: tuple[tuple[str, dict[str, Any]], ...] = (
        ("cells of 8 tokens", {"cell": (12, 8)}),
        ("cells of 8 tokens", {"rows": slice(4, 64)}),
        ("cells of 8 tokens", {"columns": slice(0, 60)}),
        ("plain sums", {"name": "highest"}),
        ("plain sums", {"source": replace(source, tracked=True)}),
        ("plain sums", {"source": replace(source, log_factor=torch.zeros(2, 3, 64))}),
        ("no map", {"source": replace(source, map=None)}),
    )
    for reason, change in refused:
        assert reason in str(KeptMap().why_not(replace(everything, **change)))


def test_first_willing_answerer_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answerer in front answers what it can; what it refuses goes on to the next."""

    class OnlyEntropy:
        name = "only entropy"

        def why_not(self, question: Question) -> str | None:
            return None if question.name == "entropy" else "has entropy only"

        def run(self, question: Question) -> tuple[torch.Tensor, ...]:
            return (torch.full(question.source.shape[:3], 7.0),)

    monkeypatch.setattr(_answering, "ANSWERERS", (OnlyEntropy(), *ANSWERERS))
    q = torch.randn(1, 2, 4, 3)
    _, weights = regard.attention(q, q, q, need_weights=True)
    assert torch.equal(weights.entropy(), torch.full((1, 2, 4), 7.0))
    assert torch.allclose(weights.received().sum(-1), torch.full((1, 2), 4.0))


def test_last_answerer_refuses_nothing() -> None:
    """There is always an answer."""
    q = torch.randn(1, 1, 4, 3)
    source = regard.attention(q, q, q, need_weights=True)[1]._source
    for name in get_args(QuestionName):
        assert ANSWERERS[-1].why_not(Question(name, source, slice(0, 4), slice(0, 4))) is None


def test_without_lse_the_weights_make_their_own() -> None:
    """A backend that tells no lse costs one more pass, and nothing else changes."""
    q = torch.randn(2, 3, 50, 4)
    _, weights = regard.attention(q, q, q, causal=True, need_weights=True)
    bare = AttentionWeights(replace(weights._source, lse=None, lse_has_gradient=False))
    assert torch.allclose(bare.lse, weights.lse, atol=1e-6)
    assert torch.allclose(bare.dense(), weights.dense(), atol=1e-6)


def test_autocast_changes_nothing() -> None:
    """Sums are kept in full precision inside autocast too."""
    q = torch.randn(1, 2, 40, 8)
    _, weights = regard.attention(q, q, q, causal=True, need_weights=True)
    for name, ask in QUESTIONS.items():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = ask(weights)
        assert torch.equal(inside, ask(weights)), name


def test_moving_keeps_everything() -> None:
    """`to` takes all parts along, masks, factors and map."""
    q = torch.randn(1, 2, 6, 4)
    holes = torch.rand(1, 1, 6, 6) > 0.3
    _, weights = regard.attention(q, q, q, mask=holes, causal=True, bias=torch.randn(6, 6), need_weights=True)
    weights = weights.value_weighted()
    assert torch.equal(weights.to("cpu").dense(), weights.dense())
    moved = weights.to("meta")
    assert {t.device.type for t in moved._source.inputs.tensors().values()} == {"meta"}
    assert moved.device.type == "meta"


def test_a_summary_answers_and_the_rest_is_fetched_or_refused() -> None:
    """What was kept is answered without the matrix, to the bit; everything else reads it, or says what keeps it."""
    q = torch.randn(1, 2, 70, 8)
    _, weights = regard.attention(q, q, q, causal=True, need_weights=True)
    kept, fetched = summarise(weights), []

    def fetch() -> WeightSource:
        fetched.append(1)
        return weights._source.entries()

    on_disk, alone = AttentionWeights.of_summary(kept, fetch=fetch), AttentionWeights.of_summary(kept)
    assert (weights.kept_cell, on_disk.kept_cell, alone.kept_cell) == (0, 0, kept.cell)
    for one in (on_disk, alone):
        for name, found in {
            "entropy": kept.entropy, "received": kept.received, "mean_distance": kept.distance,
            "visible_keys": kept.visible_keys.expand(1, 2, 70),
        }.items():  # fmt: skip
            assert torch.equal(getattr(one, name)(), found)
        assert torch.equal(one.lse, kept.lse)
        assert torch.equal(one.top(4).values, kept.top)
        assert torch.equal(one.masked(2 * kept.cell), weights.masked(2 * kept.cell))
        torch.testing.assert_close(one.head(0, 1).share(-1), weights.head(0, 1).share(-1))
    assert_same_answers(alone, weights)
    assert not fetched
    for ask in NOT_KEPT:
        before = len(fetched)
        ask(on_disk)
        assert len(fetched) > before
        with pytest.raises(ArgumentError, match=r'kept summaries, not .*keep="exact"'):
            ask(alone)
    torch.testing.assert_close(on_disk.head(0, 1).dense(), weights.head(0, 1).dense())
