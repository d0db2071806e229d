"""Pictures other than attention matrices: profiles of distance, and positional encodings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._values import described, instance, listed, whole
from ..errors import ArgumentError, ShapeError
from ..weights import AttentionWeights
from ._cells import checked_matrix, heads_of
from ._paper import FAINT, INK, PALETTE, check_words, colorbar, note, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["distance_profile", "positional_encoding"]


def distance_profile(
    weights: AttentionWeights,
    *,
    heads: Sequence[int] | None = None,
    batch: int = 0,
    title: str | None = None,
    caption: bool = True,
) -> Figure:
    """Draw the share of attention by distance from query to key, one curve a head.

    Args:
        weights: of one call, with or without heads and batch.
        heads: which to draw, at most 8; the first 8 unless given.
        batch: which input. title: a line above. caption: describe below what is drawn.

    Distances are key minus query, so the past is left of 0. Beyond 16 tokens distances share bins that double;
    a bin shows its share of all attention divided by its width, so heights can be compared. Returns a matplotlib
    `Figure`. Raises `ArgumentError`, `MissingExtraError`. Cost of `AttentionWeights.distance_profile`.
    """
    check_words(title, caption)
    instance("weights", weights, AttentionWeights, "AttentionWeights, from need_weights=True")
    inputs, count = heads_of(weights)
    batch = whole("batch", batch, 0, inputs - 1)
    every = range(min(count, len(PALETTE))) if heads is None else listed("heads", heads)
    chosen = [whole("heads", head) for head in every]
    if not chosen or len(chosen) > len(PALETTE) or any(not 0 <= head < count for head in chosen):
        raise ArgumentError(
            f"heads is {described(heads)}; name 1 to {len(PALETTE)} of the {count} heads, counted from 0."
        )
    profile = weights.detach().distance_profile()
    mass = profile.mass.double().cpu().numpy().reshape(-1, count, profile.mass.shape[-1])[batch]
    start, stop = profile.start.cpu().numpy(), profile.stop.cpu().numpy()
    shares = mass / (stop - start)
    figure = sheet(6.0, 3.2)
    panel = figure.add_subplot()
    for colour, head in zip(PALETTE, chosen, strict=False):
        panel.stairs(shares[head], [*start - 0.5, stop[-1] - 0.5], color=colour, linewidth=1.4, label=f"head {head}")
    span = max(abs(int(start[0])), abs(int(stop[-1])))
    if span > 32:
        panel.set_xscale("symlog", linthresh=16, linscale=1.5)
        ticks = [0, 4, 16, *(4**n for n in range(3, 12) if 4**n < span)]
        panel.set_xticks([t for t in sorted({-t for t in ticks} | set(ticks)) if start[0] <= t < stop[-1]])
        panel.minorticks_off()
        panel.xaxis.set_major_formatter("{x:,.0f}")
    _plain(panel)
    used = np.flatnonzero(shares[chosen].max(0) > 0)
    if used.size:  # empty under a causal mask
        panel.set_xlim(start[used[0]] - 1.5, stop[used[-1]] + 0.5)
    panel.set_ylim(bottom=0)
    panel.set_xlabel("distance, key minus query (tokens)", fontsize=8, color=INK)
    panel.set_ylabel("share of attention a token", fontsize=8, color=INK)
    if len(chosen) > 1:
        panel.legend(fontsize=7, frameon=False, ncols=2, labelcolor=INK)
    else:
        panel.set_title(f"head {chosen[0]}", fontsize=8, color=INK)
    if title is not None:
        figure.suptitle(title, fontsize=10, color=INK, parse_math=False)
    if caption:
        note(figure, "Shares of all attention of a head; those of all distances sum to 1.")
    return figure


def positional_encoding(table: Tensor | NDArray[Any], *, title: str | None = None, caption: bool = True) -> Figure:
    """Draw a positional encoding: its numbers, and the similarity of any two positions.

    Args:
        table: `(positions, dimensions)`, for example `regard.positions.sinusoidal(torch.arange(128), 64)` or the
            weight of a learned embedding.
        title: a line above. caption: describe below what is drawn.

    On the left the numbers, on a range symmetric around 0; on the right the cosine of each two positions. Returns a
    matplotlib `Figure`. Raises `ShapeError`, `MissingExtraError`. O(positions² · dimensions).
    """
    check_words(title, caption)
    numbers = np.asarray(torch.as_tensor(checked_matrix("table", table)).detach().double().cpu())
    if numbers.ndim != 2 or 0 in numbers.shape:
        raise ShapeError(f"table has shape {numbers.shape}; the rule is (positions, dimensions), neither of them 0.")
    lengths = np.linalg.norm(numbers, axis=1, keepdims=True)
    unit = numbers / np.where(lengths > 0, lengths, 1.0)
    figure = sheet(8.2, 4.0)
    left, right = figure.subplots(1, 2)
    bound = float(np.abs(numbers[np.isfinite(numbers)]).max(initial=0.0)) or 1.0
    for panel, drawn, limit, what, across in (
        (left, numbers, bound, "value", "dimension"),
        (right, unit @ unit.T, 1.0, "cosine between positions", "position"),
    ):
        image = panel.imshow(drawn, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        _plain(panel)
        panel.set_xlabel(across, fontsize=8, color=INK)
        panel.set_ylabel("position", fontsize=8, color=INK)
        colorbar(figure, image, panel, what)
    if title is not None:
        figure.suptitle(title, fontsize=10, color=INK, parse_math=False)
    if caption:
        note(figure, f"{numbers.shape[0]:,} positions, {numbers.shape[1]:,} dimensions.")
    return figure


def _plain(panel: Axes) -> None:
    panel.tick_params(labelsize=7, color="#bbbbbb", labelcolor=INK)
    for side, spine in panel.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)
