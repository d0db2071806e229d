"""Labelled texts, pairs of texts, and running text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...corpora import Document, LabelledText, TextPair
from ...errors import DataError
from ._files import Notes, Read, first_accepting, plain_suffix, text_lines, whole_text
from ._hub import hub_rows, why_no_hub
from ._tables import Columns, Row, rows, text_value, value, why_no_table
from .sources import Source, as_paths

__all__ = ["LabelledOptions", "PairOptions", "TextOptions", "read_documents", "read_labelled", "read_pairs"]


@dataclass(frozen=True)
class LabelledOptions:
    """How labelled texts are found in a file."""

    text: str = "text"
    """Name of the text's column; a number counts columns from 0."""
    label: str = "label"
    """Name of the label's column, a number, or a list of several labels in JSON and Parquet."""
    label_separator: str | None = None
    """What stands between several labels of one text, such as a comma; None: a text has one label."""
    label_names: Path | None = None
    """File with a label's name a line, where the data has their numbers, from 0."""
    header: bool | None = None
    """Whether the first line of CSV or TSV names the columns; unless given, if it holds one of the names."""
    skip_bad_rows: bool = False
    """Leave out rows that break a rule, and say how many."""


@dataclass(frozen=True)
class PairOptions:
    """How pairs of texts are found in a file."""

    source: str = "source"
    """Name of the source's column; a number counts columns from 0."""
    target: str = "target"
    """Name of the target's column."""
    header: bool | None = None
    """Whether the first line of CSV or TSV names the columns; unless given, if it holds one of the names."""
    skip_bad_rows: bool = False
    """Leave out rows that break a rule, and say how many."""


@dataclass(frozen=True)
class TextOptions:
    """How running text is found."""

    pattern: str = "**/*.txt"
    """Which files of a folder are read, as in pathlib.glob; also with `.gz` after it."""
    text: str = "text"
    """Name of the text's column in tables."""
    skip_bad_rows: bool = False
    """Leave out files or rows that break a rule, and say how many."""


def read_labelled(source: Source, options: LabelledOptions | None = None) -> Read[list[LabelledText]]:
    """Read texts with their labels.

    Sources: CSV, TSV, JSONL, JSON, Parquet; a folder with `seq.in` and `label` (a text and its label a line);
    one file for each label (`name.positive`, `name.negative` or `positive.txt`, a text a line), named one by one or
    by their folder, or one folder for each label with a text a file; a name of the hub. `.gz` is read as it is.

    Raises:
        DataError: with the file, the line and the rule.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.csv"
    >>> _ = file.write_text("text,label\\na fine film,good\\n")
    >>> read_labelled(file).examples[0].labels
    ('good',)
    """
    paths, options = as_paths(source), options or LabelledOptions()
    notes = Notes(options.skip_bad_rows)
    names = _label_names(options.label_names)
    found: list[LabelledText] = []
    run: Any = first_accepting("labelled texts", paths, LABELLED)
    for row in run(paths, options, notes):
        text = text_value(row, options.text, notes)
        label = None if text is None else value(row, options.label, notes)
        if text is None or label is None:
            continue
        labels = _labels(row, label, options, names, notes)
        if labels is not None:
            found.append(LabelledText(text, labels))
    if not found:
        raise notes.nothing(paths[0], "holds no labelled text. Give a file with a text and a label a line.")
    return Read(found, tuple(notes.left_out))


def _labels(
    row: Row, label: Any, options: LabelledOptions, names: list[str] | None, notes: Notes
) -> tuple[str, ...] | None:
    parts = label if isinstance(label, list) else [label]
    if options.label_separator and isinstance(label, str):
        parts = [part.strip() for part in label.split(options.label_separator)]
    strange = next((part for part in parts if not isinstance(part, str | int)), None)
    if strange is not None:
        notes.bad(row[0], row[1], f"{strange!r} stands in {options.label!r}; the rule is a text or a whole number.")
        return None
    labels = [str(part).strip() for part in parts if str(part).strip()]
    if names is not None:
        unknown = next((one for one in labels if not one.isdecimal() or int(one) >= len(names)), None)
        if unknown is not None:
            notes.bad(row[0], row[1], f"the label {unknown!r} is no number from 0 to {len(names) - 1}.")
            return None
        labels = [names[int(one)] for one in labels]
    if not labels and not isinstance(label, list):
        notes.bad(row[0], row[1], "the label is empty.")
        return None
    return tuple(labels)


def _label_names(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    names = [line.strip() for _, line in text_lines(path, Notes(skip=False)) if line.strip()]
    if not names:
        raise DataError(f"{path} names no label; give one a line.")
    return names


def _labelled_table(source: tuple[Path, ...], options: LabelledOptions, notes: Notes) -> Iterator[Row]:
    return rows(source[0], (options.text, options.label), Columns(options.header), notes)


def _hub(source: tuple[Path, ...], options: object, notes: Notes) -> Iterator[Row]:
    return hub_rows(source)


def _class_files(source: tuple[Path, ...]) -> list[tuple[str, Path]]:
    """Return the label of each file, or folder of files: those of one folder, or files named one by one."""
    if len(source) > 1:
        plain = [Path(path.name.removesuffix(".gz")) for path in source]
        same = len({name.stem for name in plain}) == 1
        named = [(name.suffix[1:] if same else name.stem, path) for name, path in zip(plain, source, strict=True)]
        return named if len(dict(named)) == len(named) else []
    entries = [entry for entry in sorted(source[0].iterdir()) if not entry.name.startswith(".")]
    folders = [(entry.name, entry) for entry in entries if entry.is_dir()]
    if folders:
        return folders
    texts = [entry for entry in entries if plain_suffix(entry) == ".txt"]
    if len(texts) >= 2:
        return _class_files(tuple(texts))
    stems: dict[str, list[Path]] = {}
    for entry in entries:
        suffix = plain_suffix(entry)
        if suffix and suffix not in (".txt", ".xml", ".md"):
            stems.setdefault(Path(entry.name.removesuffix(".gz")).stem, []).append(entry)
    most = max(stems.values(), key=len, default=[])
    return _class_files(tuple(most)) if len(most) >= 2 else []


def _why_no_classes(source: tuple[Path, ...]) -> str | None:
    if len(source) == 1 and not source[0].is_dir():
        return "it is a folder with a file, or a folder, for each label, or a file for each"
    missing = [str(path) for path in source if not path.exists()]
    if missing:
        return f"{missing[0]} does not exist"
    where = f"{source[0]} holds" if len(source) == 1 else "these are"
    return None if len(_class_files(source)) >= 2 else f"{where} no two files or folders named by label"


def _classes(source: tuple[Path, ...], options: LabelledOptions, notes: Notes) -> Iterator[Row]:
    for label, path in _class_files(source):
        if path.is_dir():
            for file in sorted(one for one in path.rglob("*") if one.is_file()):
                text = whole_text(file, notes)
                if text is not None:
                    yield file, 0, {options.text: text, options.label: label}
            continue
        for number, line in text_lines(path, notes):
            if line.strip():
                yield path, number, {options.text: line.strip(), options.label: label}


def _why_no_lines(source: tuple[Path, ...]) -> str | None:
    if len(source) != 1 or not source[0].is_dir():
        return "it is a folder with seq.in and label"
    missing = [name for name in ("seq.in", "label") if not (source[0] / name).is_file()]
    return f"the folder lacks {' and '.join(missing)}" if missing else None


def _lines(source: tuple[Path, ...], options: LabelledOptions, notes: Notes) -> Iterator[Row]:
    return _side_by_side((source[0] / "seq.in", source[0] / "label"), (options.text, options.label), notes)


LABELLED = (
    ("table (CSV, TSV, JSONL, JSON, Parquet)", why_no_table, _labelled_table),
    ("parallel lines", _why_no_lines, _lines),
    ("file or folder for each label", _why_no_classes, _classes),
    ("data set of the hub", why_no_hub, _hub),
)


def read_pairs(source: Source, options: PairOptions | None = None) -> Read[list[TextPair]]:
    """Read pairs of texts: what is read, and what is to be written.

    Sources: two files of parallel lines; CSV, TSV, JSONL, JSON, Parquet; a name of the hub. `.gz` is
    read as it is.

    Raises:
        DataError: with the file, the line and the rule.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.tsv"
    >>> _ = file.write_text("source\\ttarget\\ngood day\\tguten Tag\\n")
    >>> read_pairs(file).examples[0].target
    'guten Tag'
    """
    paths, options = as_paths(source), options or PairOptions()
    notes = Notes(options.skip_bad_rows)
    found: list[TextPair] = []
    run: Any = first_accepting("pairs of texts", paths, PAIRS)
    for row in run(paths, options, notes):
        first = text_value(row, options.source, notes)
        second = None if first is None else text_value(row, options.target, notes)
        if first is not None and second is not None:
            found.append(TextPair(first, second))
    if not found:
        raise notes.nothing(paths[0], "holds no pair of texts. Give a file with a source and a target a line.")
    return Read(found, tuple(notes.left_out))


def _pair_table(source: tuple[Path, ...], options: PairOptions, notes: Notes) -> Iterator[Row]:
    return rows(source[0], (options.source, options.target), Columns(options.header), notes)


def _why_no_parallel(source: tuple[Path, ...]) -> str | None:
    if len(source) != 2:
        return f"it is two files of as many lines, {len(source)} was given"
    missing = [str(path) for path in source if not path.is_file()]
    return f"there is no file {missing[0]}" if missing else None


def _parallel(source: tuple[Path, ...], options: PairOptions, notes: Notes) -> Iterator[Row]:
    return _side_by_side(source, (options.source, options.target), notes)


def _side_by_side(source: tuple[Path, ...], names: tuple[str, str], notes: Notes) -> Iterator[Row]:
    """Yield line after line of two files as the columns `names`."""
    lines = [dict(text_lines(path, notes)) for path in source]
    counts = [max((number for number, line in one.items() if line), default=0) for one in lines]
    if counts[0] != counts[1]:
        raise DataError(f"{source[0]} has {counts[0]} lines and {source[1]} {counts[1]}; they belong line to line.")
    for number in range(1, counts[0] + 1):
        if all(number in one for one in lines):
            yield source[0], number, dict(zip(names, (one[number] for one in lines), strict=True))


PAIRS = (
    ("parallel files", _why_no_parallel, _parallel),
    ("table (CSV, TSV, JSONL, JSON, Parquet)", why_no_table, _pair_table),
    ("data set of the hub", why_no_hub, _hub),
)


def read_documents(source: Source, options: TextOptions | None = None) -> Read[list[Document]]:
    """Read running text: a file is one document, a folder one for each file that `pattern` finds.

    Sources: text files and folders, one or several; JSONL, JSON, CSV, TSV and Parquet, a document a
    row; a name of the hub. `.gz` is read as it is.

    Raises:
        DataError: with the file, the line and the rule.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
    >>> _ = file.write_text("to be or not to be")
    >>> read_documents(file).examples[0].text
    'to be or not to be'
    """
    paths, options = as_paths(source), options or TextOptions()
    notes = Notes(options.skip_bad_rows)
    run: Any = first_accepting("text", paths, DOCUMENTS)
    found: list[Document] = list(run(paths, options, notes))
    if not found:
        raise notes.nothing(paths[0], f"holds no text{f' in files {options.pattern}' if paths[0].is_dir() else ''}.")
    return Read(found, tuple(notes.left_out))


def _document_table(source: tuple[Path, ...], options: TextOptions, notes: Notes) -> Iterator[Document]:
    for row in rows(source[0], (options.text,), Columns(), notes):
        text = text_value(row, options.text, notes)
        if text is not None:
            yield Document(f"{row[0].name}:{row[1]}", text)


def _document_hub(source: tuple[Path, ...], options: TextOptions, notes: Notes) -> Iterator[Document]:
    for row in hub_rows(source):
        text = text_value(row, options.text, notes)
        if text is not None:
            yield Document(f"{row[0]}:{row[1]}", text)


def _why_no_text(source: tuple[Path, ...]) -> str | None:
    missing = [str(path) for path in source if not path.exists()]
    if missing:
        return f"{missing[0]} does not exist"
    tables = [path for path in source if path.is_file() and plain_suffix(path) == ".parquet"]
    return f"{tables[0]} is no text" if tables else None


def _text(source: tuple[Path, ...], options: TextOptions, notes: Notes) -> Iterator[Document]:
    for path in source:
        found = {*path.glob(options.pattern), *path.glob(f"{options.pattern}.gz")} if path.is_dir() else {path}
        files = sorted(file for file in found if file.is_file())
        for file in files:
            text = whole_text(file, notes)
            if text is None:
                continue
            if not text.strip():
                notes.bad(file, 0, "the file is empty.")
                continue
            yield Document(str(file.relative_to(path)) if path.is_dir() else file.name, text)


DOCUMENTS = (
    ("table (CSV, TSV, JSONL, JSON, Parquet)", why_no_table, _document_table),
    ("text files", _why_no_text, _text),
    ("data set of the hub", why_no_hub, _document_hub),
)
