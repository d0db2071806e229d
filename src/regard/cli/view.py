"""`regard view`: the viewer's page for weights in a file."""

from __future__ import annotations

import json
import sys
import webbrowser
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from ..errors import ArgumentError
from ..recordings import load
from ..tasks.reading import given_lines, open_bytes
from ..viewer import View, view
from ..viewer.server import is_loopback, serve
from ._looking import Chosen, write

_READERS = ".regard, .safetensors, .npz or .npy"


@dataclass(frozen=True)
class ViewCommand:
    """Open a recording, or the attention weights of a file, in the browser, or save the page or a picture of them.

    A recording is what `recording.save` or `regard.watch(folder=...)` wrote: a .regard file or a folder. Another file
    holds one array a layer, (heads, queries, keys) with or without a batch before it: the `attentions` of any
    library, saved as .safetensors, .npz or .npy. Exit status: 0, or 2 for a file that cannot be read.
    """

    file: Annotated[Path, tyro.conf.Positional]
    """A recording: .regard or its folder. Or attention weights: .safetensors, .npz or .npy."""
    tokens: Path | None = None
    """Their tokens: a JSON list, or a text with one token a line."""
    labels: Path | None = None
    """A class or IOB2 tag for each token, in a file of the same format as the tokens."""
    layer: str | None = None
    """Show this layer in the picture or page: its number, or its name if several have that number."""
    head: int | None = None
    """Show this head of it, with its tokens along both sides."""
    title: str | None = None
    """A title; the file's name unless given."""
    out: Path | None = None
    """Write a page (.html) or a picture (.png, .svg, .pdf) instead of serving."""
    budget: float = 32.0
    """Most MiB of data in a page; the finest zoom levels that do not fit are left out, and the page says so."""
    host: str = "127.0.0.1"
    """Address to listen on. Any other than the loopback address lets others in the network read the data, so regard
    asks first."""
    port: int = 0
    """Port to listen on; 0 takes a free one."""
    open: bool = True
    """Open the browser."""

    def run(self) -> int:
        """Serve until interrupted, or write the file named by `out`."""
        shown, chosen = self.view(), Chosen(self.layer, self.head)
        if self.out is not None:
            write(shown, self.out, chosen, self.budget)
            return 0
        fragment = chosen.fragment(shown)
        remote = not is_loopback(self.host)
        if remote and not _agreed(self.host):
            print("Not served.", file=sys.stderr)
            return 1
        with serve(shown.source, self.host, self.port, allow_remote=remote) as served, suppress(KeyboardInterrupt):
            print(f"{served.url}{fragment}\nThe address holds the key of this run. Ctrl-C ends it.", flush=True)
            if self.open:
                webbrowser.open(f"{served.url}{fragment}")
            served.run()
        return 0

    def view(self) -> View:
        """Read the files."""
        tokens, labels = (None if file is None else _lines(file) for file in (self.tokens, self.labels))
        weights = load(self.file) if _is_recording(self.file) else read_weights(self.file)
        return view(weights, tokens, labels=labels, title=self.title or self.file.name)


def _is_recording(file: Path) -> bool:
    return file.suffix.lower() == ".regard" or file.is_dir()


def read_weights(file: Path) -> dict[str, torch.Tensor]:
    """Return the arrays of a file in its order, by name; pickled data is refused. Raises `ArgumentError`."""
    kind = file.suffix.lower()
    try:
        if kind == ".safetensors":
            from safetensors.torch import load_file

            found = load_file(file)
            return {name: found[name] for name in sorted(found, key=_natural)}
        if kind == ".npy":
            return {file.stem: _tensor(np.load(file, allow_pickle=False))}
        if kind == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                return {name: _tensor(arrays[name]) for name in arrays.files}
    except Exception as error:  # each file format has its own errors
        raise ArgumentError(f"{file} cannot be read as {kind}: {error}") from error
    raise ArgumentError(f"{file.name!r} ends in {kind!r}; weights are read from {_READERS}.")


def _tensor(array: Any) -> torch.Tensor:
    return torch.tensor(np.asarray(array))


def _natural(name: str) -> list[tuple[int, int | str]]:
    # Sort by number: layers.10 comes after layers.9.
    return [(0, int(part)) if part.isdigit() else (1, part) for part in name.replace("_", ".").split(".")]


def _lines(file: Path) -> list[str]:
    if file.suffix.lower() != ".json":
        return given_lines(open_bytes(file), str(file))
    try:
        found = json.loads(open_bytes(file).decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{file} cannot be read: {error}") from error
    if not isinstance(found, list):
        raise ArgumentError(f"{file} holds a {type(found).__name__}; it must be a list with one entry a token.")
    return found


def _agreed(host: str) -> bool:
    print(
        f"On {host} everybody who can reach this machine and has the address with its token can read the text and its "
        "attention, and everybody on the way, for nothing is encrypted. A tunnel (ssh -L) to 127.0.0.1 avoids that.",
        file=sys.stderr,
    )
    if not sys.stdin.isatty():
        print("Nobody is here to agree.", file=sys.stderr)
        return False
    return input("Serve there? Type yes: ").strip().lower() == "yes"
