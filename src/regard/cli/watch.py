"""`regard watch`: run a model once and report its attention."""

from __future__ import annotations

import json
import webbrowser
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor

from ..errors import ArgumentError
from ..recorder import Recording, Texts, record, watch
from ..tasks import ImageClassification, load
from ..viewer import view
from ..viewer.server import serve
from ..weights import AttentionWeights
from ._data import read_pictures
from ._looking import Chosen, texts_of, write
from ._pretrained import Prepared, prepare


@dataclass(frozen=True)
class Seen:
    """The recorded attention of one pass of a model."""

    weights: Recording
    """The recording of the calls, with the tokens."""
    coverage: str
    """How many of the calls were recorded."""
    real: Tensor | None = None
    """bool `(B, L)`: tokens that are not padding."""


@dataclass(frozen=True)
class WatchCommand:
    """Run a model on texts or a picture, and show the attention of every layer.

    The model is a name on the Hugging Face hub, a folder with one, or a folder that `regard train` wrote. Of an
    encoder-decoder only the encoder is run. Exit status: 0, or 2 for a model that cannot be loaded or watched.
    """

    model: Annotated[str, tyro.conf.Positional]
    """Name on the hub, or folder."""
    texts: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Texts; several run as one batch."""
    image: Path | None = None
    """A picture instead of texts."""
    keep: Literal["summary", "exact", "dense"] | None = None
    """What to keep of each call: a summary with a map, the inputs from which any weight can be computed later, or all
    weights. By default exact for a trained task, which reads one text, else summary."""
    layers: tuple[int, ...] = ()
    """Indices of the layers to keep; all unless given."""
    layer: str | None = None
    """Show this layer in the picture or page: its number, or its name if several have that number."""
    head: int | None = None
    """Show this head of it, with the words and their labels along both sides."""
    out: Path | None = None
    """Write a page (.html), a picture (.png, .svg, .pdf), or the recording (.regard), which `regard view` opens."""
    open: bool = False
    """Open the page in the browser; without `out` it is served locally until Ctrl-C."""
    json: bool = False
    """Print one JSON object instead of the table, for scripts."""

    def run(self) -> int:
        """Print coverage and table; write and open what the options request."""
        if bool(self.texts) == (self.image is not None):
            raise ArgumentError("regard watch needs something to read: give texts, or --image FILE, one of the two.")
        seen = self.seen()
        rows = [_row(name, weights, seen.real) for name, weights in seen.weights.items()]
        print(json.dumps({"model": self.model, "coverage": seen.coverage, "calls": rows}) if self.json
              else f"{seen.coverage}\n\n{_table(rows)}")  # fmt: skip
        chosen = Chosen(self.layer, self.head)
        stored = self.out is not None and self.out.suffix.lower() == ".regard"
        if chosen.anything and (stored or (self.out is None and not self.open)):
            raise ArgumentError(
                "--layer and --head choose what a picture or page shows; give --out head.png, or --open. "
                "A recording (.regard) takes --layers."
            )
        self._show(seen, chosen, stored)
        return 0

    def seen(self) -> Seen:
        """Run the model."""
        if (Path(self.model) / "task.json").is_file():
            return self._task()
        prepared = prepare(self.model, self.texts, self.image)
        keep = self.keep or "summary"
        with torch.no_grad(), watch(prepared.model, layers=self.layers or None, keep=keep) as recording:
            prepared.model(**prepared.inputs)
        self._check_layers(recording)
        texts = _texts(prepared, recording[0].shape[-1])
        mask = prepared.inputs.get("attention_mask")
        return Seen(recording.describe(texts), repr(recording), None if mask is None else mask.bool())

    def _task(self) -> Seen:
        task = load(self.model)
        sees = isinstance(task, ImageClassification)
        if sees == bool(self.texts) or len(self.texts) > 1:
            raise ArgumentError(
                f"{self.model} holds a task {task.name!r}, which is watched on one "
                f"{'picture: give --image FILE' if sees else 'text at a time'}."
            )
        if isinstance(task, ImageClassification):
            picture = read_pictures([str(self.image)], Path(self.model), task.shape_)[0]
            found = task.attention(picture)
        else:
            picture, found = None, task.attention(self.texts[0])
        recording = record(found.weights, self.layers or None, self.keep or "exact")
        self._check_layers(recording)
        coverage = f"{len(recording)} of {len(found.weights)} attention calls of the task's model"
        return Seen(recording.describe(texts_of(found, picture)), coverage)

    def _check_layers(self, recording: Recording) -> None:
        if not recording.calls:
            raise ArgumentError(f"There is no layer {' or '.join(map(str, self.layers))} in {self.model}.")

    def _show(self, seen: Seen, chosen: Chosen, stored: bool) -> None:
        if self.out is not None and stored:
            seen.weights.save(self.out)
            print(self.out)
        if not self.open and (stored or self.out is None):
            return
        shown = view(seen.weights, title=self.model)
        if self.out is not None and not stored:
            write(shown, self.out, chosen)
            if self.open:
                webbrowser.open(f"{self.out.resolve().as_uri()}{chosen.fragment(shown)}")
            return
        with serve(shown.source) as served, suppress(KeyboardInterrupt):
            address = f"{served.url}{chosen.fragment(shown)}"
            print(f"{address}\nThe address holds the key of this run. Ctrl-C ends it.", flush=True)
            webbrowser.open(address)
            served.run()


def _texts(prepared: Prepared, keys: int) -> Texts:
    if prepared.encoding is not None:
        return Texts.from_tokenizer(prepared.tokenizer, prepared.encoding)
    return Texts(grid=prepared.grid(keys))


def _row(name: str, weights: AttentionWeights, real: Tensor | None) -> dict[str, Any]:
    entropy = weights.entropy()
    if real is not None and entropy.shape[0] == real.shape[0] and entropy.shape[-1] == real.shape[-1]:
        entropy = entropy.transpose(0, 1)[:, real]
    return {
        "name": name,
        "shape": list(weights.shape),
        "entropy": round(float(entropy.mean()), 4),
        "first_key": round(float(weights.share("first").mean()), 4),
    }


def _table(rows: list[dict[str, Any]]) -> str:
    head = ["call", "shape", "entropy (nats)", "share of the first key"]
    lines = [
        [row["name"], " x ".join(map(str, row["shape"])), f"{row['entropy']:.2f}", f"{row['first_key']:.1%}"]
        for row in rows
    ]
    widths = [max(len(line[place]) for line in [head, *lines]) for place in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, *lines]
    )
