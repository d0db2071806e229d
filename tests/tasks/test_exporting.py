"""What is exported, run as by somebody without regard: onnxruntime, the package tokenizers, and export.json."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tokenizers
import torch

from regard.cli import main
from regard.errors import ArgumentError
from regard.tasks import NotFittedError, Task, exporting
from regard.tasks._programs import Program
from regard.tasks.exporting import ExportError, Run, export
from regard.training import Budget

from .small import CASES

# What a task may be set to that changes its program.
SETTINGS: dict[str, dict[str, Any]] = {
    "ner": {"repeats": True},
    "sentiment": {"pooling": "class"},
    "summarization": {"copying": True, "beams": 1, "no_repeat_ngram_size": 0},
    "translation": {"beams": 1},
}


@pytest.fixture(scope="module")
def fitted() -> dict[str, Task[Any, Any]]:
    """Every task, trained for a moment: not sure, so that small differences would show."""
    found = {}
    for name, case in CASES.items():
        training = dataclasses.replace(case.settings().training, budget=Budget(epochs=None, steps=8))
        settings = case.settings(training=training, only="model")
        changes = {key: value for key, value in SETTINGS.get(name, {}).items() if hasattr(settings, key)}
        found[name] = case.task(dataclasses.replace(settings, **changes)).fit(case.train, case.test)
    return found


class Programs:
    """A folder with what was exported as ONNX."""

    def __init__(self, folder: Path) -> None:
        self.about = json.loads((folder / "export.json").read_text("utf-8"))
        self.sessions = {
            name: onnxruntime.InferenceSession(str(folder / one["file"]), providers=["CPUExecutionProvider"])
            for name, one in self.about["programs"].items()
        }
        told = self.about["tokenizer"]
        self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / told)) if told else None

    def run(self, name: str, **inputs: Any) -> dict[str, Any]:
        """Run a program; check that inputs and outputs are as they are described."""
        session, about = self.sessions[name], self.about["programs"][name]
        assert [one.name for one in session.get_inputs()] == [one["name"] for one in about["inputs"]] == list(inputs)
        given = {one["name"]: np.asarray(inputs[one["name"]], one["dtype"]) for one in about["inputs"]}
        found = session.run([one["name"] for one in about["outputs"]], given)
        sizes: dict[str, int] = {}
        for one, array in zip([*about["inputs"], *about["outputs"]], [*given.values(), *found], strict=True):
            assert str(array.dtype) == one["dtype"]
            for axis, size in zip(one["axes"], array.shape, strict=True):
                assert size == (sizes.setdefault(axis, size) if isinstance(axis, str) else axis)
        return dict(zip([one["name"] for one in about["outputs"]], found, strict=True))

    def numbers(self, texts: Sequence[str], most: int) -> list[list[int]]:
        """Return the tokens of texts."""
        assert self.tokenizer is not None
        return [self.tokenizer.encode(text, add_special_tokens=False).ids[:most] for text in texts]


def filled(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray[Any, Any], list[int]]:
    """Return rows in one array, and their lengths."""
    lengths = [len(row) for row in rows]
    return np.array([[*row, *[0] * (max(lengths) - len(row))] for row in rows]), lengths


def tags_of(programs: Programs, sentences: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Return the tags of sentences."""
    about = programs.about
    words = {word: number for number, word in enumerate(about["words"])}
    letters = {letter: number for number, letter in enumerate(about["characters"])}
    half = about["max_characters"] // 2
    rows, spelled = [], []
    for sentence in sentences:
        rows.append([words.get(word.lower() if about["lowercase"] else word, 1) for word in sentence])
        cut = [word if len(word) <= 2 * half else word[:half] + word[-half:] for word in sentence]
        spelled.append([[letters.get(letter, 1) for letter in word] for word in cut])
    table, lengths = filled(rows)
    width = max(len(word) for sentence in spelled for word in sentence)
    characters = np.zeros((*table.shape, width), np.int64)
    for row, sentence in zip(characters, spelled, strict=True):
        for place, word in zip(row, sentence, strict=False):
            place[: len(word)] = word
    found = programs.run("model", words=table, characters=characters, lengths=lengths)["tags"]
    return [tuple(about["tags"][tag] for tag in row[:n]) for row, n in zip(found, lengths, strict=True)]


def labels_of(programs: Programs, found: dict[str, Any]) -> tuple[list[tuple[str, ...]], Any]:
    """Return the labels, as export.json says, and all probabilities."""
    about, answers = programs.about, []
    for row in found["probabilities"]:
        likely = zip(about["labels"], row, about.get("thresholds") or row, strict=True)
        above = tuple(label for label, share, bound in likely if share > bound)
        alone = not about.get("several") or (about["always_one"] and not above)
        answers.append((about["labels"][row.argmax()],) if alone else above)
    return answers, found["probabilities"]


def written_by(programs: Programs, texts: Sequence[str]) -> list[str]:
    """Return targets, by the greedy search that export.json describes."""
    about = programs.about
    source, lengths = filled([[*row, about["end"]] for row in programs.numbers(texts, about["max_source"] - 1)])
    memory = programs.run("encoder", source=source, lengths=lengths)["memory"]
    target = np.full((len(texts), 1), about["begin"])
    for _ in range(about["max_target"]):
        found = programs.run("decoder", target=target, memory=memory, source=source, lengths=lengths)
        target = np.concatenate((target, found["log_probabilities"].argmax(-1)[:, None]), 1)
    assert programs.tokenizer is not None
    rows = [row[1:].tolist() for row in target]
    cut = [row[: row.index(about["end"])] if about["end"] in row else row for row in rows]
    return [programs.tokenizer.decode(row, skip_special_tokens=True) for row in cut]


def check_answers(programs: Programs, task: Task[Any, Any], name: str) -> None:
    """Compare the answers with the transformer's own, for batches of several sizes."""
    case, name = CASES[name], task.name
    inputs = list(case.inputs)
    if name == "ner":
        inputs = [tuple(one.words) for one in case.test[:9]] + [("Ada",), ("unheard", "of", "Wörter"), ("x" * 40,) * 30]
    elif name in ("sentiment", "translation", "summarization"):
        inputs = [getattr(one, "text", None) or one.source for one in case.test[:9]]
    elif name == "image_classification":
        inputs = list(case.test.pixels[:9])
    for some in (inputs, inputs[:1], inputs[1:3]):
        given = np.stack(some) if name == "image_classification" else some
        true = task._used(given, 1.0) if hasattr(task, "settled_") else task._answers(task.model_, given)
        if name == "ner":
            assert tags_of(programs, some) == [one.tags for one in true]
        elif name == "sentiment":
            tokens, lengths = filled(programs.numbers(some, programs.about["max_length"]))
            labels, shares = labels_of(programs, programs.run("model", tokens=tokens, lengths=lengths))
            check_verdicts(labels, shares, true)
        elif name == "image_classification":
            check_verdicts(*labels_of(programs, programs.run("model", pixels=np.stack(some))), true)
        elif name == "language_modeling":
            for text in some:
                row = programs.numbers([text], programs.about["context"])
                scores = programs.run("model", tokens=row)["scores"]
                with torch.no_grad():
                    expected = task.model_(torch.tensor(row))
                np.testing.assert_allclose(scores, expected.numpy(), atol=1e-4)
        else:
            assert written_by(programs, some) == true


def check_verdicts(labels: list[tuple[str, ...]], shares: Any, true: Sequence[Any]) -> None:
    """Compare labels and probabilities."""
    assert labels == [one.labels for one in true]
    np.testing.assert_allclose(shares, [list(one.probabilities.values()) for one in true], atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_onnx(fitted: dict[str, Task[Any, Any]], name: str, tmp_path: Path) -> None:
    """Of every task the answers are those of the model, and the operators are standard ones."""
    found = export(fitted[name], tmp_path / "out", "onnx")
    assert {path.name for path in found.files} == {path.name for path in (tmp_path / "out").iterdir()}
    assert found.difference < 1e-4
    for path in found.files:
        if path.suffix == ".onnx":
            assert {node.domain for node in onnx.load(path).graph.node} <= {"", "ai.onnx"}
    check_answers(Programs(tmp_path / "out"), fitted[name], name)


@pytest.mark.parametrize("name", ["ner", "translation"])
def test_torch(fitted: dict[str, Task[Any, Any]], name: str, tmp_path: Path) -> None:
    """A program of torch.export holds PyTorch's operators alone, and runs other sizes than the traced."""
    found = export(fitted[name], tmp_path, "torch")
    assert found.difference < 1e-4
    for path in found.files:
        if path.suffix == ".pt2":
            program = torch.export.load(path)
            assert not any("regard" in str(node.target) for node in program.graph.nodes)


def test_the_command(fitted: dict[str, Task[Any, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`regard export RUN` writes into the run's folder, and says what was compared."""
    fitted["image_classification"].save(tmp_path)
    assert main(["export", str(tmp_path), "--to", "torch"]) == 0
    assert "model.pt2, export.json" in capsys.readouterr().out
    assert main(["export", str(tmp_path), "--to", "torch", "--out", str(tmp_path / "new"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == ["model.pt2", "export.json"]
    assert main(["export", str(tmp_path / "nowhere")]) == 2
    assert "holds no finished task" in capsys.readouterr().err


def test_what_cannot_be_exported(fitted: dict[str, Task[Any, Any]], tmp_path: Path) -> None:
    """A task that has learnt nothing, another format, a model that is none of ours, one that does not compute."""
    case = CASES["ner"]
    with pytest.raises(NotFittedError, match="has learnt nothing"):
        export(case.task(case.settings()), tmp_path)
    with pytest.raises(ArgumentError, match="Did you mean 'onnx'"):
        export(fitted["ner"], tmp_path, "onxn")  # type: ignore[arg-type]
    other = case.task(case.settings())
    other.model_ = torch.nn.Linear(2, 2)
    with pytest.raises(ExportError, match="is a Linear"):
        export(other, tmp_path)
    assert not (tmp_path / "export.json").exists()


def test_a_difference_is_an_error(
    fitted: dict[str, Task[Any, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that does not compute what the model does is not sold as one."""

    def off(program: Program, folder: Path) -> tuple[Path, Run]:
        path, run = written(program, folder)
        return path, lambda given: [one + 1e-2 for one in run(given)]

    written = exporting._pt2
    monkeypatch.setattr(exporting, "_pt2", off)
    with pytest.raises(ExportError, match="differs from the model in 'scores'"):
        export(fitted["image_classification"], tmp_path, "torch")
    assert not (tmp_path / "export.json").exists()
