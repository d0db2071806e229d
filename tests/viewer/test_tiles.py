"""Tiles and numbers by key, against the matrix written out."""

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import regard
from regard import masks, view
from regard.viewer.tiles import TileSource
from tests.viewer.examples import TAGS, TOKENS, named_view, numbers, source, tile_shape, weights

CALLS: dict[str, dict[str, Any]] = {
    "all see all": {},
    "causal": {"causal": True},
    "window": {"window": (40, 7)},
    "padding": {"mask": masks.padding([400])},
    "holes": {"mask": torch.rand(1, 1, 600, 600, generator=torch.Generator().manual_seed(1)) > 0.3},
    "rows that see nothing": {"mask": masks.causal(offset=-300)},
    "cross": {"keys": 333},
}


def _pooled(dense: Any, cell: int, fold: str) -> Any:
    rows = [dense[a : a + cell] for a in range(0, dense.shape[0], cell)]
    blocks = [[row[:, b : b + cell] for b in range(0, dense.shape[1], cell)] for row in rows]
    if fold == "mass":
        return np.array([[block.sum(1).mean() for block in row] for row in blocks])
    return np.array([[getattr(block, fold)() for block in row] for row in blocks])


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("zoom", "row", "column"), [(0, 1, 0), (1, 1, 1), (1, 0, 0), (2, 0, 0)])
def test_tile_is_the_dense_matrix_pooled(name: str, zoom: int, row: int, column: int) -> None:
    """Mass and peak of a tile equal the dense matrix pooled; masked cells hold the code and nothing else does."""
    call = weights(2, 600, **CALLS[name])
    queries, keys = call.shape[-2:]
    dense, hidden = call[0, 1].double().numpy(), call.masked()[0, 1].numpy()
    tiles = view(call).source
    for quantity, fold in (("mass", "mass"), ("peak", "max")):
        block = tiles.block(f"tile/0/1/{quantity}/{zoom}/{row}/{column}")
        if zoom > 1 and keys < 600 and (row or column):
            continue
        shape = tile_shape(queries, keys, zoom, row, column)
        if min(shape) <= 0:
            assert block is None
            continue
        found = numbers(block, "f4", *shape)
        side = 256 << zoom
        part = np.s_[row * side : (row + 1) * side, column * side : (column + 1) * side]
        masked = _pooled(hidden[part], 1 << zoom, "all").astype(bool)
        assert np.array_equal(found == -1, masked)
        expected = np.where(masked, -1.0, _pooled(dense[part], 1 << zoom, fold))
        assert np.allclose(found, expected, atol=2e-6)


def test_rows_sum_to_one_at_every_zoom() -> None:
    """Mass adds up along a row of cells, whatever the zoom."""
    tiles = source(1, 1000, causal=True)
    for zoom in range(3):
        rows, columns = tile_shape(1000, 1000, zoom, 0, 0)[0], -(-1000 // (256 << zoom))
        sums = np.zeros(rows)
        for column in range(columns):
            block = tiles.block(f"tile/0/0/mass/{zoom}/0/{column}")
            sums += np.maximum(numbers(block, "f4", *tile_shape(1000, 1000, zoom, 0, column)), 0).sum(1)
        assert np.allclose(sums, 1, atol=1e-5)


def test_lift_and_expected_are_what_they_say() -> None:
    """`uniform` is even attention over visible keys, `expected` the head's mean at each distance."""
    call = weights(1, 60, causal=True)
    tiles = view(call).source
    dense, hidden = call[0, 0].double().numpy(), call.masked()[0, 0].numpy()
    uniform = numbers(tiles.block("tile/0/0/uniform/0/0/0"), "f4", 60, 60)
    assert np.allclose(uniform, np.where(hidden, -1, 1 / np.arange(1, 61)[:, None]), atol=1e-6)
    expected = np.full((60, 60), -1.0)
    for distance in range(60):
        places = np.arange(distance, 60), np.arange(60 - distance)
        expected[places] = dense[places].mean()
    found = numbers(tiles.block("tile/0/0/expected/0/0/0"), "f4", 60, 60)
    assert np.allclose(found, expected, atol=1e-6)


def test_value_weighted() -> None:
    """`value` is the weight times the length of the value, each row scaled to sum to 1."""
    call = weights(1, 30)
    found = numbers(view(call).source.block("tile/0/0/value/0/0/0"), "f4", 30, 30)
    expected = call.value_weighted(normalise=True).dense()[0, 0].numpy()
    assert np.allclose(found, expected, atol=1e-6)
    assert np.allclose(found.sum(1), 1, atol=1e-5)


def test_rows_columns_top_weights_and_tracks() -> None:
    """Lines are exact, with masked apart; top weights are the largest; each track is the summary of its name."""
    call = weights(2, 50, causal=True)
    tiles = view(call).source
    dense = call[0, 1].numpy()
    row = numbers(tiles.block("row/0/1/20"), "f4", 50)
    assert np.allclose(row[:21], dense[20, :21])
    assert (row[21:] == -1).all()
    column = numbers(tiles.block("column/0/1/20"), "f4", 50)
    assert np.allclose(column[20:], dense[20:, 20])
    assert (column[:20] == -1).all()
    top_weights = tiles.block("top_weights/0/1")
    assert top_weights is not None
    top = call.head(0, 1).top(8)
    assert np.array_equal(numbers(top_weights[:1600], "i4", 50, 8), top.indices.numpy())
    assert np.allclose(numbers(top_weights[1600:], "f4", 50, 8), top.values.numpy())
    head = call.head(0, 1)
    tracks = {
        "entropy": head.entropy(), "peak": head.peak().values, "distance": head.mean_distance(),
        "seeing": torch.arange(1, 51), "received": head.received(), "received_mean": head.received(corrected=True),
    }  # fmt: skip
    assert tiles.manifest()["maps"][0]["tracks"].keys() == tracks.keys()
    for name, expected in tracks.items():
        assert np.allclose(numbers(tiles.block(f"track/0/1/{name}"), "f4", 50), expected.numpy())


def test_measures_name_the_heads() -> None:
    """A head that looks at the token before, at itself, at all alike, is named so; row sums are checked."""
    position = torch.arange(40.0)
    bias = torch.zeros(1, 3, 40, 40)
    apart = position[None] - position[:, None]
    bias[0, 0][apart == -1] = 20.0
    bias[0, 1][apart == 0] = 20.0
    q = torch.zeros(1, 3, 40, 4)
    call = regard.attention(q, q, q, bias=bias, need_weights=True)[1]
    block = view(call).source.block("measures/0")
    assert block is not None
    found = json.loads(block)
    assert found["kind"] == ["previous token", "itself", "broad"]
    assert found["entropy"][2] == pytest.approx(np.log(40), abs=1e-4)
    assert found["self"][1] == pytest.approx(1, abs=1e-4)
    assert found["row_sums"] == pytest.approx([1, 1], abs=1e-5)


def test_a_row_that_sees_nothing_is_masked_and_not_zero() -> None:
    """Where nothing may be seen the cells say so, in tiles, lines and the overview."""
    tiles = source(1, 20, mask=masks.causal(offset=-5))
    tile = numbers(tiles.block("tile/0/0/mass/0/0/0"), "f4", 20, 20)
    assert (tile[:5] == -1).all()
    assert (numbers(tiles.block("row/0/0/3"), "f4", 20) == -1).all()
    assert (numbers(tiles.block("overview/0"), "f2", 1, 20, 20)[0, :5] == -1).all()


def test_small_weights_are_no_zeros_in_half_precision() -> None:
    """A weight below float16 stays above 0; 0 and the codes stay what they are."""
    bias = torch.tensor([[0.0, -20.0, -200.0, -torch.inf]])
    q = torch.zeros(1, 4, 4)
    call = regard.attention(q, q, q, bias=bias, need_weights=True)[1]
    tiles = TileSource(view(call).source.shown, "f2")
    row = numbers(tiles.block("tile/0/0/mass/0/0/0"), "f2", 4, 4)[0]
    assert row[1] > 0
    assert row[2:].tolist() == [0, -1]


def test_tokens_labels_words_as_bytes() -> None:
    """Tokens travel as bytes and offsets, broken UTF-8 too; labels as classes; words as numbers."""
    tokens = ["a", b"\xff\xfe", "</script>", "é", ""]
    tiles = view(weights(1, 5), tokens, labels=["x", None, "y", "x", ""], words=[0, 0, None, 1, 1]).source
    text = tiles.block("tokens/0")
    offsets = numbers(tiles.block("offsets/0"), "u4", 6)
    assert text is not None
    assert [text[a:b] for a, b in itertools.pairwise(offsets)] == [
        token if isinstance(token, bytes) else token.encode() for token in tokens
    ]
    assert numbers(tiles.block("labels/0/0"), "i2", 5).tolist() == [0, -1, 1, 0, -1]
    assert numbers(tiles.block("words/0"), "i4", 5).tolist() == [0, 0, -1, 1, 1]
    assert tiles.manifest()["axes"][0]["labels"] == [
        {"name": "labels", "classes": ["x", "y"], "colours": ["#8C6D1F", "#808080"]}
    ]


def test_manifest_of_tagged_tokens() -> None:
    """IOB2 tags become classes; the manifest is JSON with what the protocol names."""
    block = named_view().source.block("manifest")
    assert block is not None
    manifest = json.loads(block)
    assert manifest["title"] == "One <sentence>"
    assert manifest["axes"][0]["labels"][0]["classes"] == ["ANIMAL", "PLACE", "STATE"]
    assert manifest["maps"][0]["queries"] == {"axis": 0, "first": 0, "size": len(TOKENS)}
    assert len(TAGS) == len(TOKENS)


@pytest.mark.parametrize(
    "key",
    ["", "/", "tile", "tile/0/0/mass/0/0", "tile/0/0/mass/0/0/0/0", "tile/0/0/0/0/0/0", "tile/0/0/secret/0/0/0",
     "tile/00/0/mass/0/0/0", "tile/-1/0/mass/0/0/0", "tile/1/0/mass/0/0/0", "tile/0/4/mass/0/0/0", "row/0/0/13",
     "tile/0/0/mass/0/1/0", "tile/0/0/mass/1/0/0", "tile/0/0/expected/1/0/0",
     "column/0/0/mass", "track/0/0/lse", "labels/0/1", "words/0",
     "image/0", "../manifest", "manifest/", "tokens/0/../0", "tokens/9", "row/0/0/٣", "row/0/0/9999999999999",
     "tile/0/0/mass/99/0/0", "overview/1", "measures/x", "tokens/%30"],
)  # fmt: skip
def test_other_keys_give_nothing(key: str) -> None:
    """A key that is not in the protocol, or lies outside the view, gives None."""
    assert named_view().source.block(key) is None


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_no_text_breaks_the_source(text: str) -> None:
    """Whatever a key holds, the answer is bytes or None."""
    found = named_view().source.block(text)
    assert found is None or isinstance(found, bytes)


def test_kept_blocks_stay_within_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are remembered up to a bound, the oldest forgotten first, and answers stay the same."""
    monkeypatch.setattr("regard.viewer.tiles._KEPT_BYTES", 3000)
    tiles = source(1, 30)
    first = tiles.block("row/0/0/0")
    for query in range(30):
        tiles.block(f"row/0/0/{query}")
    tiles.block("tile/0/0/mass/0/0/0")
    assert tiles._kept_bytes == sum(map(len, tiles._kept.values()))
    assert len(tiles._kept) == 1
    assert tiles.block("row/0/0/0") == first


def test_coarse_tiles_without_a_map_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the call kept no map, one is made once for a head, and joins to what the matrix says."""
    monkeypatch.setattr("regard.viewer._quantities._MOST_COMPUTED", 256)
    monkeypatch.setattr("regard.viewer._quantities._MAP_CELLS", 200)
    call = weights(1, 1100, causal=True)
    plain = call.value_weighted()  # has no map
    dense = plain[0, 0].double().numpy()
    tiles = view(plain).source
    assert plain.map_cell == 0
    found = numbers(tiles.block("tile/0/0/mass/3/0/0"), "f4", 138, 138)
    hidden = plain.masked(8)[0, 0].numpy()
    assert np.allclose(found, np.where(hidden, -1, _pooled(dense, 8, "mass")), rtol=1e-4, atol=1e-5)


def test_tiles_do_not_wait_for_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """While measures of long heads are computed in one thread, a tile comes in another."""
    made = source(2, 12)
    begun, end = Event(), Event()

    def slow(*_: Any) -> dict[str, Any]:
        begun.set()
        assert end.wait(20)
        return {}

    monkeypatch.setattr("regard.viewer.tiles.measures", slow)
    with ThreadPoolExecutor(2) as threads:
        waiting = threads.submit(made.block, "measures/0")
        assert begun.wait(20)
        try:
            assert threads.submit(made.block, "tile/0/1/mass/0/0/0").result(20) is not None
            assert not waiting.done()
        finally:
            end.set()
        assert waiting.result(20) == b"{}"
