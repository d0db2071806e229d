"""`regard predict FOLDER`: what a trained task says of new inputs."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..errors import ArgumentError
from ..tasks import ImageClassification, Sentence, Task, Verdict, load
from ._data import read_pictures

__all__ = ["Predict"]

# Colours of entity labels in a terminal, by the order in which labels are sorted.
COLOURS = (36, 33, 32, 35, 34, 31)


@dataclass(frozen=True)
class Predict:
    """Say what a trained task makes of texts or pictures: arguments, lines of a file, or lines of standard input."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder that `regard train --out` wrote."""
    inputs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Texts, or picture files; none: lines of standard input."""
    file: Path | None = None
    """Read inputs from this file, one a line."""
    json: bool = False
    """Print one JSON object a line, for scripts."""

    def run(self) -> int:
        """Print one answer a line, in the order of the inputs."""
        task = load(self.folder)
        inputs = self._inputs()
        if not inputs:
            raise ArgumentError("There is nothing to predict: give texts, --file, or lines on standard input.")
        pictures = isinstance(task, ImageClassification)
        answers = task.predict(read_pictures(inputs, task.shape_) if pictures else inputs)
        for given, answer in zip(inputs, answers, strict=True):
            print(json.dumps(_plain(given, answer), ensure_ascii=False) if self.json else _line(task, given, answer))
        return 0

    def _inputs(self) -> list[str]:
        if self.inputs:
            return list(self.inputs)
        if self.file is not None:
            try:
                return self.file.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise ArgumentError(f"{self.file} cannot be read as UTF-8 text: {error}.") from error
        return sys.stdin.read().splitlines()


def _plain(given: str, answer: Any) -> dict[str, Any]:
    if isinstance(answer, Sentence):
        found = [dataclasses.asdict(entity) for entity in answer.entities]
        return {"input": given, "words": answer.words, "tags": answer.tags, "entities": found}
    if isinstance(answer, Verdict):
        return {"input": given, "labels": answer.labels, "probabilities": answer.probabilities}
    return {"input": given, "output": answer}


def _line(task: Task[Any, Any], given: str, answer: Any) -> str:
    if isinstance(answer, Sentence):
        labels = sorted({tag[2:] for tag in getattr(task, "tags_", ()) if tag != "O"})
        return tagged(answer, labels, colour=sys.stdout.isatty())
    if isinstance(answer, Verdict):
        best = max(answer.probabilities.values())
        return f"{', '.join(answer.labels) or '-'}  ({best:.0%})  {given}"
    return str(answer)


def tagged(sentence: Sentence, labels: list[str], *, colour: bool) -> str:
    """Return a sentence with its entities in brackets, each label in a colour of its own.

    >>> tagged(Sentence(("Ada", "wrote"), ("B-person", "O")), ["person"], colour=False)
    '[Ada]person wrote'
    """
    words, place = [], 0
    for entity in sentence.entities:
        words += sentence.words[place : entity.start]
        text = f"[{entity.text}]{entity.label}"
        if colour:
            text = f"\x1b[{COLOURS[labels.index(entity.label) % len(COLOURS)]}m{text}\x1b[0m"
        words.append(text)
        place = entity.stop
    return " ".join([*words, *sentence.words[place:]])
