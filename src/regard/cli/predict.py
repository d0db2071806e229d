"""`regard predict FOLDER`: a trained task's answers to new inputs."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..errors import ArgumentError
from ..tasks import ImageClassification, LanguageModeling, NamedEntities, Sentence, Sentiment, Task, Verdict, load
from ..tasks.reading import given_lines, open_bytes, why_no_text
from ._data import read_pictures
from ._looking import open_page, view_of

__all__ = ["DEDENT", "INDENT", "NEWLINE", "Predict", "describe", "inputs_of", "legend", "pieces"]

# Terminal colours of entity labels, in the order of the sorted labels.
COLOURS = (36, 33, 32, 35, 34, 31)
# How `corpora.code_entities` writes the end of a line of code, and its indentation.
NEWLINE, INDENT, DEDENT = "⏎", "→", "←"


@dataclass(frozen=True)
class Predict:
    """Print a trained task's answers to texts or pictures: arguments, lines of a file, or lines of standard input."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder that `regard train --out` wrote."""
    inputs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Texts, or picture files; none: lines of standard input."""
    file: Path | None = None
    """Read inputs from this file, one a line."""
    page: Path | None = None
    """Write the page of the model's attention on the first input to this .html file."""
    open: bool = False
    """Open that page in the browser; it is attention.html in the task's folder unless --page names another."""
    json: bool = False
    """Print one JSON object a line, for scripts."""

    def run(self) -> int:
        """Print one answer a line, in the order of the inputs."""
        task = load(self.folder)
        inputs = self._inputs()
        if not inputs:
            raise ArgumentError("There is nothing to predict: give texts, --file, or lines on standard input.")
        given: Any = self._pictures(inputs, task.shape_) if isinstance(task, ImageClassification) else inputs
        answers = task.predict(given)
        first = given[0]
        one = bool(self.inputs) and len(inputs) == 1
        for given, answer in zip(inputs, answers, strict=True):
            if self.json:
                print(json.dumps(_plain(given, answer), ensure_ascii=False))
                continue
            line = _line(task, given, answer, sys.stdout.isatty())
            print(line if one else in_one_line(line))
        if self.page is not None or self.open:
            path = self.page or self.folder / "attention.html"
            view_of(task.attention(first), f"{task.name}: {short(str(inputs[0]), 60)}", first).save(path)
            print(f"What it attends to: {path}", file=sys.stderr)
            if self.open:
                open_page(path)
        return 0

    def _inputs(self) -> list[str]:
        """Return the arguments, or each line of the file or of standard input, blank ones too."""
        if self.inputs and self.file is not None:
            raise ArgumentError("Texts and --file were given; the inputs are one or the other.")
        for number, text in enumerate(self.inputs, start=1):
            rule = why_no_text(text)
            if rule is not None:
                raise ArgumentError(f"Argument {number} cannot be read: {rule}")
        if self.inputs:
            return [text.removeprefix("\ufeff") for text in self.inputs]
        if self.file is not None:
            return given_lines(open_bytes(self.file), str(self.file))
        return given_lines(_standard_input(), "standard input")

    def _pictures(self, files: list[str], shape: tuple[int, ...]) -> Any:
        blank = next((number for number, file in enumerate(files, start=1) if not file.strip()), None)
        if blank is not None:
            raise ArgumentError(f"Line {blank} of the inputs is blank; each is the path of a picture.")
        return read_pictures(files, self.folder, shape)


def _standard_input() -> bytes:
    """Return standard input as bytes, not decoded."""
    raw = getattr(sys.stdin, "buffer", None)
    if raw is not None:
        contents: bytes = raw.read()
        return contents
    return sys.stdin.read().encode("utf-8", errors="surrogatepass")


def in_one_line(answer: str) -> str:
    r"""Return an answer in one line: line ends in it are escaped.

    >>> in_one_line("one\ntwo")
    'one\\ntwo'
    """
    return answer.replace("\r\n", "\\r\\n").replace("\n", "\\n")


def inputs_of(task: Task[Any, Any], examples: Any, count: int) -> Any:
    """Return the first inputs of labelled examples, without their answers."""
    if isinstance(task, ImageClassification):
        return examples.pixels[:count]
    if isinstance(task, NamedEntities):
        return [one.words for one in examples[:count]]
    if isinstance(task, Sentiment):
        return [one.text for one in examples[:count]]
    if isinstance(task, LanguageModeling):
        return [one.text[:80] for one in examples[:count]]
    return [one.source for one in examples[:count]]


def describe(task: Task[Any, Any], examples: Any, count: int, *, colour: bool = False) -> list[str]:
    """Return a few examples with the model's answers, as lines of text; `colour` adds terminal colours."""
    inputs = inputs_of(task, examples, count)
    answers = task.predict(inputs)
    if isinstance(task, ImageClassification):
        pairs = zip(examples.labels, answers, strict=False)
        return [f"picture {number}: {answer.labels[0]} (it is {true})" for number, (true, answer) in enumerate(pairs)]
    if isinstance(task, NamedEntities | Sentiment | LanguageModeling):
        return [_line(task, given, answer, colour) for given, answer in zip(inputs, answers, strict=True)]
    return [
        f"{short(one.source)}\n  -> {answer}\n     (true: {one.target})"
        for one, answer in zip(examples[:count], answers, strict=True)
    ]


def legend(task: Task[Any, Any], examples: Any, count: int) -> str:
    """Return an explanation of the special signs in the text of `describe`; empty if it has none."""
    if not isinstance(task, NamedEntities):
        return ""
    words = {word for one in examples[:count] for word in one.words}
    signs = f" {NEWLINE} is the end of a line of code, {INDENT} and {DEDENT} are a step of indentation more and less."
    code = signs if NEWLINE in words else ""
    return f"[words]label is what the model found to be a name, and of which kind.{code}"


def short(text: str, most: int = 300) -> str:
    """Return a text, shortened if it is long."""
    return text if len(text) <= most else f"{text[:most]} ..."


def _plain(given: str, answer: Any) -> dict[str, Any]:
    if isinstance(answer, Sentence):
        found = [dataclasses.asdict(entity) for entity in answer.entities]
        return {"input": given, "words": answer.words, "tags": answer.tags, "entities": found}
    if isinstance(answer, Verdict):
        return {"input": given, "labels": answer.labels, "probabilities": answer.probabilities}
    return {"input": given, "output": answer}


def _line(task: Task[Any, Any], given: str, answer: Any, colour: bool) -> str:
    if isinstance(answer, Sentence):
        labels = sorted({tag[2:] for tag in getattr(task, "tags_", ()) if tag != "O"})
        return tagged(answer, labels, colour=colour)
    if isinstance(answer, Verdict):
        best = max(answer.probabilities.values())
        return f"{', '.join(answer.labels) or '-'}  ({best:.0%})  {given}"
    return str(answer)


def tagged(sentence: Sentence, labels: list[str], *, colour: bool) -> str:
    """Return a sentence with its entities in brackets, each label in a colour of its own.

    >>> tagged(Sentence(("Ada", "wrote"), ("B-person", "O")), ["person"], colour=False)
    '[Ada]person wrote'
    """
    parts = []
    for text, label in pieces(sentence):
        part = f"[{text}]{label}" if label else text
        if label and colour:
            part = f"\x1b[{COLOURS[labels.index(label) % len(COLOURS)]}m{part}\x1b[0m"
        parts.append(part)
    return " ".join(parts)


def pieces(sentence: Sentence) -> Iterator[tuple[str, str]]:
    """Yield the text of each entity with its label, and each word outside with an empty label.

    >>> list(pieces(Sentence(("Ada", "wrote"), ("B-person", "O"))))
    [('Ada', 'person'), ('wrote', '')]
    """
    place = 0
    for entity in sentence.entities:
        yield from ((word, "") for word in sentence.words[place : entity.start])
        yield entity.text, entity.label
        place = entity.stop
    yield from ((word, "") for word in sentence.words[place:])
