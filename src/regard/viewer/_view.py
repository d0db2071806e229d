"""`view`: one object that can be shown in a notebook, in a browser, in a file and on paper."""

from __future__ import annotations

import functools
import importlib.util
import io
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._drawing import lettering
from .._values import instance
from ..errors import ArgumentError
from ..recordings import Grid, Recording
from ..weights import with_summary
from . import static
from ._maps import Map, Weights, shown_of
from ._mosaic import mosaic
from ._paper import entitle, inches
from ._sides import Sides
from ._tokens import Axis, Labels, Tokens, axis
from ._waiting import waiting
from .html import page
from .server import Served, serve
from .tiles import TileSource
from .widget import bridge, new_name, output, widget

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_Side = tuple[list[str] | None, dict[str, list[str | None]] | None]
_PICTURES = (".png", ".svg", ".pdf")
# With more maps than this, a printed picture is too small to read.
_MOST_LAYERS = 24
# With more heads than this, the picture of a saved notebook is one of small maps without words.
_MOST_DRAWN = 12


def view(
    weights: Weights,
    tokens: Tokens | Sequence[Tokens] | None = None,
    *,
    key_tokens: Tokens | Sequence[Tokens] | None = None,
    labels: Labels | Mapping[str, Labels] | None = None,
    key_labels: Labels | Mapping[str, Labels] | None = None,
    words: Sequence[int | None] | None = None,
    grid: Grid | None = None,
    key_grid: Grid | None = None,
    title: str | None = None,
) -> View:
    """Look at attention weights: in a notebook, in a browser, in a file, on paper.

    Args:
        weights: a `Recording`, which may know its tokens; `AttentionWeights`; a mapping of layers' names to them, as
            `need_weights=True` of a stack returns; or a mapping of models' names to such mappings or recordings, to
            compare them. In place of `AttentionWeights` a tensor or array of all weights, `(L, S)` up to
            `(batch, heads, L, S)`; its mask is unknown.
        tokens: text (or bytes) of each token; for a batch a list of lists. With two texts, those of the queries.
            Marks of tokenizers (`Ġ`, `▁`, `##`) are read as the spaces, bytes and parts of words that they stand for.
        key_tokens: tokens of the second text that cross-attention looks at, the source of an encoder-decoder.
        labels, key_labels: class or IOB2 tag of each token, or a mapping of names to such lists.
        words: index of the word that each token belongs to, None for special tokens; merges subwords.
        grid, key_grid: which tokens are patches of an image, `regard.viewer.Grid`.
        title: a title of the page.

    Returns a `View`, which shows itself in a notebook; `.save("a.html")`, `.serve()`, `.figure()`. Raises
    `ArgumentError`, `ShapeError`. Nothing is computed until it is shown.

    >>> import regard, torch
    >>> q = torch.randn(1, 2, 3, 4)
    >>> _, weights = regard.attention(q, q, q, need_weights=True)
    >>> regard.view(weights, tokens=["a", "b", "c"])
    View(1 map, 2 heads, 3 × 3 tokens)  # .save("view.html"), .serve(), .figure()
    """
    if title is not None:
        instance("title", title, str, "a string")
    sides = Sides.of(tokens, key_tokens, labels, key_labels, words, grid, key_grid)
    if isinstance(weights, Recording):
        known = weights.texts
        recorded = Sides(known.tokens, known.key_tokens, known.labels, known.key_labels, known.words, known.grid,
                         known.key_grid)  # fmt: skip
        sides = Sides(*(theirs if own is None else own for own, theirs in zip(sides, recorded, strict=True)))
    return View(TileSource(shown_of(weights, sides, title)))


class View:
    """Attention that can be shown; made by `regard.view`."""

    def __init__(self, source: TileSource) -> None:
        self.source = source
        self._bridges: list[Any] = []

    def __repr__(self) -> str:
        """Describe the content, and how to show it."""
        maps = self.source.shown.maps
        heads = sum(one.heads for one in maps)
        queries, keys = maps[0].sizes
        what = f"{len(maps)} map{'s' * (len(maps) > 1)}, {heads} head{'s' * (heads > 1)}, {queries:,} × {keys:,} tokens"
        return f'View({what})  # .save("view.html"), .serve(), .figure()'

    def save(
        self,
        path: str | Path,
        name: str | None = None,
        head: int | None = None,
        *,
        input: int = 0,
        model: str | None = None,
        width: float | None = None,
        fontsize: float | None = None,
        budget_mib: float = 32.0,
        progress: bool | None = None,
    ) -> Path:
        """Write the page or a picture to a file, and return its path.

        Args:
            path: ends in `.html` (the whole page with its data, opens from disk without a network), `.png`, `.svg` or
                `.pdf` (the picture of `figure`, with text as text).
            name, head, input, model, width, fontsize: of a picture, as in `figure`; a page holds all of them.
            budget_mib: most MiB of data in a page. What does not fit in float16 is rounded, and then the finest zoom
                levels are left out; the page says so, and how far its numbers are off.
            progress: whether to show a bar on standard error while a page is made; by default in a terminal or a
                notebook, if it takes over a second.

        Raises `ArgumentError`, `MissingExtraError`. Cost of a page: about a forward pass and a half, and the memory of
        the cells that it will hold (100,000 tokens: 1 GiB).
        """
        path = Path(path)
        kind = path.suffix.lower()
        if kind == ".html":
            if (name, head, input, model) != (None, None, 0, None):
                raise ArgumentError("a page holds every layer, head and input; leave name, head, input and model out.")
            with waiting(f"Writing {path.name}", progress) as tell:
                path.write_text(page(self.source, budget_mib, tell), "utf-8")
        elif kind in _PICTURES:
            figure = self.figure(name, head, input=input, model=model, width=width, fontsize=fontsize)
            path.write_bytes(_picture(figure, kind[1:]))
        else:
            raise ArgumentError(f"{path.name!r} ends in {kind!r}; save as .html, {', '.join(_PICTURES)}.")
        return path

    def figure(
        self,
        name: str | None = None,
        head: int | None = None,
        *,
        input: int = 0,
        model: str | None = None,
        scale: str = "linear",
        ax: Axes | None = None,
        width: float | None = None,
        fontsize: float | None = None,
    ) -> Figure:
        """Return a picture for paper, a matplotlib `Figure`: one head with its tokens, or all heads side by side.

        Labels are coloured along the sides. Tokens are written out, up to 80 for one head, and up to 16 to 64 along the
        outer maps of several (the more, the fewer maps); beyond that the caption states their number.

        Args:
            name: which layer; all layers unless given. As the pictures name it where a name occurs again:
                "tuned: layer.0", "layer.0 (call 2)".
            head: which head of it; all unless given.
            input: which input of a batch.
            model: which of several compared models; all unless given.
            scale: "linear" or "log" colours.
            ax: of one head, axes of a figure of your own. width: of the figure, in cm. fontsize: of words, in points.

        Raises `ArgumentError`, `MissingExtraError`. `regard.viewer.static` has more options.
        """
        maps = self._chosen(name, head, input, model)
        inputs = len({one.input for one in self.source.shown.maps})
        which = f", input {input} of {inputs}" if inputs > 1 else ""
        one = maps[0]
        if len(maps) == 1 and (head is not None or one.heads == 1):
            (tokens, labels), (key_tokens, key_labels) = self._given(one)
            return static.heatmap(
                one.weights, tokens, key_tokens=key_tokens, batch=input, labels=labels, key_labels=key_labels,
                head=head, scale=scale, title=f"{_full_name(one)}, head {head or 0}{which}", ax=ax, width=width,
                fontsize=fontsize,
            )  # fmt: skip
        if ax is not None:
            raise ArgumentError("ax= takes one head; give name and head.")
        wide = inches(width)
        rows = static.rows_of({_full_name(one): one.weights for one in maps}, self._sides(maps), input)
        layer = f": {_full_name(one)}" if name is not None and len(maps) == 1 else ""
        with lettering(fontsize):
            figure = static.draw_rows(rows, static.quantity_of(one.weights), scale=scale, wide=wide)
            entitle(figure, f"{self.source.shown.title}{layer}{which}")
        return figure

    def _chosen(self, name: str | None, head: int | None, input: int, model: str | None) -> list[Map]:
        """Return the maps of a picture; raises `ArgumentError` where there is none, or not one for a head."""
        every = [one for one in self.source.shown.maps if one.input == input and model in (None, one.model)]
        if not every:
            models = list(dict.fromkeys(one.model for one in self.source.shown.maps))
            raise ArgumentError(f"there is no model {model!r} with input {input}; the models are {', '.join(models)}.")
        maps = [one for one in every if name in (None, _full_name(one))]
        maps = maps or [one for one in every if name == one.name]
        if not maps:
            names = list(dict.fromkeys(map(_full_name, every)))
            raise ArgumentError(f"there is no layer {name!r} of input {input}; the layers are {', '.join(names)}.")
        if len(maps) > 1 and head is not None:
            if name is None:
                raise ArgumentError(f"head={head} of which layer? Give its name too, such as {_full_name(maps[0])!r}.")
            names = list(map(_full_name, maps))
            raise ArgumentError(f"{name!r} names {len(maps)} layers, and head={head} is of one: {', '.join(names)}.")
        if len(maps) > _MOST_LAYERS:
            raise ArgumentError(f"{len(maps)} layers do not fit one picture ({_MOST_LAYERS} do); give a name.")
        return maps

    def _given(self, one: Map) -> tuple[_Side, _Side]:
        """Return the tokens and labels of the queries and keys of a map."""
        axes, (queries, keys) = self.source.shown.axes, one.sizes
        return _side(axes[one.queries], one.first_query, queries), _side(axes[one.keys], 0, keys)

    def _sides(self, maps: Sequence[Map]) -> dict[str, tuple[Axis, Axis]]:
        """Return the axes of each map; maps of the same tokens share axes."""
        made: dict[tuple[int, int, int], Axis] = {}

        def along(number: int, first: int, size: int) -> Axis:
            key = (number, first, size)
            if key not in made:
                tokens, labels = _side(self.source.shown.axes[number], first, size)
                made[key] = axis(self.source.shown.axes[number].name, size, tokens, labels)
            return made[key]

        return {
            _full_name(one): (along(one.queries, one.first_query, one.sizes[0]), along(one.keys, 0, one.sizes[1]))
            for one in maps
        }

    def serve(
        self, host: str = "127.0.0.1", port: int = 0, *, open_browser: bool = True, allow_remote: bool = False
    ) -> Served:
        """Serve the page from this machine, in a thread, and open it in the browser.

        Returns a `Served` with `url` and `close()`; use it with `with`. Everything is computed on request,
        so this shows single weights of any length. Only this machine can reach it, and only with the token in the
        address, unless `host` and `allow_remote` say otherwise. Raises `ArgumentError`, `MissingExtraError`.
        """
        served = serve(self.source, host, port, allow_remote=allow_remote).start()
        if open_browser:
            webbrowser.open(served.url)
        return served

    def widget(self) -> Any:
        """Return the page as a notebook widget (`anywidget`); its trait `state` is what is currently shown."""
        return widget(self.source)

    @functools.cached_property
    def _summarised(self) -> View:
        """The same with the summary of each map at hand: measures and small pictures cost next to nothing."""
        shown = self.source.shown
        known = {id(one.weights): with_summary(one.weights) for one in shown.maps}
        return View(
            TileSource(replace(shown, maps=tuple(replace(one, weights=known[id(one.weights)]) for one in shown.maps)))
        )

    def _preview(self) -> bytes:
        """Return a PNG of everything, small enough for a notebook."""
        maps = self.source.shown.maps
        if sum(one.heads for one in maps) <= _MOST_DRAWN:
            return _picture(self.figure(), "png", 100)
        quantity = static.quantity_of(maps[0].weights)
        return _small(mosaic(maps, list(map(_full_name, maps)), quantity, self.source.shown.title))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Return an output that needs no kernel; while there is one, the bridge gives it everything."""
        view, name, picture = self._summarised, new_name(), None
        if importlib.util.find_spec("matplotlib") is not None:
            picture = view._preview()
        if importlib.util.find_spec("anywidget") is not None:
            self._bridges.append(bridge(view.source, name))
        bundle = {"text/html": output(view.source, name, picture), "text/plain": repr(self)}
        return bundle if picture is None else {"image/png": picture, **bundle}


def _picture(figure: Figure, kind: str, dpi: int = 150) -> bytes:
    with io.BytesIO() as file:
        figure.savefig(file, format=kind, dpi=dpi)
        return file.getvalue()


def _small(figure: Figure) -> bytes:
    """Return a PNG in the colours of the picture's bar and greys, a third of the bytes."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image  # which matplotlib brings

    shades = np.concatenate(
        [colormaps["cividis"](np.linspace(0, 1, 112))[:, :3], np.linspace(0, 1, 16)[:, None] * np.ones(3)]
    )
    palette = Image.new("P", (1, 1))
    palette.putpalette((shades * 255).round().astype(np.uint8).tobytes())
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    drawn = Image.fromarray(pixels).convert("RGB")
    with io.BytesIO() as made:
        drawn.quantize(palette=palette, dither=Image.Dither.NONE).save(made, "png", compress_level=7)
        return made.getvalue()


def _full_name(one: Map) -> str:
    again = f" (call {one.number + 1})" if one.number else ""
    return f"{one.model}: {one.name}{again}" if one.model else f"{one.name}{again}"


def _side(given: Axis, first: int, size: int) -> _Side:
    """Return the tokens of a part of an axis, and their labels as IOB tags, by name; None without any."""
    tokens = None if given.tokens is None else given.texts()[first : first + size]
    labels: dict[str, list[str | None]] = {}
    for one in given.labels:
        prefix = ["B-" if begins else "I-" for begins in one.begins]
        every = [None if n < 0 else prefix[place] + one.classes[n] for place, n in enumerate(one.ids.tolist())]
        labels[one.name] = every[first : first + size]
    return tokens, labels or None
