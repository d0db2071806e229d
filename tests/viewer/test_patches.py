"""Patches of an image lie in two dimensions: distances, neighbours and what is expected of a distance."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import regard
from regard.viewer import Grid
from tests.viewer.examples import numbers, weights

ROWS, COLUMNS, SIZE = 3, 5, 16  # behind a class token


def place(token: int) -> tuple[int, int] | None:
    """Return row and column of a token, None for the class token."""
    return None if token == 0 else divmod(token - 1, COLUMNS)


def apart(query: int, key: int) -> float:
    """Return the distance of two tokens in patches, NaN unless both are patches."""
    one, other = place(query), place(key)
    return math.nan if one is None or other is None else math.dist(one, other)


def distances() -> NDArray[np.float64]:
    """Return the distances of all pairs."""
    return np.array([[apart(query, key) for key in range(SIZE)] for query in range(SIZE)])


@pytest.fixture(params=["all", "masked"])
def call(request: pytest.FixtureRequest) -> regard.AttentionWeights:
    """The weights of two heads, without a mask and under one with holes."""
    if request.param == "all":
        return weights(2, SIZE)
    return weights(2, SIZE, mask=torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(2)) > 0.4)


def test_measures_are_those_of_two_dimensions(call: regard.AttentionWeights) -> None:
    """Mean distance among the patches and share of the eight around, against the definition; none of the line."""
    made = json.loads(regard.view(call, grid=Grid(ROWS, COLUMNS, 1)).source.block("measures/0"))
    away = distances()
    for head in range(2):
        dense = call.dense()[0, head].double().numpy()
        means, around = [], []
        for query in range(1, SIZE):
            pairs = ~np.isnan(away[query])
            if dense[query].sum() > 0:
                around.append(dense[query][(away[query] > 0) & (away[query] < 1.5)].sum())
            if dense[query][pairs].sum() > 0:
                means.append((dense[query] * np.nan_to_num(away[query])).sum() / dense[query][pairs].sum())
        assert made["distance"][head] == pytest.approx(np.mean(means), abs=1e-5)
        assert made["neighbours"][head] == pytest.approx(np.mean(around), abs=1e-5)
    assert "previous" not in made
    assert "next" not in made


def test_the_track_has_a_distance_for_each_patch() -> None:
    """Along the queries the same mean; the class token has none."""
    call = weights(1, SIZE)
    track = numbers(regard.view(call, grid=Grid(ROWS, COLUMNS, 1)).source.block("track/0/0/distance"), "f4", SIZE)
    dense, away = call.dense()[0, 0].double().numpy(), np.nan_to_num(distances())
    assert math.isnan(track[0])
    assert np.allclose(track[1:], ((dense * away).sum(1) / dense[:, 1:].sum(1))[1:], atol=1e-5)


def test_expected_is_the_mean_at_the_distance(call: regard.AttentionWeights) -> None:
    """Each pair of patches: the mean over all visible pairs of the same distance, up and down, left and right."""
    source = regard.view(call, grid=Grid(ROWS, COLUMNS, 1)).source
    dense, seen = call.dense()[0, 1].double().numpy(), ~call.masked()[0, 0].numpy()
    made = numbers(source.block("tile/0/1/expected/0/0/0"), "f4", SIZE, SIZE)
    away = distances()
    for query, key in itertools.product(range(1, SIZE), repeat=2):
        alike = seen & (np.abs(away - away[query, key]) < 1e-9)
        assert made[query, key] == pytest.approx(dense[alike].mean() if seen[query, key] else -1, abs=1e-5)
    assert made[0, 1] == pytest.approx(dense[0, 1:][seen[0, 1:]].mean() if seen[0, 1] else -1, abs=1e-5)


def test_kinds_of_heads_over_patches() -> None:
    """A head that looks one row up looks at a neighbour; one that looks along a row, over its end, does not."""
    up = torch.zeros(SIZE, SIZE)
    for token in range(1, SIZE):
        up[token, token - COLUMNS if token > COLUMNS else token + COLUMNS] = 1
    up[0, 0] = 1
    far = torch.zeros(SIZE, SIZE)
    for token in range(1, SIZE):
        row, column = divmod(token - 1, COLUMNS)
        far[token, 1 + row * COLUMNS + (column + 3) % COLUMNS] = 1
    far[0, 0] = 1
    made = json.loads(regard.view(torch.stack([up, far]), grid=Grid(ROWS, COLUMNS, 1)).source.block("measures/0"))
    assert made["kind"][0] == "neighbours"
    assert made["kind"][1] != "neighbours"
    assert made["distance"][0] == pytest.approx(1)
