"""A page of value-weighted maps is saved, although their numbers have no upper bound."""

from pathlib import Path

import torch

import regard


def test_value_weighted_maps_are_saved(tmp_path: Path) -> None:
    """Numbers above 1 are in the file, rounded or not."""
    torch.manual_seed(0)
    q = torch.randn(1, 2, 300, 8)
    _, weights = regard.attention(q, q, 5 * q, causal=True, need_weights=True)
    for budget in (32.0, 0.1):
        path = tmp_path / f"{budget}.html"
        regard.view(weights.value_weighted()).save(path, budget_mib=budget)
        assert path.stat().st_size > 10_000
