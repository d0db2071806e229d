"""Scaling: the figures of random inputs follow the formulas, and the whole study is one result."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from regard.errors import ArgumentError
from regard.studies import ScalingSettings, Study, scaling
from regard.studies._scaling import _measured, _one_width
from regard.studies._study import silent
from tests.studies.test_study import same_picture

SMALL = ScalingSettings(widths=(4, 16, 64), keys=32, calls=4, steps=3, runs=2, embed_dim=16, files=8)


@pytest.fixture(scope="module")
def study() -> Study:
    """Run the whole study once, small."""
    return scaling(SMALL)


def column(study: Study, factor: str, name: str) -> list[float]:
    """Return one figure over the widths."""
    return [row[name] for row in study.data["measured"] if row["factor"] == factor]


def test_spread_is_that_of_a_sum(study: Study) -> None:
    """A sum of E products has deviation √E, which the factors divide."""
    for factor, exponent in (("1", 0.5), ("1/√E", 0.0), ("1/E", -0.5)):
        expected = [width**exponent for width in SMALL.widths]
        assert column(study, factor, "score_std") == pytest.approx(expected, rel=0.1)


def test_unscaled_weights_sharpen(study: Study) -> None:
    """Unscaled the entropy falls with the width and the largest weight rises; times 1/√E both stay."""
    falling, rising = column(study, "1", "entropy"), column(study, "1", "largest")
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] < 0.5 * falling[0]
    assert rising == sorted(rising)
    same = column(study, "1/√E", "entropy")
    assert max(same) - min(same) < 0.05 * math.log(SMALL.keys)
    flat = column(study, "1/E", "entropy")
    assert flat == sorted(flat)
    assert flat[-1] < math.log(SMALL.keys)


def test_few_queries_hold_the_gradient() -> None:
    """At a large width the smallest tenth of the unscaled gradients is far below the scaled one."""
    unscaled = _one_width(256, 1.0, 4, SMALL)
    scaled = _one_width(256, 1 / 16, 4, SMALL)
    assert unscaled["gradient_tenth"] < 0.01 * unscaled["gradient_query"]
    assert scaled["gradient_tenth"] > 0.3 * scaled["gradient_query"]


def test_gradients_are_those_of_the_formula() -> None:
    """The norms equal those of softmax and products written out in float64."""
    found = _one_width(8, 0.5, 2, SMALL)
    generator = torch.Generator().manual_seed(SMALL.seed)
    query, value, pull, key = (torch.randn(2, 1, 32, 8, generator=generator).double() for _ in range(4))
    query.requires_grad_()
    weights = (query @ key.mT * 0.5).softmax(-1)
    (weights @ value * pull).sum().div(math.sqrt(8)).backward()
    assert found["gradient_query"] == pytest.approx(float(query.grad.norm(dim=-1).mean()), rel=1e-4)
    weights = weights.detach()
    entropy = -(weights * weights.log()).sum(-1).mean()
    assert found["entropy"] == pytest.approx(float(entropy), rel=1e-4)
    assert found["largest"] == pytest.approx(float(weights.amax(-1).mean()), rel=1e-4)


def test_one_result(study: Study, tmp_path: Path) -> None:
    """A model for each factor and seed; a reading made of the figures; the JSON draws the same picture."""
    assert [row["factor"] for row in study.data["trained"]] == ["1", "1/√E", "1/E"] * 2
    assert all(0 <= row["accuracy"] <= 1 and len(row["losses"]) == 3 for row in study.data["trained"])
    assert len(study.tables[0].rows) == 9
    assert f"{study.data['baseline']:.3f}" in study.reading[-1]
    same_picture(study, tmp_path)


def test_seeds() -> None:
    """One seed gives the same figures each time, another gives others."""
    first, again = (_measured(SMALL, silent) for _ in range(2))
    assert first == again
    assert first != _measured(ScalingSettings(seed=1, widths=(4, 16, 64), keys=32, calls=4), silent)


@pytest.mark.parametrize("given", [{"widths": (4,)}, {"widths": (0, 4)}, {"keys": 1}])
def test_settings_are_checked(given: dict) -> None:
    """Sizes with nothing to compare are refused."""
    with pytest.raises(ArgumentError, match=next(iter(given))):
        ScalingSettings(**given)
