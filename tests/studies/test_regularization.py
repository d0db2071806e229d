"""Dropout and norm: every setting is trained with every seed, and the reported figures are those of the runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from regard.errors import ArgumentError
from regard.layers import Dropout
from regard.studies import RegularizationSettings, Study, regularization
from regard.studies._code import IGNORED, CodeNames, attends, code_names
from regard.studies._regularization import _Model
from tests.studies.test_study import same_picture

SMALL = RegularizationSettings(rates=(0.0, 0.5), runs=2, steps=4, embed_dim=16, num_layers=1, files=8)


@pytest.fixture(scope="module")
def study() -> Study:
    """Run the whole study once, small."""
    return regularization(SMALL)


@pytest.fixture(scope="module")
def data() -> CodeNames:
    """Read the names of a few files."""
    return code_names(8, 32)


def test_every_setting(study: Study) -> None:
    """Three norms, two rates, two seeds; the table tells mean, deviation and range of each."""
    assert len(study.data["runs"]) == 12
    rows = study.tables[0].rows
    assert len(rows) == 6
    for norm, rate, middle, deviation, low, high, *_ in rows:
        figures = [r["accuracy"] for r in study.data["runs"] if (r["norm"], r["rate"]) == (norm, rate)]
        assert middle == pytest.approx(sum(figures) / 2)
        assert (low, high) == (min(figures), max(figures))
        assert deviation == pytest.approx((high - low) / 2**0.5)


def test_dropout_disturbs_training_alone(study: Study) -> None:
    """Runs of one norm and seed start from the same weights: their first losses differ by dropout only."""
    first = {(r["norm"], r["rate"], r["seed"]): r["losses"][0] for r in study.data["runs"]}
    for norm in ("none", "before", "after"):
        assert first[norm, 0.0, 0] != first[norm, 0.5, 0]
        assert first[norm, 0.0, 0] != first[norm, 0.0, 1]


def test_norms_of_the_models(data: CodeNames) -> None:
    """Without norm there is no LayerNorm; before the halves of a layer there is one more, at the end."""
    counts = {norm: _Model(data, norm, 0.1, 16, 2) for norm in ("none", "before", "after")}
    found = {norm: sum(isinstance(m, nn.LayerNorm) for m in model.modules()) for norm, model in counts.items()}
    assert found == {"none": 0, "before": 5, "after": 4}
    rates = {m.p for m in counts["after"].modules() if isinstance(m, Dropout)}
    assert rates == {0.1}


def test_uniform_weights(data: CodeNames) -> None:
    """A model whose scores are all 0 has the entropy of uniform weights and their size."""
    model = _Model(data, "none", 0.0, 16, 1)
    for name, weight in model.named_parameters():
        if "query_key_value" in name:
            weight.data.zero_()
    entropy, largest = attends(model, data, windows=4)
    assert entropy == pytest.approx(1.0)
    lengths = [length for length in data.test.lengths if length > 1][:4]
    assert largest == pytest.approx(len(lengths) / sum(lengths))


def test_names(data: CodeNames) -> None:
    """Words and kinds go together; padding carries no kind; the cheap baseline beats one kind for all."""
    words, lengths, kinds = data.test.padded([0, 1])
    assert words.shape == kinds.shape
    for row, length in enumerate(lengths.tolist()):
        assert not words[row, length:].any()
        assert (kinds[row, length:] == IGNORED).all()
    named = [int(kind) for each in data.test.kinds for kind in each if kind != IGNORED]
    assert max(named) < len(data.kinds) == 6
    assert 0 < data.baseline < 1


def test_one_result(study: Study, tmp_path: Path) -> None:
    """The reading names the best mean; the JSON draws the same picture."""
    best = max(row[2] for row in study.tables[0].rows)
    assert f"{best:.3f}" in study.reading[0]
    same_picture(study, tmp_path)


def test_settings_are_checked() -> None:
    """A rate is a probability."""
    with pytest.raises(ArgumentError, match="rates"):
        RegularizationSettings(rates=(1.0,))
