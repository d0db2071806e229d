"""The viewer on recordings: what was kept is shown, what was not is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import regard
from regard.recorder import Recording, Texts


def recorded(keep: Any, length: int = 200, **settings: Any) -> Recording:
    """Two layers of an encoder, watched on one input."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 32, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    with regard.watch(model, keep=keep, **settings) as recording, torch.no_grad():
        model(torch.randn(1, length, 32))
    return recording


def numbers(source: Any, key: str) -> Any:
    """A block of float32."""
    return np.frombuffer(source.block(key), "<f4")


def test_summaries_show_their_map_and_nothing_finer() -> None:
    """Cells of 4 tokens for 200: the tiles are the kept map, finer zooms and single rows are not there."""
    recording = recorded("summary")
    source = regard.view(recording, tokens=[f"t{n}" for n in range(200)]).source
    entry = source.manifest()["maps"][0]
    assert (entry["finest"], entry["coarsest"], entry["overview"], entry["exact"]) == (2, 2, 2, False)
    assert entry["quantities"] == {"mass": [2, 2]}
    assert (entry["layer"], entry["pass"], entry["heads"], entry["top_weights"]) == (0, 0, 4, 4)
    assert "cells of 4 tokens" in entry["notes"][0]
    kept = recording[0].pooled(4)[0, 3].numpy()
    np.testing.assert_array_equal(numbers(source, "tile/0/3/mass/2/0/0").reshape(50, 50), kept)
    for key in ("tile/0/3/mass/1/0/0", "tile/0/3/peak/2/0/0", "row/0/0/1", "column/0/0/1"):
        assert source.block(key) is None
    np.testing.assert_array_equal(numbers(source, "track/1/2/entropy"), recording[1].entropy()[0, 2].numpy())
    measures = json.loads(source.block("measures/1") or b"")
    assert measures["previous"][2] == pytest.approx(recording[1].share(-1)[0, 2].item())
    assert measures["row_sums"] is None
    assert len(source.block("top_weights/0/1") or b"") == 200 * 4 * 8


def test_cells_of_one_token_are_every_weight(tmp_path: Path) -> None:
    """A short text's summaries hold each weight: no sentence says that something finer is missing."""
    shown = regard.view(recorded("summary", 9))
    manifest = shown.source.manifest()
    assert [(entry["finest"], entry["notes"]) for entry in manifest["maps"]] == [(0, []), (0, [])]
    assert manifest["holds"] == "Every weight, as it was recorded."
    page = shown.save(tmp_path / "a.html").read_text("utf-8")
    assert "single weights" not in page.split("</script>")[0]
    longer = regard.view({"short": recorded("summary", 9), "long": recorded("summary")}).source.manifest()
    assert longer["holds"] == "Summaries, exact; single weights were not recorded."


def test_exact_recordings_show_everything() -> None:
    """A row of the page is the row of the weights."""
    recording = recorded("exact", 30)
    source = regard.view(recording).source
    entry = source.manifest()["maps"][1]
    assert (entry["finest"], entry["exact"], entry["notes"]) == (0, True, [])
    np.testing.assert_allclose(numbers(source, "row/1/2/5"), recording[1][0, 2, 5].numpy(), rtol=1e-6)


@pytest.mark.parametrize("keep", ["summary", "exact", "dense"])
def test_pages_and_pictures(keep: Any, tmp_path: Path) -> None:
    """Every kind of recording becomes a page and a picture; the page promises no zoom that it does not hold."""
    shown = regard.view(recorded(keep))
    page = shown.save(tmp_path / "a.html").read_text("utf-8")
    assert shown.save(tmp_path / "a.png").stat().st_size > 5000
    shown.figure("layers.1.self_attn", 2)
    if keep == "summary":
        assert 'id="overview/0"' in page
        assert "uniform" not in page.split("</script>")[0]


def test_texts_of_the_recording_are_used() -> None:
    """Tokens that a recording knows are those of the picture, unless others are given."""
    recording = recorded("summary", 3).describe(Texts(tokens=["a", "b", "c"], words=[0, 0, 1]))
    assert regard.view(recording).source.block("tokens/0") == b"abc"
    assert regard.view(recording, tokens=["x", "y", "z"]).source.block("tokens/0") == b"xyz"


def test_some_heads_are_named() -> None:
    """Two chosen heads are those of the whole, and the page says which they are."""
    whole, part = recorded("exact"), recorded("exact", heads=[3, 1])
    assert part[0].shape == (1, 2, 200, 200)
    torch.testing.assert_close(part[1].dense(), whole[1].dense()[:, [3, 1]])
    entry = regard.view(part).source.manifest()["maps"][0]
    assert entry["notes"] == ["The heads are 3, 1 of the model."]


def test_two_recordings_are_compared() -> None:
    """A mapping of names to recordings shows both models."""
    maps = regard.view({"one": recorded("summary"), "two": recorded("exact")}).source.manifest()["maps"]
    assert [entry["model"] for entry in maps] == ["one", "one", "two", "two"]
