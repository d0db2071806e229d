"""`regard predict FOLDER`: a trained task's answers to new inputs."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from .. import _files
from ..errors import ArgumentError
from ..tasks import ImageClassification, LanguageModeling, NamedEntities, Sentence, Sentiment, Task, Verdict, load
from ..tasks.filling import Inputs
from ._data import WithReading, learnt_from, read_pictures, reading_of
from ._inputs import fields_of, in_one_line, sources_of, standard_input
from ._looking import open_page, view_of
from ._progress import showing

# Terminal colours of entity labels, in the order of the sorted labels.
COLOURS = (36, 33, 32, 35, 34, 31)
# How `corpora.code_entities` writes the end of a line of code, and its indentation.
NEWLINE, INDENT, DEDENT = "⏎", "→", "←"


@dataclass(frozen=True)
class Predict(WithReading):
    """Print a trained task's answers to texts, or to files in every format that `regard train` reads.

    A file comes back in its own format, with labels, confidence and, of entities, the characters they are at; order
    and number of the answers are those of the inputs. The options of the task's reader are those of its training, and
    may be given anew: `regard predict RUN --help` lists them.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder that `regard train --out` wrote."""
    inputs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Texts; or tables, CoNLL files, pictures, folders, and text files that are one text each; none: standard input.
    A file may have columns of its own: b.csv:text=review."""
    file: tuple[str, ...] = ()
    """Read inputs from these files; a file that is no table has a text a line."""
    whole: bool | None = None
    """Whether a file of plain text is one text, line ends and all; unless given, one text a line from --file and
    standard input, except if texts of the training data have several lines."""
    out: Path | None = None
    """Write the inputs with their answers to this file, in the format of the input; of several files to this
    folder."""
    page: Path | None = None
    """Write the page of the model's attention on the first input to this .html file."""
    open: bool = False
    """Open that page in the browser; it is attention.html in the task's folder unless --page names another."""
    json: bool = False
    """Print one JSON object for each input, for scripts."""

    def run(self) -> int:
        """Print the answers, in the order of the inputs."""
        task = load(self.folder)
        options, learnt = reading_of(self, task.name), learnt_from(self.folder)
        if self.inputs and self.file:
            raise ArgumentError("Texts and --file were given; the inputs are one or the other.")
        given = (*self.inputs, *self.file)
        if given and "-" not in given:
            return self._answered(task, options, learnt, self.inputs, self.file)
        with standard_input(task.name, options, learnt) as path:
            files = [path if one == "-" else one for one in given] or [path]
            return self._answered(task, options, learnt, (), files, path)

    def _answered(
        self,
        task: Task[Any, Any],
        options: Any,
        learnt: Mapping[str, Any],
        words: Sequence[str],
        files: Sequence[str],
        given: str = "",
    ) -> int:
        """Answer; `given` is the path of the file that stands for standard input."""
        several = len(words) + len(files) > 1
        base = Path() if self.out is None else self.out if several else self.out.parent
        found = sources_of(task, words, files, options, learnt, self.whole, base)
        if not any(inputs.values for _, inputs in found):
            raise ArgumentError("There is nothing to predict: give texts, --file, or lines on standard input.")
        first: Any = None
        for name, inputs in found:
            ready: Any = inputs.values
            if isinstance(task, ImageClassification) and ready and isinstance(ready[0], Path):
                ready = read_pictures(ready, self.folder, task.shape_, inputs.notes)
            with showing(task, "predicting"):
                answers = task.predict(ready) if inputs.values else []
            first = ready[0] if first is None and inputs.values else first
            self._say(task, "standard input" if name == given else name, inputs)
            self._give(task, inputs, answers)
            if self.out is not None or not (self.json or _for_people(inputs)):
                self._write(name, inputs.write([fields_of(task, answer, options) for answer in answers]), len(found))
        if self.page is not None or self.open:
            self._show(task, first, first if isinstance(first, str) else found[0][0])
        return 0

    def _give(self, task: Task[Any, Any], inputs: Inputs, answers: Sequence[Any]) -> None:
        """Print answers as JSON, or as lines for people where inputs are plain text, or pictures."""
        # Pictures without files of their own are named by their number.
        shown = [str(number) if hasattr(one, "ndim") else one for number, one in enumerate(inputs.values)]
        if self.json:
            for value, answer in zip(shown, answers, strict=True):
                print(json.dumps(_plain(value, answer), ensure_ascii=False))
        elif self.out is None and _for_people(inputs):
            one = len(shown) == 1 and bool(self.inputs)
            for value, answer in zip(shown, answers, strict=True):
                line = _line(task, value, answer, sys.stdout.isatty())
                print(line if one else in_one_line(line))

    def _show(self, task: Task[Any, Any], first: Any, name: str) -> None:
        """Write the page of the attention on the first input, and open it if that was asked for."""
        path = self.page or self.folder / "attention.html"
        view_of(task.attention(first), f"{task.name}: {short(name, 60)}", first).save(path)
        print(f"What it attends to: {path}", file=sys.stderr)
        if self.open:
            open_page(path)

    def _say(self, task: Task[Any, Any], name: str, inputs: Inputs) -> None:
        """Say on standard error how a file was read, and what was left out."""
        if inputs.notes.reading:
            more = ""
            if inputs.lines and len(inputs.values) > 1 and not isinstance(task, ImageClassification):
                more = "; --whole True reads it as one"
            print(f"Read {name}: {inputs.notes.reading}{more}.", file=sys.stderr)
        if isinstance(task, NamedEntities) and any(isinstance(value, str) for value in inputs.values):
            print(f"Note: {task.cutting_}.", file=sys.stderr)
        for row in inputs.notes.left_out:
            print(f"Left out: {row}", file=sys.stderr)

    def _write(self, name: str, contents: bytes, count: int) -> None:
        """Write a source with its answers, to a file or to standard output."""
        if self.out is None:
            if not contents.startswith(b"PAR1"):
                print(contents.decode("utf-8"), end="")
                return
            raise ArgumentError("Parquet is not for a terminal: give --out x.parquet, or --json.")
        path = self.out / Path(name.partition(":")[0]).name if count > 1 else self.out
        if path.exists() and Path(name).exists() and path.samefile(name):
            raise ArgumentError(f"--out {path} is the input itself, which would be lost; give another name.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not path.is_file():  # a pipe, or /dev/stdout
                path.write_bytes(contents)
            else:
                _files.write(path.resolve(), contents)
        except OSError as error:
            raise ArgumentError(f"--out {path} cannot be written: {error}") from error
        print(f"Written: {path}", file=sys.stderr)


def _for_people(inputs: Inputs) -> bool:
    """Return whether the answers are lines for people unless a file is asked for."""
    return inputs.lines or bool(inputs.values and isinstance(inputs.values[0], Path))


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


def _plain(given: Any, answer: Any) -> dict[str, Any]:
    given = str(given) if isinstance(given, Path) else given
    if isinstance(answer, Sentence):
        found = [dataclasses.asdict(entity) for entity in answer.entities]
        return {"input": given, "words": answer.words, "tags": answer.tags, "entities": found}
    if isinstance(answer, Verdict):
        return {"input": given, "labels": answer.labels, "probabilities": answer.probabilities}
    return {"input": given, "output": answer}


def _line(task: Task[Any, Any], given: Any, answer: Any, colour: bool) -> str:
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
