"""For calls of every kind, every block in the manifest is available, and a picture can be drawn."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import regard
from regard import AttentionWeights, biases, masks, view
from tests.viewer.examples import numbers


def _query(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(dtype)


def _call(query: Tensor, **arguments: object) -> AttentionWeights:
    return regard.attention(query, query, query, need_weights=True, **arguments)[1]  # type: ignore[call-overload,no-any-return]


def _grouped() -> AttentionWeights:
    key = _query(1, 2, 40, 16)
    query = _query(1, 8, 40, 16)
    return regard.attention(query, key, key, softcap=3.0, bias=biases.ALiBi(8), need_weights=True)[1]


CALLS: dict[str, Callable[[], AttentionWeights]] = {
    "bfloat16": lambda: _call(_query(1, 2, 90, 16, dtype=torch.bfloat16), causal=True),
    "float64": lambda: _call(_query(1, 2, 90, 16, dtype=torch.float64), causal=True),
    "linear": lambda: regard.linear_attention(*[_query(1, 2, 90, 16)] * 3, causal=True, need_weights=True)[1],
    "with gradients": lambda: _call(_query(30, 16).requires_grad_()),
    "one token": lambda: _call(_query(1, 1, 1, 4)),
    "grouped, biased, capped": _grouped,
    "math": lambda: _call(_query(1, 2, 90, 16), causal=True, backend="math"),
    "reference": lambda: _call(_query(1, 2, 40, 16), backend="reference"),
    "padding to nothing": lambda: _call(_query(3, 2, 20, 16), mask=masks.padding([20, 7, 0])),
    "stored": lambda: _call(_query(2, 20, 8)).value_weighted(),
}


@pytest.mark.parametrize("name", CALLS)
def test_all_that_is_named_can_be_had(name: str) -> None:
    """Each quantity at each zoom, each track, lines, links, measures of each map; and the picture of the first."""
    shown = view(CALLS[name]())
    source = shown.source
    for entry in source.manifest()["maps"]:
        number, head = entry["id"], entry["heads"] - 1
        queries, keys = entry["queries"]["size"], entry["keys"]["size"]
        for quantity, (finest, coarsest) in entry["quantities"].items():
            for zoom in range(finest, coarsest + 1):
                cells = numbers(source.block(f"tile/{number}/{head}/{quantity}/{zoom}/0/0"), "f4", -1)
                assert not np.isnan(cells).any()
                assert (cells >= 0).sum() + (cells == -1).sum() == cells.size
        for track, side in entry["tracks"].items():
            numbers(source.block(f"track/{number}/{head}/{track}"), "f4", entry[side]["size"])
        numbers(source.block(f"row/{number}/{head}/0"), "f4", keys)
        numbers(source.block(f"column/{number}/{head}/0"), "f4", queries)
        for key in (f"overview/{number}", f"measures/{number}", f"top_weights/{number}/{head}"):
            assert source.block(key)
    shown.figure().canvas.draw()


def test_weights_by_values_are_named() -> None:
    """Rows that are no shares of 1 are called what they are, on paper and in the manifest, and not checked as such."""
    shown = view(CALLS["stored"]())
    manifest = shown.source.manifest()
    assert (manifest["quantity"], manifest["sums_to_one"]) == ("attention weight × length of the value", False)
    assert b'"row_sums": null' in (shown.source.block("measures/0") or b"")
    figure = shown.figure("attention", head=0)
    assert any("length of the value" in panel.get_ylabel() for panel in figure.axes)


def test_nan_stays_nan() -> None:
    """A NaN of the model is shown where it is, breaks nothing else, and row sums say nothing."""
    query = _query(1, 2, 20, 16)
    query[0, 0, 3] = torch.nan
    shown = view(_call(query, causal=True))
    tile = numbers(shown.source.block("tile/0/0/mass/0/0/0"), "f4", 20, 20)
    assert np.isnan(tile[3, 0])
    assert np.isfinite(tile[:3]).all()
    assert tile[3, 4] == -1
    assert b'"row_sums": null' in (shown.source.block("measures/0") or b"")
    measures = json.loads(shown.source.block("measures/0") or b"", parse_constant=pytest.fail)
    assert (measures["entropy"][0], measures["kind"][0], measures["sinks"][0]) == ("NaN", None, None)
    figure = shown.figure("attention", head=0)
    figure.canvas.draw()
    assert "not a number" in [text.get_text() for text in figure.legends[0].get_texts()]
