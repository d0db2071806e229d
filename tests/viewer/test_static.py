"""Printed pictures: what is drawn, what is written, what is refused."""

import io
import itertools
import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

import regard
from regard.errors import ArgumentError, ShapeError
from regard.viewer import static
from regard.viewer._label_colours import label_colours
from tests.viewer.examples import TAGS, TOKENS, weights


def texts(figure: Figure) -> str:
    """Return all text of a figure as it is drawn, from an SVG that keeps text as text."""
    with mpl.rc_context({"svg.fonttype": "none"}), io.StringIO() as file:
        figure.savefig(file, format="svg")
        return "\n".join(re.findall(r"<text[^>]*>([^<]*)</text>", file.getvalue()))


def test_heatmap_labels_quantity_and_numbers() -> None:
    """Tokens stand on both sides as text, the bar names the quantity, the cells hold the weights."""
    call = weights(4, 13, causal=True)
    figure = static.heatmap(call, TOKENS, head=1, title="Layer 2")
    drawn = texts(figure)
    assert drawn.count("street") == 2
    assert "attention weight" in drawn
    assert "masked" in drawn
    assert "not recorded" not in drawn
    assert "Rows sum to 1." in drawn
    largest = f"{call[0, 1].max().item():.2f}"
    assert largest in drawn or largest.replace("0.", ".") in drawn


def test_states_are_drawn_apart() -> None:
    """NaN of an array is 'not recorded' and hatched; a zero has the lowest colour; row sums are then unknown."""
    array = np.full((6, 6), 0.2)
    array[1, 2], array[3] = 0.0, np.nan
    figure = static.heatmap(array, numbers=True)
    drawn = texts(figure)
    assert "not recorded" in drawn
    assert "masked" not in drawn
    assert "Row sums unknown" in drawn
    image = next(i for i in figure.axes[0].images if i.get_zorder() == 2)
    shown = image.get_array()
    assert shown is not None
    assert np.ma.getmaskarray(shown)[3].all()
    assert not np.ma.getmaskarray(shown)[1, 2]
    assert image.norm(0.0) == 0


def test_average_only_when_asked_and_then_named() -> None:
    """Several heads need a choice; their mean is named beside the bar and equals the mean."""
    call = weights(4, 13)
    with pytest.raises(ArgumentError, match=r"head=0 … 3, or average=True"):
        static.heatmap(call)
    with pytest.raises(ArgumentError, match="one head or for the mean"):
        static.heatmap(call, head=0, average=True)
    figure = static.heatmap(call, average=True)
    assert "mean of 4 heads" in texts(figure)
    image = next(i for i in figure.axes[0].images if i.get_zorder() == 2)
    assert np.allclose(np.asarray(image.get_array()), call.dense()[0].mean(0).numpy(), atol=1e-6)


def test_heads_share_one_range_and_one_bar() -> None:
    """All maps of a grid have the same limits, and there is one bar."""
    figure = static.heads_grid({"layers.0": weights(3, 40), "layers.1": weights(2, 40, causal=True)})
    images = [i for panel in figure.axes for i in panel.images if i.get_zorder() == 2]
    assert len(images) == 5
    assert len({i.get_clim() for i in images}) == 1
    assert len([panel for panel in figure.axes if panel.get_ylabel() == "attention weight"]) == 1
    assert "layers.1" in texts(figure)


def test_entities_are_coloured_and_named() -> None:
    """IOB2 tags colour their tokens, a run has one bar a side, the classes stand in a key."""
    figure = static.heatmap(weights(1, 13), TOKENS, labels=TAGS)
    drawn = texts(figure)
    assert all(name in drawn for name in ("ANIMAL", "PLACE", "STATE"))
    figure.canvas.draw()
    labels = {label.get_text(): label for label in figure.axes[0].get_yticklabels()}
    assert labels["animal"].get_color() != labels["did"].get_color()
    assert labels["the"].get_color() == labels["$street$"].get_color()
    assert len(figure.axes[0].lines) == 2 * 3


def test_labels_have_the_colours_of_the_page() -> None:
    """A label has one colour: on paper and in the page's manifest, first or last in the text, alone or among others."""
    tags = "O B-PER O O B-LOC O O O B-ORG O O B-MISC O".split()
    figure = static.heatmap(weights(1, 13), TOKENS, labels=tags)
    drawn = {patch.get_label(): patch.get_facecolor() for patch in figure.legends[0].get_patches()}  # type: ignore[attr-defined]
    labels = regard.view(weights(1, 13), TOKENS, labels=tags).source.manifest()["axes"][0]["labels"][0]
    page = dict(zip(labels["classes"], labels["colours"], strict=True))
    assert set(page) == {"PER", "LOC", "ORG", "MISC"}
    assert len(set(page.values())) == 4
    for name, colour in page.items():
        assert mpl.colors.to_rgba(colour) == drawn[name]
        assert label_colours([name]) == {name: colour}
    figure.canvas.draw()
    assert figure.axes[0].get_yticklabels()[4].get_color() == page["LOC"]


def test_label_colours_differ_as_long_as_there_are_some() -> None:
    """Up to eight names have colours of their own, whatever they are; more share them, and the order says nothing."""
    names = [f"kind {n}" for n in range(20)]
    for count in range(1, 21):
        found = label_colours(names[:count])
        assert len(set(found.values())) == min(count, 8)
        assert found == label_colours(reversed(names[:count]))


def test_cross_attention_has_two_texts() -> None:
    """Queries and keys of different lengths have their own tokens; more of one kind is an error."""
    call = weights(1, 5, keys=13)
    drawn = texts(static.heatmap(call, list("abcde"), key_tokens=TOKENS))
    assert "animal" in drawn
    assert "\nd\n" in drawn
    with pytest.raises(ShapeError, match="tokens has 4 entries, the matrix has 5"):
        static.heatmap(call, list("abcd"), key_tokens=TOKENS)


def test_long_matrices_are_pooled_and_say_so() -> None:
    """Beyond 512 tokens cells are drawn, positions counted, and the caption says what a cell is."""
    figure = static.heatmap(weights(1, 1200, causal=True), scale="log")
    drawn = texts(figure)
    assert "A cell is 4 × 4 tokens" in drawn
    assert "log scale" in drawn
    assert "1,000" in drawn
    image = next(i for i in figure.axes[0].images if i.get_zorder() == 2)
    assert np.asarray(image.get_array()).shape == (300, 300)


def test_hostile_tokens_are_text() -> None:
    """Formulas, markup, blanks, controls, other scripts: drawn as text, without a warning or an error."""
    hostile = ["$x^2$", "$\\frac", "<b>", "&amp;", " ", "\n", "\u202e", "\x00", "", "a" * 200, "%s {0}", "\ud800"]
    drawn = texts(static.heatmap(weights(1, 12), hostile))
    assert "$x^2$" in drawn
    assert "␣" in drawn
    assert "↵" in drawn
    assert "…" in drawn


def test_rows_that_do_not_sum_to_one_are_reported() -> None:
    """The caption gives the sums where they are not 1."""
    assert "Rows sum to 0.5 … 0.5." in texts(static.heatmap(np.full((5, 5), 0.1)))


def test_positional_encoding_and_distance_profile() -> None:
    """Both draw, name their quantities, and refuse what they cannot draw."""
    drawn = texts(static.positional_encoding(regard.positions.sinusoidal(torch.arange(32), 16)))
    assert "cosine between positions" in drawn
    assert "32 positions, 16 dimensions" in drawn
    with pytest.raises(ShapeError, match="positions, dimensions"):
        static.positional_encoding(torch.zeros(3))
    call = weights(3, 300, causal=True)
    figure = static.distance_profile(call, heads=[0, 2])
    assert "head 2" in texts(figure)
    assert "head 1" not in texts(figure)
    profile = call.distance_profile()
    shares = profile.mass[0, 2] / (profile.stop - profile.start)
    drawn_values = np.asarray(figure.axes[0].patches[1].get_data().values)
    assert np.allclose(drawn_values, shares.numpy(), atol=1e-7)
    with pytest.raises(ArgumentError, match="1 to 3 of the 3 heads"):
        static.distance_profile(call, heads=[3])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"head": 4}, "head is 4"),
        ({"head": 0, "batch": 1}, "batch is 1"),
        ({"head": 0, "scale": "square"}, "'linear', 'log'"),
        ({"head": 0, "cmap": "jett"}, "'cividis'"),
        ({"head": 0, "highest": -1.0}, "finite number >= 0"),
        ({"head": 0, "tokens": "abc"}, "one string"),
        ({"head": 0, "tokens": [1, 2, 3]}, "text or bytes"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], words: str) -> None:
    """Each mistake gets an error that says what was given and what may be."""
    with pytest.raises(ArgumentError, match=re.escape(words)):
        static.heatmap(weights(4, 3), **arguments)  # type: ignore[arg-type]


def test_negative_numbers_and_empty_matrices_are_refused() -> None:
    """Scores are no weights; a matrix without keys has nothing to draw."""
    with pytest.raises(ArgumentError, match="negative"):
        static.heatmap(-torch.ones(3, 3))
    with pytest.raises(ShapeError, match="nothing to draw"):
        static.heatmap(torch.ones(3, 0))
    with pytest.raises(ArgumentError, match="no layers"):
        static.heads_grid({})


def test_layers_of_one_head_stand_side_by_side() -> None:
    """A mapping of single heads needs no row each: they stand beside each other, each under its name."""
    figure = static.heads_grid({name: weights(1, 8) for name in ("one & two", "three", "four")}, list("abcdefgh"))
    titles = [panel.get_title() for panel in figure.axes if panel.get_title()]
    assert titles == ["one & two", "three", "four"]
    assert "head 0" not in texts(figure)


def test_a_figure_shows_itself_in_a_notebook() -> None:
    """A notebook asks for `_repr_png_`; no backend of pyplot has to be set for that."""
    assert static.heatmap(weights(1, 5))._repr_png_().startswith(b"\x89PNG")


def test_labels_of_a_grid() -> None:
    """Labels are coloured along the outer maps and named in the key; words never lie on each other."""
    figure = static.heads_grid(weights(12, 13), TOKENS, labels=TAGS)
    assert all(name in texts(figure) for name in ("ANIMAL", "PLACE", "STATE"))
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(not a.overlaps(b) for a, b in itertools.pairwise(boxes))
    with pytest.raises(ShapeError, match="of 2 sizes"):
        static.heads_grid({"a": weights(1, 4), "b": weights(1, 5)}, list("abcd"))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 1, 5), (1, 1, 5, 1), (1, 40, 2, 2), (2, 2, 600, 600)])
@pytest.mark.parametrize("broken", [False, True])
def test_odd_sizes_are_drawn(shape: tuple[int, int, int, int], broken: bool) -> None:
    """One token, one key, many heads, cells of many tokens, rows of NaN: each picture is drawn."""
    batch, heads, queries, keys = shape
    q, k = torch.randn(batch, heads, queries, 4), torch.randn(batch, heads, keys, 4)
    if broken:
        q[..., 0, :] = math.nan
    call = regard.attention(q, k, k, need_weights=True)[1]
    drawn = [static.distance_profile(call), static.heads_grid(call), static.heatmap(call, head=heads - 1, scale="log")]
    drawn += [static.heatmap(call, average=True)] if not broken else []
    for figure in drawn:
        figure.savefig(io.BytesIO(), format="png", dpi=40)


@pytest.mark.parametrize("shape", [(1, 1, 0, 0), (1, 0, 3, 3), (0, 1, 3, 3), (1, 1, 3, 0), (1, 1, 0, 3)])
def test_nothing_to_draw_is_said(shape: tuple[int, int, int, int]) -> None:
    """Without inputs, heads, queries or keys there is no picture."""
    batch, heads, queries, keys = shape
    q, k = torch.randn(batch, heads, queries, 4), torch.randn(batch, heads, keys, 4)
    call = regard.attention(q, k, k, need_weights=True)[1]
    for draw in (static.distance_profile, static.heads_grid, static.heatmap, regard.view):
        with pytest.raises(ShapeError, match="nothing to draw"):
            draw(call)


def _shown(labels: Sequence[Any], figure: Figure) -> list[Any]:
    """Return the boxes of the labels that are seen."""
    renderer = figure._get_renderer()
    return [one.get_window_extent(renderer) for one in labels if one.get_visible() and one.get_text()]


@pytest.mark.parametrize("size", [3, 40, 70])
@pytest.mark.parametrize("width", [7.0, 8.5, None])
def test_labels_never_overlap(size: int, width: float | None) -> None:
    """In a column of a paper as many tokens are named as have room; the caption says how many, and fits."""
    words = [f"wordgqy{n}" for n in range(size)]
    for figure in (
        static.heatmap(weights(size, causal=True), words, width=width, title="A long title of a picture"),
        static.heads_grid(weights(4, size, causal=True), words, width=width),
    ):
        figure.savefig(io.BytesIO(), dpi=70)
        figure.draw_without_rendering()
        if width is not None:
            assert figure.get_figwidth() == pytest.approx(width / 2.54)
        thinned = False
        for labelled in figure.labelled:
            boxes = sorted(_shown(labelled.texts, figure), key=lambda box: box.y0 if labelled.upright else box.x0)
            ends = [(box.y0, box.y1) if labelled.upright else (box.x0, box.x1) for box in boxes]
            assert all(one[1] <= other[0] for one, other in pairwise(ends))
            thinned |= labelled.tokens and len(boxes) < size
        caption = figure.caption[0]
        assert ("For lack of room 1 token in" in " ".join(caption.get_text().split())) == thinned
        box = caption.get_window_extent(figure._get_renderer())
        assert box.x1 <= figure.bbox.x1
        for legend in figure.legends:
            key = legend.get_window_extent(figure._get_renderer())
            assert not key.overlaps(box) or caption.get_text().endswith("\n")  # above it, in its own empty lines


def test_letters_are_as_large_as_asked() -> None:
    """`fontsize=` is that of the tokens; without it matplotlib's own settings count, where they were changed."""
    call, words = weights(5, causal=True), list("abcde")

    def size(figure: Figure) -> float:
        return float(figure.axes[0].get_yticklabels()[0].get_fontsize())

    assert size(static.heatmap(call, words)) == 7.5
    assert size(static.heatmap(call, words, fontsize=11)) == 11
    assert size(static.heads_grid(call, words, fontsize=5)) == 5
    with mpl.rc_context({"font.size": 20, "text.color": "red", "image.cmap": "Greys"}):
        figure = static.heatmap(call, words)
        assert size(figure) == 15
        assert figure.axes[0].get_yticklabels()[0].get_color() == "red"
        assert figure.axes[0].images[-1].get_cmap().name == "Greys"
    with mpl.rc_context({"ytick.labelsize": 4}):
        assert size(static.heatmap(call, words)) == 4
    for bad in ({"fontsize": 0}, {"width": -1}, {"width": 5, "ax": Figure().add_subplot()}, {"ax": 3}):
        with pytest.raises(ArgumentError):
            static.heatmap(call, words, **bad)


def test_axes_of_ones_own() -> None:
    """A map and a profile are drawn beside each other in a figure of the caller, with caption, title and key."""
    figure = Figure(figsize=(8, 3.5))
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    words = [f"word{n}" for n in range(40)]
    assert static.heatmap(weights(40, causal=True), words, ax=left, title="left") is figure
    assert static.distance_profile(weights(2, 40), ax=right, title="right") is figure
    assert (left.get_title(), right.get_title()) == ("left", "right")
    assert figure._suptitle is None
    written = " ".join(text.get_text() for text in left.texts)
    assert "For lack of room" in " ".join(written.split())
    boxes = sorted((box.x0, box.x1) for box in _shown(left.get_xticklabels(), figure))
    assert all(one[1] <= other[0] for one, other in pairwise(boxes))


def test_a_profile_has_every_head_or_says_which_not() -> None:
    """Twelve heads are twelve curves that differ in colour or line; of forty the caption counts those left out."""
    figure = static.distance_profile(weights(12, 20))
    curves = figure.axes[0].patches
    assert len({(one.get_edgecolor(), str(one.get_linestyle())) for one in curves}) == 12
    assert "left out" not in texts(figure)
    many = static.distance_profile(weights(40, 20))
    assert len(many.axes[0].patches) == 32
    assert "32 of 40 heads; 8 left out." in " ".join(texts(many).split())


def test_text_is_text_whoever_prints() -> None:
    """Also for what prints by the canvas, as a notebook's own SVG does; `PdfPages` has one form for all its pages."""
    figure = static.heatmap(weights(3), ["alpha", "beta", "gamma"])
    for kind, wanted in (("svg", b"alpha</text>"), ("pdf", b"/Type0")):
        made = io.BytesIO()
        figure.canvas.print_figure(made, format=kind)
        assert wanted in made.getvalue()
        assert b"/Type3" not in made.getvalue()
    made = io.BytesIO()
    with PdfPages(made) as pages:
        pages.savefig(figure)
    assert (b"/Type3" in made.getvalue()) != (b"/Type0" in made.getvalue())
