"""The small picture of all heads of a notebook's output: every dot of it is one pixel, whatever stands around."""

from __future__ import annotations

import base64
import io
import itertools

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

import regard
from tests.viewer.examples import short_script

__all__ = ["short_script"]

pytestmark = pytest.mark.usefixtures("short_script")


def runs(seen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return where each run of True begins, and its length."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], seen, [False]]).astype(int)))
    return [(int(a), int(b - a)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


@pytest.mark.parametrize(("layers", "heads", "tokens"), [(1, 16, 5), (5, 4, 8), (30, 2, 6)])
def test_every_head_has_the_same_whole_pixels(layers: int, heads: int, tokens: int) -> None:
    """The first query of a causal mask gives 1 to the first key: one square of the brightest colour in each map."""
    names = ["a", "a.much.longer.name.of.a.layer", "é"] * 10
    even = torch.zeros(1, heads, tokens, 4)
    call = regard.attention(even, even, even, causal=True, need_weights=True)[1]
    maps = {f"{name}{number}": call for number, name in enumerate(names[:layers])}
    bundle = regard.view(maps, title="A title")._repr_mimebundle_()
    pixels = np.asarray(Image.open(io.BytesIO(bundle["image/png"])).convert("RGB")).astype(int)
    assert base64.b64encode(bundle["image/png"]).decode() in bundle["text/html"]
    brightest = (abs(pixels - 255 * np.array(colormaps["cividis"](1.0)[:3])) < 12).all(-1)  # a palette's nearest
    across = runs(brightest.any(0))[:heads]  # behind them stands the bar of colours
    down = runs(brightest[:, : across[-1][0] + across[-1][1]].any(1))
    assert (len(across), len(down)) == (heads, layers)
    assert len({size for _, size in [*across, *down]}) == 1
    assert len({b - a for (a, _), (b, _) in [*itertools.pairwise(across), *itertools.pairwise(down)]}) == 1
    edges = pixels[[0, -1]], pixels[:, [0, -1]]
    assert all((edge == 255).all() for edge in edges)  # nothing is cut off
