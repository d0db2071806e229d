"""Linear against softmax: the crossover, the measured memory, recall, and layers with linear attention."""

import sys

import numpy as np
import pytest
import torch

from regard import MultiHeadAttention, layers, linear_attention
from regard.errors import ArgumentError
from regard.studies import LinearSettings, linear
from regard.studies._linear_cost import crossover, extra_memory
from regard.studies._linear_heads import LinearHeads
from regard.studies._recall import Recall, RecallModel, draw_batch


def test_crossover_of_powers() -> None:
    """A square and a line cross where they are equal, whatever the lengths between which that lies."""
    sizes = (100, 300, 900, 2700)
    square, line = [n**2 for n in sizes], [500 * n for n in sizes]
    assert crossover(sizes, square, line) == pytest.approx(500)
    assert crossover(sizes, line, square) is None
    assert crossover(sizes, line, [n / 2 for n in line]) == 100


def test_the_last_crossing_counts() -> None:
    """A single length at which noise reverses the order is not the crossover."""
    assert crossover((1, 2, 4, 8), (1.0, 4.0, 1.0, 4.0), (2.0, 2.0, 2.0, 2.0)) == pytest.approx(4 * 2**0.5)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from Linux")
def test_memory_that_was_freed_is_still_seen() -> None:
    """Temporary memory of a call counts, even if the process had as much before."""
    held = torch.ones(8_000_000)
    del held

    def call() -> torch.Tensor:
        return torch.ones(8_000_000)[:1].clone()

    for _ in range(2):
        found = extra_memory(call)
        assert found is not None
        assert 30e6 < found < 60e6


def test_linear_heads_attend_linearly() -> None:
    """With the projections of a layer, the heads are those of `linear_attention`."""
    torch.manual_seed(0)
    layer = MultiHeadAttention(8, 2)
    x = torch.randn(3, 5, 8)
    query, key, value = (part.view(3, 5, 2, 4).transpose(1, 2) for part in layer.query_key_value(x).chunk(3, -1))
    wanted = layer.output(linear_attention(query, key, value, causal=True).transpose(1, 2).flatten(2))
    found, weights = LinearHeads.of(layer)(x, causal=True, need_weights=True)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(weights.dense().sum(-1), torch.ones(3, 2, 5))


def test_linear_heads_refuse_what_they_cannot_honour() -> None:
    """Additive positions, dropout of weights and windows are errors, not left out."""
    with pytest.raises(ArgumentError, match="ALiBi"):
        LinearHeads.of(MultiHeadAttention(8, 2, position=layers.ALiBi(2)))
    with pytest.raises(ArgumentError, match="dropout"):
        LinearHeads.of(MultiHeadAttention(8, 2, dropout=0.1))
    with pytest.raises(ArgumentError, match="window"):
        LinearHeads(8, 2)(torch.zeros(1, 3, 8), window=(1, 0))


def test_recall_is_what_it_says() -> None:
    """Keys of a sequence differ, and each answer is the value that its key came with."""
    batch = draw_batch(Recall(), 32, 5, np.random.default_rng(0))
    for keys, values, asked, answers in zip(*(part.tolist() for part in batch), strict=True):
        told = dict(zip(keys, values, strict=True))
        assert len(told) == 32
        assert [told[key] for key in asked] == answers


def test_heads_of_a_recall_model_are_those_it_uses() -> None:
    """The queries, keys and values that are shown give the logits of the model."""
    torch.manual_seed(0)
    model = RecallModel(Recall(), 8, None)
    batch = draw_batch(Recall(), 4, 2, np.random.default_rng(0))
    query, key, value = model.heads(*batch[:3])
    out = torch.nn.functional.scaled_dot_product_attention(query, key, value)[:, 0]
    torch.testing.assert_close(model.output(model.attention.output(out)), model(*batch[:3]))


def test_the_study_compares_and_recalls() -> None:
    """A tiny run has every length and number of pairs; weights of a row sum to 1."""
    study = linear(LinearSettings(shortest=16, longest=64, head_dim=8, embed_dim=8, steps=3))
    cost, recall = study.tables
    assert [row[0] for row in cost.rows] == [16, 32, 64]
    assert all(cell > 0 for row in cost.rows for cell in row[1:6])
    assert [row[0] for row in recall.rows] == list(Recall().pairs)
    for matrix in study.data["weights"].values():
        torch.testing.assert_close(torch.tensor(matrix).sum(-1), torch.ones(24))


def test_lengths_out_of_range() -> None:
    """Fewer than two lengths compare nothing."""
    with pytest.raises(ArgumentError, match="longest 100"):
        LinearSettings(shortest=128, longest=100)
