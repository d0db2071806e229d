"""Labelled texts, pairs of texts, and running text."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...corpora import Document, LabelledText, TextPair
from ...errors import DataError
from ._columns import Columns
from ._files import Notes, Read, first_accepting, plain_suffix, text_lines, whole_text, why_no_text
from ._folders import check_labels, class_folders, is_shown
from ._hub import hub_rows, why_no_hub
from ._judging import judge_documents, judge_labelled, judge_pairs
from ._parallel import side_by_side
from ._separated import cells_text
from ._tables import MISSING, Row, is_cells, parts_of, rows, text_value, value, why_no_table
from .sources import Group, Source, read_each


@dataclass(frozen=True)
class LabelledOptions:
    """How labelled texts are found in a file."""

    text: str = "text"
    """Name of the text's column, or of several (`title+body`); a number counts columns from 0, dots lead into objects
    (`data.text`)."""
    label: str = "label"
    """Name of the label's column, a number, or a list of several labels in JSON and Parquet."""
    label_separator: str | None = None
    """Separator between several labels of one text, such as a comma; None: a text has one label."""
    label_names: Path | None = None
    """File with one label name a line, if the data has numeric labels, from 0."""
    join: str = " "
    """What stands between texts that are joined: of several columns (`title+body`), of a list."""
    header: bool | None = None
    """Whether the first line of CSV or TSV names the columns; unless given, as it looks."""
    skip_bad_rows: bool = False
    """Leave out invalid rows, and report how many."""
    as_told: bool = False
    """Read with these options even if the result looks like something else."""


@dataclass(frozen=True)
class PairOptions:
    """How pairs of texts are found in a file."""

    source: str = "source"
    """Name of the source's column; a number counts columns from 0, dots lead into objects (`translation.en`)."""
    target: str = "target"
    """Name of the target's column."""
    join: str = " "
    """What stands between texts that are joined: of several columns (`--source title+body`), of a list."""
    header: bool | None = None
    """Whether the first line of CSV or TSV names the columns; unless given, as it looks."""
    skip_bad_rows: bool = False
    """Leave out invalid rows, and report how many."""
    as_told: bool = False
    """Read with these options even if the result looks like something else."""


@dataclass(frozen=True)
class TextOptions:
    """How running text is found."""

    pattern: str = "**/*.txt"
    """Which files of a folder are read, a pattern of pathlib.glob; also matches with `.gz` appended."""
    text: str = "text"
    """Name of the text's column in tables; a number counts columns from 0."""
    join: str = " "
    """What stands between texts that are joined: of several columns (`title+body`), of a list."""
    header: bool | None = None
    """Whether the first line of CSV or TSV names the columns; unless given, as it looks."""
    skip_bad_rows: bool = False
    """Leave out invalid files or rows, and report how many."""
    as_told: bool = False
    """Read with these options even if the result looks like something else."""


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
    return read_each(source, options or LabelledOptions(), _labelled_groups, _read_labelled)


def _labelled_groups(paths: Group) -> list[Group]:
    """Return tables and folders of labels alone, and files or folders that are labels together."""
    alone = [path for path in paths if why_no_table((path,)) is None or _why_not_fasttext((path,)) is None
             or (path.is_dir() and (_folders(path) or _why_no_lines((path,)) is None))]  # fmt: skip
    rest = tuple(path for path in paths if path not in alone)
    return [(path,) for path in alone] + ([rest] if rest else [])


def _read_labelled(paths: Group, options: LabelledOptions) -> Read[list[LabelledText]]:
    notes = Notes(options.skip_bad_rows)
    names = _label_names(options.label_names)
    found: list[LabelledText] = []
    rejected = 0
    form, run = first_accepting("labelled texts", paths, LABELLED)
    for row in run(paths, options, notes):
        if row[2].get("answer") in ("reject", "ignore") and "answer" not in (options.text, options.label):
            rejected += 1
            continue
        text = text_value(row, options.text, notes, options.join)
        label = None if text is None else value(row, options.label, notes)
        if text is None or label is None:
            continue
        labels = _labels(row, label, options, names, notes)
        if labels is not None:
            found.append(LabelledText(text, labels))
    if not found:
        raise notes.nothing(paths[0], "holds no labelled text. Give a file with a text and a label a line.")
    if rejected:
        notes.remarks.append(f"rows that their annotator rejected or ignored (answer) were left out: {rejected:,}.")
    if not options.as_told:
        judge_labelled(paths[0], found, notes.empty_lines, options.label_separator)
    notes.remarks += _alike(found)
    return Read(found, tuple(notes.left_out), tuple(notes.remarks), notes.reading, form, notes.columns)


def _labels(
    row: Row, label: Any, options: LabelledOptions, names: list[str] | None, notes: Notes
) -> tuple[str, ...] | None:
    """Return the labels in a cell; None for an invalid row."""
    parts, single = _parts(label, options.label_separator)
    strange = next((part for part in parts if not isinstance(part, str | int)), None)
    if strange is not None:
        notes.bad(
            row[0],
            row[1],
            f"{strange!r} stands in {options.label!r}; the rule is a text or a whole number.{_way(label, options)}",
        )
        return None
    labels = [str(part).strip() for part in parts if str(part).strip()]
    if names is not None:
        unknown = next((one for one in labels if not one.isdecimal() or int(one) >= len(names)), None)
        if unknown is not None:
            notes.bad(row[0], row[1], f"the label {unknown!r} is no number from 0 to {len(names) - 1}.")
            return None
        labels = [names[int(one)] for one in labels]
    rule = next(filter(None, map(why_no_text, labels)), None)
    if single and (not labels or labels[0] in MISSING):
        rule = "the label is empty." if not labels else f"the label is {labels[0]!r}, an empty cell as it is written."
    if rule is not None:
        notes.bad(row[0], row[1], rule)
        return None
    return tuple(labels)


def _way(label: Any, options: LabelledOptions) -> str:
    """Return advice for a cell with an object: naming a path into it, or reading it as spans."""
    inside = label[0] if isinstance(label, list) else label
    if isinstance(inside, dict) and inside:
        lead = f"{options.label}.0" if isinstance(label, list) else options.label
        return f" Name what the object holds: --label {lead}.{next(iter(inside))}."
    return " Places in a text with labels are read by `train ner`." if isinstance(inside, list) else ""


def _parts(label: Any, separator: str | None) -> tuple[list[Any], bool]:
    """Return the labels in a cell, unconverted, and whether it can hold only one."""
    if isinstance(label, str):
        if separator:
            return [part.strip() for part in label.split(separator)], True
        inside = _written(label.strip())
        return ([label], True) if inside is None else _parts(inside, separator)
    if isinstance(label, dict):  # choices of Label Studio; or spaCy's probability of each label
        if isinstance(label.get("choices"), list):
            return label["choices"], False
        if label and all(isinstance(share, int | float) for share in label.values()):
            return [name for name, share in label.items() if share >= 0.5], False
        return [label], True
    if isinstance(label, list):
        return [_parts(one, None)[0][0] if isinstance(one, float) else one for one in label], False
    whole = isinstance(label, float) and label.is_integer()
    return [int(label) if whole else label], True


def _written(label: str) -> Any:
    """Return the list or object that a cell holds in JSON or Python notation; None if it holds a text."""
    if (label[:1], label[-1:]) in (("[", "]"), ("{", "}")):
        for read in (json.loads, ast.literal_eval):
            with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                found = read(label)
                return found if isinstance(found, list | dict) else None
    return None


def _alike(examples: list[LabelledText]) -> list[str]:
    """Return a warning about labels that differ in case only."""
    labels = {label for one in examples for label in one.labels}
    folded: dict[str, list[str]] = {}
    for label in sorted(labels):
        folded.setdefault(label.casefold(), []).append(label)
    same = [like for like in folded.values() if len(like) > 1]
    return [f"labels differ in case alone and are read as different: {', '.join(same[0])}."] if same else []


def _label_names(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    names = [line.strip() for _, line in text_lines(path, Notes(skip=False))]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise DataError(f"{path} names no label; give one a line.")
    if "" in names:
        raise DataError(f"{path}, line {names.index('') + 1}: the line is empty, and each is the name of its number.")
    return names


def _labelled_table(source: tuple[Path, ...], options: LabelledOptions, notes: Notes) -> Iterator[Row]:
    columns = Columns(options.header, ("text", "label"))
    named = None if options.text != "text" or not is_cells(source[0]) else cells_text(source[0], ("text", "path"))
    if named is None or named.strip().lower() != "path":
        yield from rows(source[0], (*parts_of(options.text), options.label), columns, notes)
        return
    for path, number, values in rows(source[0], (named, options.label), columns, notes):
        file = path.parent / values[named]
        if not file.is_file():
            notes.bad(path, number, f"there is no file {file}; paths are relative to the table.")
        elif (text := whole_text(file, notes)) is not None:
            yield path, number, {**values, options.text: text}


FASTTEXT = "__label__"


def _why_not_fasttext(source: tuple[Path, ...]) -> str | None:
    if len(source) != 1 or not source[0].is_file() or why_no_table(source, tabs=False) is None:
        return "it is one file, and no table"
    first = next((line for _, line in text_lines(source[0], Notes(skip=True)) if line.strip()), "")
    return None if first.startswith(FASTTEXT) else f"its lines do not begin with {FASTTEXT}"


def _fasttext(source: tuple[Path, ...], options: LabelledOptions, notes: Notes) -> Iterator[Row]:
    """Yield rows from lines of the form `__label__a __label__b text` (fastText)."""
    notes.reading = f"lines of fastText: the labels with {FASTTEXT}, then the text"
    for number, line in text_lines(source[0], notes):
        words, labels = line.split(" "), []
        while words and words[0].startswith(FASTTEXT):
            labels.append(words.pop(0).removeprefix(FASTTEXT).rstrip(","))
        if line.strip():
            yield source[0], number, {options.text: " ".join(words).strip(), options.label: labels or None}


def _hub(source: tuple[Path, ...], options: object, notes: Notes) -> Iterator[Row]:
    return hub_rows(source)


def _class_files(source: tuple[Path, ...]) -> list[tuple[str, Path]]:
    """Return the label of each file, for a folder of files or a list of files."""
    if len(source) > 1:
        plain = [Path(path.name.removesuffix(".gz")) for path in source]
        same = len({name.stem for name in plain}) == 1
        named = [(name.suffix[1:] if same else name.stem, path) for name, path in zip(plain, source, strict=True)]
        return named if len(dict(named)) == len(named) else []
    entries = [entry for entry in sorted(source[0].iterdir()) if is_shown(entry) and entry.is_file()]
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


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if entry.is_dir() and is_shown(entry)]


def _why_no_classes(source: tuple[Path, ...]) -> str | None:
    if len(source) == 1 and not source[0].is_dir():
        return "it is a folder with a file, or a folder, for each label, or a file for each"
    missing = [str(path) for path in source if not path.exists()]
    if missing:
        return f"{missing[0]} does not exist"
    if len(source) == 1 and _folders(source[0]):
        return None
    where = f"{source[0]} holds" if len(source) == 1 else "these are"
    return None if len(_class_files(source)) >= 2 else f"{where} no two files or folders named by label"


def _classes(source: tuple[Path, ...], options: LabelledOptions, notes: Notes) -> Iterator[Row]:
    if len(source) == 1 and _folders(source[0]):
        found = class_folders(source[0], notes, as_told=options.as_told)
        notes.reading = f"a folder for each label, a text a file: {', '.join(found)}"
        for label, files in found.items():
            for file in files:
                text = whole_text(file, notes)
                if text is not None:
                    yield file, 0, {options.text: text, options.label: label}
        return
    named = dict(_class_files(source))
    if not options.as_told:
        check_labels(source[0], named, named.__getitem__)
    notes.reading = f"a file for each label, a text a line: {', '.join(named)}"
    for label, path in named.items():
        for number, line in text_lines(path, notes):
            if line.strip():
                yield path, number, {options.text: line.strip(), options.label: label}


def _why_no_lines(source: tuple[Path, ...]) -> str | None:
    if len(source) != 1 or not source[0].is_dir():
        return "it is a folder with seq.in and label"
    missing = [name for name in ("seq.in", "label") if not (source[0] / name).is_file()]
    return f"the folder lacks {' and '.join(missing)}" if missing else None


def _lines(source: tuple[Path, ...], options: LabelledOptions, notes: Notes) -> Iterator[Row]:
    return side_by_side((source[0] / "seq.in", source[0] / "label"), (options.text, options.label), notes)


LABELLED = (
    ("lines of fastText", _why_not_fasttext, _fasttext),
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
    return read_each(source, options or PairOptions(), _pair_groups, _read_pairs)


def _pair_groups(paths: Group) -> list[Group]:
    """Return tables alone, and other files in twos."""
    alone = [path for path in paths if len(paths) != 2 and why_no_table((path,)) is None]
    alone = list(paths) if len(paths) == 2 and all(why_no_table((x,), tabs=False) is None for x in paths) else alone
    rest = [path for path in paths if path not in alone]
    return [(path,) for path in alone] + [tuple(rest[at : at + 2]) for at in range(0, len(rest), 2)]


def _read_pairs(paths: Group, options: PairOptions) -> Read[list[TextPair]]:
    notes = Notes(options.skip_bad_rows)
    found: list[TextPair] = []
    form, run = first_accepting("pairs of texts", paths, PAIRS)
    for row in run(paths, options, notes):
        first = text_value(row, options.source, notes, options.join)
        second = None if first is None else text_value(row, options.target, notes, options.join)
        if first is not None and second is not None:
            found.append(TextPair(first, second))
    if not found:
        raise notes.nothing(paths[0], "holds no pair of texts. Give a file with a source and a target a line.")
    if not options.as_told:
        judge_pairs(paths[0], found)
    return Read(found, tuple(notes.left_out), tuple(notes.remarks), notes.reading, form, notes.columns)


def _pair_table(source: tuple[Path, ...], options: PairOptions, notes: Notes) -> Iterator[Row]:
    names = (*parts_of(options.source), *parts_of(options.target))
    return rows(source[0], names, Columns(options.header, ("source", "target")), notes)


def _why_no_parallel(source: tuple[Path, ...]) -> str | None:
    if len(source) != 2:
        return f"it is two files of as many lines, {len(source)} was given"
    missing = [str(path) for path in source if not path.is_file()]
    return f"there is no file {missing[0]}" if missing else None


def _parallel(source: tuple[Path, ...], options: PairOptions, notes: Notes) -> Iterator[Row]:
    return side_by_side(source, (options.source, options.target), notes, as_told=options.as_told)


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
    return read_each(source, options or TextOptions(), _document_groups, _read_documents)


def _document_groups(paths: Group) -> list[Group]:
    """Return tables alone, and texts together."""
    alone = [path for path in paths if why_no_table((path,), tabs=False) is None]
    rest = tuple(path for path in paths if path not in alone)
    return ([rest] if rest else []) + [(path,) for path in alone]


def _read_documents(paths: Group, options: TextOptions) -> Read[list[Document]]:
    notes = Notes(options.skip_bad_rows)
    form, run = first_accepting("text", paths, DOCUMENTS)
    found: list[Document] = list(run(paths, options, notes))
    if not found:
        raise notes.nothing(paths[0], f"holds no text{f' in files {options.pattern}' if paths[0].is_dir() else ''}.")
    if not options.as_told:
        judge_documents(paths[0], [one.text for one in found])
    return Read(found, tuple(notes.left_out), tuple(notes.remarks), notes.reading, form, notes.columns)


def _document_table(source: tuple[Path, ...], options: TextOptions, notes: Notes) -> Iterator[Document]:
    for row in rows(source[0], parts_of(options.text), Columns(options.header, ("text",)), notes):
        text = text_value(row, options.text, notes, options.join)
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
    count = 0
    for path in source:
        found = {*path.glob(options.pattern), *path.glob(f"{options.pattern}.gz")} if path.is_dir() else {path}
        files = sorted(file for file in found if file.is_file() and (file == path or _is_shown_below(file, path)))
        count += len(files)
        for file in files:
            text = whole_text(file, notes)
            if text is None:
                continue
            if not text.strip():
                notes.bad(file, 0, "the file is empty.")
                continue
            if text.startswith("{") and _written(text.partition("\n")[0].strip()):
                notes.remarks.append(
                    f"{file} seems to hold JSON lines: to read their texts let its name end in .jsonl."
                )
            name = str(file.relative_to(path)) if path.is_dir() else file.name
            yield Document(name.encode("utf-8", errors="backslashreplace").decode("utf-8"), text)
    notes.reading = f"text, {count:,} {'file' if count == 1 else 'files'}, each a document"


def _is_shown_below(file: Path, folder: Path) -> bool:
    return all(map(is_shown, map(Path, file.relative_to(folder).parts)))


DOCUMENTS = (
    ("table (CSV, TSV, JSONL, JSON, Parquet)", partial(why_no_table, tabs=False), _document_table),
    ("text files", _why_no_text, _text),
    ("data set of the hub", why_no_hub, _document_hub),
)
