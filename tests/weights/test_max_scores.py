"""The largest score of each row, which QK-clip bounds."""

from pathlib import Path
from typing import Any

import pytest
import torch

import regard
from regard import masks
from regard.errors import ArgumentError
from tests.doors.models import Calls

CALLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"causal": True},
    "sinks": {"sinks": torch.tensor([1.0, -1.0, 0.0, 2.0])},
    "cap and bias": {"softcap": 1.0, "bias": torch.linspace(-2, 2, 40)},
    "rows that see nothing": {"mask": masks.padding([0, 30])},
    "far from zero": {"bias": torch.full((1,), 500.0)},
}


@pytest.mark.parametrize("backend", ["native", "math"])
@pytest.mark.parametrize("name", CALLS)
def test_they_are_those_of_the_matrix(name: str, backend: str) -> None:
    """Scaled, capped, with the bias; without what is hidden, and without the sink."""
    given = CALLS[name]
    query, key = torch.randn(2, 4, 30, 8), torch.randn(2, 2, 40, 8)
    weights = regard.attention(query, key, key, need_weights=True, backend=backend, **given)[1]
    scores = query @ key.repeat_interleave(2, 1).transpose(-2, -1) * 8**-0.5
    if "softcap" in given:
        scores = torch.tanh(scores)
    scores = (scores + given.get("bias", 0.0)).masked_fill(weights.masked(1), -torch.inf)
    torch.testing.assert_close(weights.max_scores(), scores.amax(-1), rtol=1e-5, atol=1e-4)


def test_they_are_no_scores_after_values_are_weighed_in() -> None:
    """The norms of values are part of those weights."""
    query = torch.randn(1, 2, 5, 8)
    weights = regard.attention(query, query, query, need_weights=True)[1]
    for other in (weights.value_weighted(), weights.value_weighted(normalise=True)):
        with pytest.raises(ArgumentError, match="hold no scores"):
            other.max_scores()


def test_a_recording_knows_them(tmp_path: Path) -> None:
    """A summary keeps what they are made of, in a file too."""
    model, x = Calls(lambda x: regard.attention(x, x, x, causal=True)), torch.randn(1, 2, 20, 8)
    with regard.watch(model) as recording:
        model(x)
    expected = regard.attention(x, x, x, causal=True, need_weights=True)[1].max_scores()
    recording.save(tmp_path / "a.regard")
    for found in (recording, regard.load(tmp_path / "a.regard")):
        torch.testing.assert_close(found[0].max_scores(), expected)
