"""Positions: pictures and similarities follow the definitions, and longer contexts are judged on the same bytes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from regard.errors import ArgumentError
from regard.layers import LearnedEncoding
from regard.models import LanguageModel, LanguageModelConfig
from regard.studies import PositionsSettings, Study, positions
from regard.studies._positions import KINDS, _attends, _judge, _one
from regard.studies._study import silent
from tests.studies.test_study import same_picture

SMALL = PositionsSettings(length=8, steps=2, embed_dim=16, files=8)


@pytest.fixture(scope="module")
def study() -> Study:
    """Run the whole study once, small."""
    return positions(SMALL)


@pytest.fixture(scope="module")
def text() -> torch.Tensor:
    """Return bytes without meaning."""
    return torch.randint(0, 256, (2000,), generator=torch.Generator().manual_seed(0))


def test_pictures(study: Study) -> None:
    """Each picture holds what its definition says, up to four times the trained length."""
    found = {name: np.array(table) for name, table in study.data["pictures"].items()}
    assert {name: table.shape for name, table in found.items()} == {
        "sinusoidal": (32, 16), "learned": (32, 16), "rotary": (32, 2), "alibi": (4, 32), "relative": (4, 32)
    }  # fmt: skip
    assert found["sinusoidal"][3, 0] == pytest.approx(math.sin(3), abs=1e-4)
    assert found["rotary"][3, 0] == pytest.approx(math.cos(3), abs=1e-4)
    assert found["alibi"][0, 3] == pytest.approx(-3 * 2**-2)
    assert (found["alibi"][:, 0] == 0).all()


def test_similarity(study: Study) -> None:
    """Every kind is 1 at distance 0; sinusoidal is the mean of cosines, ALiBi falls all the way."""
    similar = study.data["similarity"]
    assert set(similar) == set(KINDS) - {"none"}
    assert all(values[0] == pytest.approx(1.0) and len(values) == 8 for values in similar.values())
    cosines = [math.cos(2 / 10_000 ** (2 * i / 16)) for i in range(8)]
    assert similar["sinusoidal"][2] == pytest.approx(sum(cosines) / 8, abs=1e-4)
    assert similar["alibi"] == sorted(similar["alibi"], reverse=True)


class _Bigram(nn.Module):
    """Logits that depend on the last byte alone."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(256, 256)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.table(tokens)


def test_the_same_bytes_at_each_length(text: torch.Tensor) -> None:
    """A model that depends on one byte only has the same loss at every context length."""
    model = _Bigram()
    losses = [_judge(model, text, 8, times) for times in (1, 2, 4)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[2] == pytest.approx(losses[0], rel=1e-5)


def test_positions_beyond_the_trained_length_are_not_learnt(text: torch.Tensor) -> None:
    """Learned vectors beyond it keep their direction, since only weight decay changes them; others change direction."""
    model, _ = _one("learned", 0, 8, text, text, SMALL, silent)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LanguageModelConfig(
            vocab_size=256, dropout=0.0, max_length=32, embed_dim=16, num_heads=4, num_layers=2, positions="learned"
        )
        start = LanguageModel(config)
    after, before = (
        next(m.weight.detach() for m in each.modules() if isinstance(m, LearnedEncoding)) for each in (model, start)
    )
    alike = nn.functional.cosine_similarity(after, before)
    assert alike[8:] == pytest.approx(1.0, abs=1e-6)
    assert (alike[:8] < 1 - 1e-6).all()


def test_attention_by_distance(text: torch.Tensor) -> None:
    """Without positions and with equal keys each of the `i + 1` keys that a query sees has the same weight."""
    model = LanguageModel(LanguageModelConfig(vocab_size=256, embed_dim=16, num_layers=1, positions="none"))
    for name, weight in model.named_parameters():
        if "query_key_value" in name:
            weight.data.zero_()
    found = _attends(model, text, 8)
    expected = sum(1 / (i + 1) for i in range(4, 8)) / 4
    assert found == pytest.approx([expected] * 4, abs=1e-4)


def test_one_result(study: Study, tmp_path: Path) -> None:
    """A run for each kind with a loss for each length; the tables tell them; the JSON draws the same picture."""
    assert [run["kind"] for run in study.data["runs"]] == list(KINDS)
    for run, row in zip(study.data["runs"], study.tables[0].rows, strict=True):
        assert row[1:4] == pytest.approx(run["losses"])
        assert row[4] == pytest.approx(run["losses"][2] - run["losses"][0])
    same_picture(study, tmp_path)


def test_settings_are_checked() -> None:
    """Too short a text has no half to be judged."""
    with pytest.raises(ArgumentError, match="length"):
        PositionsSettings(length=3)
