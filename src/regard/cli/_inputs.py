"""The inputs of `regard predict`: texts, files and folders in every format that `regard train` reads."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, DataError, nearest
from ..tasks import ImageClassification, LanguageModeling, NamedEntities, Sentence, Sentiment, Task, Verdict
from ..tasks.filling import (
    Fields,
    Inputs,
    are_columns,
    files_of,
    read_columns,
    read_files,
    read_lines,
    read_pixels,
    read_table,
    read_tagged_records,
    tagged_lines,
)
from ..tasks.reading import (
    PICTURE_SUFFIXES,
    Notes,
    cells_text,
    is_records,
    is_table,
    parts_of,
    path_column,
    plain_suffix,
    told,
    why_no_table,
    why_no_text,
)

TEXTS = ("text", "sentence", "content", "words")
KNOWN = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".conll", ".conllu", ".txt", *PICTURE_SUFFIXES)


def sources_of(
    task: Task[Any, Any],
    words: Sequence[str],
    files: Sequence[str],
    options: Any,
    learnt: Mapping[str, Any],
    whole: bool | None,
    base: Path,
) -> list[tuple[str, Inputs]]:
    """Return the inputs of each source with its name: arguments that are paths are read, others are texts.

    Args:
        task: The trained task.
        words: Texts, or paths; a text that is the path of a file here is read as that file, all of it one text.
        files: Files whose lines are texts, or tables.
        options: The options of the task's reader.
        learnt: What was remembered of the training data: `form`, `columns`, `multiline`.
        whole: Whether a file of plain text is one text; None: as the training data was.
        base: The folder to which paths are relative in tables that are written.
    """
    found: list[tuple[str, Inputs]] = []
    texts: list[str] = []
    sees = isinstance(task, ImageClassification)
    pictures: list[Path] = []
    for number, word in enumerate(words, start=1):
        rule = why_no_text(word) if not sees else None
        if rule is not None:
            raise ArgumentError(f"Argument {number} cannot be read: {rule}")
        path, own = _path(word, options)
        if path is None and not sees:
            _refuse_missing(word)
            texts.append(word.removeprefix("\ufeff"))
        elif sees and (path is None or path.suffix.lower() in PICTURE_SUFFIXES):
            pictures.append(Path(word))
        else:
            found.append((word, _file(task, path or Path(word), own, learnt, whole is not False, base)))
    if texts:
        found.append(("the arguments", _texts(task, texts, learnt)))
    if pictures:
        found.append(("the arguments", read_files(pictures, base, texts=False)))
    # A prompt is a line, though the documents that a language model learns from have many.
    several = bool(learnt.get("multiline")) and not isinstance(task, LanguageModeling)
    for word in files:
        path, own = _path(word, options)
        wanted = several if whole is None else whole
        found.append((word, _file(task, path or Path(word), own, learnt, wanted, base)))
    return found


@contextmanager
def standard_input(task: str, options: Any, learnt: Mapping[str, Any]) -> Iterator[str]:
    """Write standard input to a file whose name says its format, and yield the path; errors call it standard input."""
    raw = getattr(sys.stdin, "buffer", None)
    contents = raw.read() if raw is not None else sys.stdin.read().encode("utf-8", errors="surrogatepass")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input"
        path.write_bytes(contents)
        path = path.rename(path.with_suffix(_suffix(path, contents, task, options, learnt)))
        try:
            yield str(path)
        except DataError as error:
            raise DataError(str(error).replace(str(path), "standard input")) from error


def _suffix(path: Path, contents: bytes, task: str, options: Any, learnt: Mapping[str, Any]) -> str:
    """Return the suffix that says the format of a file without a name."""
    begin = contents[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if begin.startswith(b"PAR1"):
        return ".parquet"
    if begin.startswith((b"{", b"[{", b"[\n")) and is_records(path):
        return ".json" if begin.startswith(b"[") or begin.split(b"\n")[0].strip() == b"{" else ".jsonl"
    if task == "ner" and are_columns(path, str(learnt.get("form", ""))):
        return ".conll"
    asked = [getattr(options, field, None) or "" for field in ("text", "source", "words", "path")]
    names = [name for one in asked for name in parts_of(one) if name]
    if names and cells_text(path, names) is not None:
        return ".tsv" if b"\t" in begin.split(b"\n")[0] else ".csv"
    return ".txt"


def _path(word: str, options: Any) -> tuple[Path | None, Any]:
    """Return the path that an argument is, and the options with those behind it; no path for a text."""
    try:
        path, own = told(Path(word), options)
        return (path, own) if word and path.exists() else (None, options)
    except (OSError, ValueError):  # too long for a path
        return None, options


def _refuse_missing(word: str) -> None:
    """Refuse a text that looks like the path of a file that is not there."""
    path = Path(word)
    if " " not in word and plain_suffix(path) in KNOWN:
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(
            f"There is no file {word}.{nearest(path.name, beside)} A text that looks so goes through standard input."
        )


def _file(task: Task[Any, Any], path: Path, options: Any, learnt: Mapping[str, Any], whole: bool, base: Path) -> Inputs:
    if isinstance(task, ImageClassification):
        return _pictures(path, options, base)
    if path.is_dir() and not (path / "seq.in").is_file():
        suffixes = (".txt",) if any(path.rglob("*.txt")) else ()
        return read_files(files_of(path, suffixes), base, texts=True)
    path = path / "seq.in" if path.is_dir() else path
    if isinstance(task, NamedEntities):
        return _tagged(task, path, options, learnt, whole)
    form = str(learnt.get("form", ""))
    tabs = form.startswith("table")
    if is_table(path) or (tabs and not whole and path.is_file() and why_no_table((path,)) is None):
        text = options.source if hasattr(options, "source") else options.text
        known = learnt.get("columns") or {}
        option = "source" if hasattr(options, "source") else "text"
        headed = known.get("header") is not False
        if headed and not is_table(path) and cells_text(path, parts_of(text)) is None:
            return read_lines(path, _line(task, form), whole=False)
        return read_table(path, text, _filled(options), known=known, header=options.header,
                          join=options.join, option=option, skip=options.skip_bad_rows)  # fmt: skip
    if path.suffix and why_no_table((path,), tabs=False) and plain_suffix(path) in (".xlsx", ".xls", ".ods", ".zip"):
        raise DataError(f"{path} cannot be read: {why_no_table((path,), tabs=False)}.")
    labelled = form == "lines of fastText"
    return read_lines(path, _line(task, form), whole=whole and not labelled, labelled=labelled)


def _tagged(task: NamedEntities, path: Path, options: Any, learnt: Mapping[str, Any], whole: bool) -> Inputs:
    form, columns = str(learnt.get("form", "")), learnt.get("columns", {})
    if is_records(path):
        return read_tagged_records(path, options, columns)
    if plain_suffix(path) in (".csv", ".tsv"):
        names = [name for name in (options.words, *TEXTS) if name]
        text = cells_text(path, names)
        if text is not None and not are_columns(path, form) and _holds_texts(path, text):
            return read_table(path, text, {"entities": "entities"}, skip=options.skip_bad_rows)
        return read_columns(path, options, columns)
    if form != "parallel lines" and are_columns(path, form):
        return read_columns(path, options, columns)
    inputs = read_lines(path, _line(task, form), whole=whole)
    if form != "parallel lines":
        inputs.write = tagged_lines(inputs.values)
    return inputs


def _holds_texts(path: Path, column: str) -> bool:
    values = read_table(path, column, {}, skip=True).values[:100]
    return 2 * sum(" " in value.strip() for value in values) > len(values)


def _pictures(path: Path, options: Any, base: Path) -> Inputs:
    if path.is_dir():
        return read_files(files_of(path, PICTURE_SUFFIXES), base, texts=False)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return read_files([path], base, texts=False)
    if is_table(path):
        column = path_column(path, options)
        filled = {"label": options.label, "path": column}
        inputs = read_table(path, column, filled, header=options.header, skip=options.skip_bad_rows)
        files = inputs.values = [path.parent / value for value in inputs.values]
        if base.resolve() != path.parent.resolve():
            write = inputs.write
            inputs.write = lambda answers: write(
                [{**one, "path": os.path.relpath(file, base)} for file, one in zip(files, answers, strict=True)]
            )
        return inputs
    pixels = read_pixels(path)
    if pixels is not None:
        return pixels
    listed = read_lines(path, lambda text, one: f"{text}\t{one['label']}\t{one['confidence']:.4f}", whole=False)
    blank = next((number for number, file in enumerate(listed.values, start=1) if not file.strip()), None)
    if blank is not None:
        raise ArgumentError(f"Line {blank} of the inputs is blank; each is the path of a picture.")
    listed.values = [Path(file) for file in listed.values]
    return listed


def _texts(task: Task[Any, Any], texts: list[str], learnt: Mapping[str, Any]) -> Inputs:
    line = _line(task, str(learnt.get("form", "")))
    write = tagged_lines(texts) if isinstance(task, NamedEntities) else lambda answers: "".join(
        line(text, one) + "\n" for text, one in zip(texts, answers, strict=True)).encode()  # fmt: skip
    return Inputs(texts, write, Notes(skip=False), lines=True)


def _filled(options: Any) -> dict[str, str]:
    """Return the column of each field of an answer."""
    names = {"label": getattr(options, "label", ""), "target": getattr(options, "target", ""),
             "text": "" if hasattr(options, "source") else parts_of(options.text)[0]}  # fmt: skip
    return {field: column for field, column in names.items() if column}


def _line(task: Task[Any, Any], form: str) -> Any:
    """Return how an answer to a line of text is written into a file."""

    def line(text: str, one: Fields) -> str:
        if "tags" in one:
            return " ".join(one["tags"])
        if "label" not in one:
            return in_one_line(str(one.get("target", one.get("text"))))
        label = one["label"] if isinstance(one["label"], str) else ",".join(one["label"])
        if form == "lines of fastText":
            named = [label] if isinstance(one["label"], str) else one["label"]
            return " ".join([*(f"__label__{name}" for name in named), text])
        if form == "parallel lines":
            return label
        return "\t".join([in_one_line(text).replace("\t", " "), label, f"{one['confidence']:.4f}"])

    return line


def in_one_line(text: str) -> str:
    r"""Return a text in one line: line ends in it are escaped.

    >>> in_one_line("one\ntwo")
    'one\\ntwo'
    """
    return text.replace("\r\n", "\\r\\n").replace("\n", "\\n")


def fields_of(task: Task[Any, Any], answer: Any, options: Any) -> Fields:
    """Return the fields of an answer, as the columns of the training data hold them."""
    if isinstance(answer, Sentence):
        found = list(answer.entities)
        sure: list[float | None] = [None] * len(answer.words)
        for entity in found:
            sure[entity.start : entity.stop] = [_confidence(entity)] * (entity.stop - entity.start)
        spans = [{"start": one.start_char, "end": one.end_char, "label": one.label, "text": one.text,
                  "confidence": _confidence(one)} for one in found]  # fmt: skip
        return {"tags": answer.tags, "spans": answer.spans, "entities": spans, "confidences": sure}
    if isinstance(answer, Verdict):
        labels = list(answer.labels)
        names = getattr(options, "label_names", None)
        if names is not None:
            numbers = [line.strip() for line in Path(names).read_text(encoding="utf-8").splitlines()]
            labels = [str(numbers.index(label)) for label in labels]
        several = isinstance(task, Sentiment) and task.several_
        label: Any = tuple(labels) if several else "".join(labels)
        separator = getattr(options, "label_separator", None)
        if several and separator:
            label = separator.join(labels)
        return {"label": label, "confidence": round(answer.confidence, 4)}
    return {"text" if isinstance(task, LanguageModeling) else "target": answer}


def _confidence(entity: Any) -> float | None:
    found = getattr(entity, "confidence", None)
    return None if found is None else round(float(found), 4)
