"""Corpora of Python code: the source of the standard library of the Python that runs."""

from __future__ import annotations

import ast
import inspect
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import ArgumentError
from ._library import SourceFile, library
from ._windows import tagged_windows
from .examples import Document, Split, TaggedWords, TextPair


def code_text(*, limit: int | None = None) -> Split[Sequence[Document]]:
    """Return the files of the standard library, one document each, for language modelling.

    `limit`: at most this many files to train on and a quarter of it for each of dev and test; None for all (about
    400 files, 6 MB; 0.3 s).

    Whole packages are held out. A training file of which more than half of the lines stand in one held-out file
    is left out; the description says how many. Licence: PSF-2.0, as Python. The same for each call with one Python.

    >>> split = code_text(limit=8)
    >>> {document.name for document in split.train} & {document.name for document in split.test}
    set()
    """
    found = library(limit)
    train, dev, test = (
        tuple(Document(file.name, file.text) for file in files) for files in (found.train, found.dev, found.test)
    )
    return Split(train, dev, test, f"Python code, a document a file: {found.describe()}.")


def code_entities(*, limit: int | None = 240, words: int = 160) -> Split[Sequence[TaggedWords]]:
    """Return code with the kinds of its names as entities; the tags are exact, by Python's own scoping rules.

    `limit`: as in `code_text`; all files take 11 s, the default 7 to 8. `words`: the length of a window at most.

    Types, in IOB2: `module` (also as `B I I` over `os . path` in an import), `class`, `function`, `argument` (where it
    is declared, wherever it is used, and the name before `=` in a call), `attribute` (after a dot), `variable`.
    Keywords, soft keywords, numbers, strings and punctuation are `O`. A method is a `function` where it is defined and
    an `attribute` where it is accessed on an object. `_scopes` describes how bindings are resolved; names from another
    module, whose binding is not in the file, are classified by their spelling. Names inside formatted strings are not
    looked at.

    A window ends at the end of a statement, and before a function that would be cut but fits into the next
    window. A window that starts inside a function begins with that function's header, so that arguments can be
    recognised. Words are Python's tokens, with `⏎` for a line's end, `→` and `←` for indentation; comments are left
    out, long strings shortened to their quotes and `…`. A statement longer than a window is left out, and so is a
    training window that is also in dev or test; the description counts both. Licence and split: `code_text`.

    >>> split = code_entities(limit=8)
    >>> max(len(example.words) for example in split.train) <= 160
    True
    """
    if words < 16:
        raise ArgumentError(f"words is {words}; a window holds whole statements. Give at least 16.")
    found = library(limit)
    is_module = _Modules()
    parts, too_long = [], 0
    for files in (found.train, found.dev, found.test):
        windows: dict[TaggedWords, None] = {}  # each once, in order
        for file in files:
            more, count = tagged_windows(file, words, is_module.asked_by(file))
            windows.update(dict.fromkeys(more))
            too_long += count
        parts.append(tuple(windows))
    dev, test, dropped_dev = parts[1], parts[2], 0
    seen = {example.words for example in test}
    dev, dropped_dev = _unseen(dev, seen)
    train, dropped = _unseen(parts[0], seen | {example.words for example in dev})
    return Split(
        train,
        dev,
        test,
        f"Names in Python code, {len(train)} / {len(dev)} / {len(test)} windows of at most {words} words: "
        f"{found.describe()}; {dropped + dropped_dev} windows left out because they stand in a later part, "
        f"{too_long} statements because they are longer than a window.",
    )


def _unseen(windows: Iterable[TaggedWords], seen: set[tuple[str, ...]]) -> tuple[tuple[TaggedWords, ...], int]:
    windows = tuple(windows)
    kept = tuple(example for example in windows if example.words not in seen)
    return kept, len(windows) - len(kept)


class _Modules:
    """Decides whether `from m import x` imports a module: whether the library has a file or folder of that name."""

    def __init__(self) -> None:
        root = Path(sysconfig.get_path("stdlib"))
        files = (file.relative_to(root).with_suffix("").parts for file in root.glob("*/**/*.py"))
        self.names = {parts[:-1] if parts[-1] == "__init__" else parts for parts in files}

    def asked_by(self, file: SourceFile) -> _Asked:
        return _Asked(self.names, tuple(file.name.split("/")[:-1]))


class _Asked:
    def __init__(self, names: set[tuple[str, ...]], folder: tuple[str, ...]) -> None:
        self.names = names
        self.folder = folder

    def __call__(self, module: str, dots: int, name: str) -> bool:
        base = self.folder[: len(self.folder) - dots + 1] if dots else ()
        return (*base, *filter(None, module.split(".")), name) in self.names


def code_summaries(*, limit: int | None = None, characters: int = 1500) -> Split[Sequence[TextPair]]:
    """Return functions without their docstring, each with the first line of it: what the function does.

    `limit`: as in `code_text`. `characters`: a function longer than this is left out.

    The source is the function, with header and comments, dedented. The target is the first line of the
    docstring, of at least three words. A pair whose source (ignoring spaces) or target also occurs in another part, or
    earlier in its own, is left out, in the order test, dev, train; the description counts them. Licence and split:
    `code_text`.

    >>> pair = code_summaries(limit=8).train[0]
    >>> pair.source.lstrip("async ").startswith(("def", "@")), '"' * 3 + pair.target in pair.source
    (True, False)
    """
    if characters < 100:
        raise ArgumentError(f"characters is {characters}; a function has to fit. Give at least 100.")
    found = library(limit)
    seen: set[str] = set()
    parts, repeated = [], 0
    for files in (found.test, found.dev, found.train):
        pairs = []
        for file in files:
            for pair in _summaries(file, characters):
                keys = {"".join(pair.source.split()), pair.target.lower()}
                if keys & seen:
                    repeated += 1
                    continue
                seen |= keys
                pairs.append(pair)
        parts.append(tuple(pairs))
    test, dev, train = parts
    text = f"Functions and the first line of their docstring, {len(train)} / {len(dev)} / {len(test)} pairs"
    return Split(
        train, dev, test, f"{text}: {found.describe()}; {repeated} pairs left out because they repeat another."
    )


def _summaries(file: SourceFile, characters: int) -> Iterable[TextPair]:
    lines = file.text.split("\n")  # as ast counts lines: a form feed does not end one
    for node in ast.walk(ast.parse(file.text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or len(node.body) < 2:
            continue
        text = ast.get_docstring(node)
        first = node.body[0]
        target = (text or "").strip().split("\n")[0].strip()
        if len(target.split()) < 3 or first.end_lineno is None or node.end_lineno is None:
            continue
        if node.body[1].lineno == first.end_lineno or node.lineno == first.lineno:
            continue  # the docstring shares its line with code
        kept = lines[node.lineno - 1 : first.lineno - 1] + lines[first.end_lineno : node.end_lineno]
        source = inspect.cleandoc("\n" + "\n".join(kept))
        if len(source) <= characters:
            yield TextPair(source, target)
