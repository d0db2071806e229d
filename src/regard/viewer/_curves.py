"""Pictures other than attention matrices: profiles of distance, and positional encodings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._drawing import PALETTE, Labelled, faint, ink, lettering, pt, settle, sheet
from .._values import described, instance, listed, whole
from ..errors import ArgumentError, ShapeError
from ..weights import AttentionWeights
from ._cells import checked_matrix, heads_of
from ._paper import axes_of, check_words, colorbar, entitle, inches, note

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Kinds of lines, once the colours are used up.
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))


def distance_profile(
    weights: AttentionWeights,
    *,
    heads: Sequence[int] | None = None,
    batch: int = 0,
    title: str | None = None,
    caption: bool = True,
    ax: Axes | None = None,
    width: float | None = None,
    fontsize: float | None = None,
) -> Figure:
    """Draw the share of attention by distance from query to key, one curve a head.

    Args:
        weights: of one call, with or without heads and batch.
        heads: which to draw, at most 32; all unless given, of more the first 32, and the caption says how many are
            left out.
        batch: which input. title: a line above. caption: describe below what is drawn.
        ax, width, fontsize: as in `heatmap`.

    Distances are key minus query, so the past is left of 0. Beyond 16 tokens distances share bins that double;
    a bin shows its share of all attention divided by its width, so heights can be compared. Returns a matplotlib
    `Figure`. Raises `ArgumentError`, `MissingExtraError`. Cost of `AttentionWeights.distance_profile`.
    """
    check_words(title, caption)
    instance("weights", weights, AttentionWeights, "AttentionWeights, from need_weights=True")
    inputs, count = heads_of(weights)
    batch = whole("batch", batch, 0, inputs - 1)
    most = len(PALETTE) * len(_DASHES)
    every = range(min(count, most)) if heads is None else listed("heads", heads)
    chosen = [whole("heads", head) for head in every]
    if not chosen or len(chosen) > most or any(not 0 <= head < count for head in chosen):
        raise ArgumentError(
            f"heads is {described(heads)}; name 1 to {min(most, count)} of the {count} heads, counted from 0."
        )
    panel, wide = axes_of(ax, width), inches(width) or 6.0
    profile = weights.detach().distance_profile()
    mass = profile.mass.double().cpu().numpy().reshape(-1, count, profile.mass.shape[-1])[batch]
    start, stop = profile.start.cpu().numpy(), profile.stop.cpu().numpy()
    shares = mass / (stop - start)
    with lettering(fontsize):
        columns = max(1, int(wide / (0.9 * pt(10) / 10)))
        rows = -(-len(chosen) // columns) if len(chosen) > 1 else 0
        figure: Any = sheet(wide, 0.5 * wide + 0.18 * rows * pt(10) / 10) if panel is None else panel.figure
        drawn: Any = figure if panel is None else panel
        panel = figure.add_subplot() if panel is None else panel
        for place, head in enumerate(chosen):
            panel.stairs(
                shares[head], [*start - 0.5, stop[-1] - 0.5], color=PALETTE[place % len(PALETTE)], linewidth=1.4,
                linestyle=_DASHES[place // len(PALETTE)], label=f"head {head}",
            )  # fmt: skip
        _distances(panel, int(start[0]), int(stop[-1]))
        _plain(panel)
        used = np.flatnonzero(shares[chosen].max(0) > 0)
        if used.size:  # empty under a causal mask
            panel.set_xlim(start[used[0]] - 1.5, stop[used[-1]] + 0.5)
        panel.set_ylim(bottom=0)
        panel.set_xlabel("distance, key minus query (tokens)", fontsize=pt(8, "axes.labelsize"), color=ink())
        panel.set_ylabel("share of attention a token", fontsize=pt(8, "axes.labelsize"), color=ink())
        key: dict[str, Any] = {"fontsize": pt(7, "legend.fontsize"), "frameon": False, "labelcolor": ink()}
        if len(chosen) > 1 and drawn is figure:
            figure.legend(loc="outside upper center", ncols=min(columns, len(chosen)), handlelength=2.6, **key)
        elif len(chosen) > 1:
            panel.legend(ncols=2, handlelength=2.6, **key)
        elif title is None or drawn is figure:
            panel.set_title(f"head {chosen[0]}", fontsize=pt(8, "axes.titlesize"), color=ink())
        entitle(drawn, title)
        numbers = [Labelled(False, False, panel.get_xticklabels())]
        if drawn is figure:
            figure.labelled += numbers
        else:
            settle(figure, numbers)
        if caption:
            shown = "" if len(chosen) == count else f" {len(chosen)} of {count} heads; {count - len(chosen)} left out."
            note(drawn, f"Shares of all attention of a head; those of all distances sum to 1.{shown}")
    return cast("Figure", figure)


def _distances(panel: Axes, first: int, last: int) -> None:
    """Make the axis of distances linear to 16 tokens and logarithmic beyond."""
    span = max(abs(first), abs(last))
    if span > 32:
        panel.set_xscale("symlog", linthresh=16, linscale=1.5)
        ticks = [0, 4, 16, *(4**n for n in range(3, 12) if 4**n < span)]
        panel.set_xticks([t for t in sorted({-t for t in ticks} | set(ticks)) if first <= t < last])
        panel.minorticks_off()
        panel.xaxis.set_major_formatter("{x:,.0f}")


def positional_encoding(
    table: Tensor | NDArray[Any],
    *,
    title: str | None = None,
    caption: bool = True,
    width: float | None = None,
    fontsize: float | None = None,
) -> Figure:
    """Draw a positional encoding: its numbers, and the similarity of any two positions.

    Args:
        table: `(positions, dimensions)`, for example `regard.positions.sinusoidal(torch.arange(128), 64)` or the
            weight of a learned embedding.
        title: a line above. caption: describe below what is drawn.
        width, fontsize: as in `heatmap`.

    On the left the numbers, on a range symmetric around 0; on the right the cosine of each two positions. Returns a
    matplotlib `Figure`. Raises `ShapeError`, `MissingExtraError`. O(positions² · dimensions).
    """
    check_words(title, caption)
    numbers = np.asarray(torch.as_tensor(checked_matrix("table", table)).detach().double().cpu())
    if numbers.ndim != 2 or 0 in numbers.shape:
        raise ShapeError(f"table has shape {numbers.shape}; the rule is (positions, dimensions), neither of them 0.")
    lengths = np.linalg.norm(numbers, axis=1, keepdims=True)
    unit = numbers / np.where(lengths > 0, lengths, 1.0)
    wide = inches(width) or 8.2
    with lettering(fontsize):
        figure = sheet(wide, wide * 4.0 / 8.2)
        left, right = figure.subplots(1, 2)
        bound = float(np.abs(numbers[np.isfinite(numbers)]).max(initial=0.0)) or 1.0
        for panel, drawn, limit, what, across in (
            (left, numbers, bound, "value", "dimension"),
            (right, unit @ unit.T, 1.0, "cosine between positions", "position"),
        ):
            image = panel.imshow(drawn, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
            _plain(panel)
            panel.set_xlabel(across, fontsize=pt(8, "axes.labelsize"), color=ink())
            panel.set_ylabel("position", fontsize=pt(8, "axes.labelsize"), color=ink())
            colorbar(figure, image, panel, what)
        entitle(figure, title)
        if caption:
            note(figure, f"{numbers.shape[0]:,} positions, {numbers.shape[1]:,} dimensions.")
    return figure


def _plain(panel: Axes) -> None:
    panel.tick_params(labelsize=pt(7), color="#bbbbbb", labelcolor=ink())
    for side, spine in panel.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(faint())
