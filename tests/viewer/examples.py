"""Calls to show, and decoding of bytes as in the page."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import regard
from regard import AttentionWeights, view
from regard.viewer import View
from regard.viewer.tiles import TILE, TileSource

TOKENS = "The animal did not cross the $street$ because it was too tired .".split()
TAGS = "O B-ANIMAL O O O B-PLACE I-PLACE O O O O B-STATE O".split()


def weights(*sizes: int, keys: int | None = None, **arguments: Any) -> AttentionWeights:
    """Return the weights of a random call: batch, heads, queries; `keys` defaults to as many."""
    make = torch.Generator().manual_seed(5)
    batch, heads, queries = (1,) * (3 - len(sizes)) + sizes
    query = 2 * torch.randn(batch, heads, queries, 8, generator=make)
    key = torch.randn(batch, heads, keys or queries, 8, generator=make)
    return regard.attention(query, key, key, need_weights=True, **arguments)[1]


def source(*sizes: int, **arguments: Any) -> TileSource:
    """Return the tile source of such a call."""
    return view(weights(*sizes, **arguments)).source


def numbers(block: bytes | None, kind: str, *shape: int) -> NDArray[Any]:
    """Decode a block as the page does: its length must be that of the shape."""
    assert block is not None
    decoded = np.frombuffer(block, "<" + kind)
    return decoded.reshape(shape)


def tile_shape(queries: int, keys: int, zoom: int, row: int, column: int) -> tuple[int, int]:
    """Return the cells of a tile as the protocol gives them."""
    rows, columns = (-(-size // (1 << zoom)) for size in (queries, keys))
    return min(TILE, rows - TILE * row), min(TILE, columns - TILE * column)


def named_view() -> View:
    """Return a view with tokens and labels."""
    return view(weights(4, 13, causal=True), TOKENS, labels=TAGS, title="One <sentence>")


@pytest.fixture
def short_script(monkeypatch: pytest.MonkeyPatch) -> str:
    """Stand in for the page's script, with text that could end it early."""
    code = 'export default { render() {} }; const trap = "</script><!--";'
    for module in ("html", "server", "widget"):
        monkeypatch.setattr(f"regard.viewer.{module}.script", lambda name="regard": code)
    return code
