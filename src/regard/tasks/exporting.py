"""A trained task as programs that run without regard: ONNX, or PyTorch's own `torch.export`.

Beside the programs lie `export.json`, which says what goes in, what comes out and how texts become numbers, and the
tokenizer. What is written is first run on other sizes than it was traced with and compared with the model.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from .. import _files
from .._values import choice, instance
from ..backends import use_backend
from ..errors import MissingExtraError, RegardError, install_line
from ._programs import Described, Program, described
from ._task import Task

__all__ = ["ExportError", "Exported", "Format", "export"]

Format = Literal["onnx", "torch"]
FORMATS = ("onnx", "torch")
DESCRIPTION, TOKENIZER = "export.json", "tokenizer.json"

# Batch and length of the traced call, and of the calls that check the program.
TRACED = (2, 7)
CHECKED = ((1, 1), (1, 12), (3, 5), (4, 33))
# Largest difference of a number that rounding explains, absolute and relative.
TOLERANCE = 2e-4


class ExportError(RegardError, RuntimeError):
    """A model that cannot be exported, or a program that does not compute what the model does."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    files: tuple[Path, ...]
    predict_uses: str
    """What the task itself answers by: the `model`, which is in the programs, or `baseline` or `mix`, which are not."""
    difference: float
    """Largest difference between a program's and the model's numbers, over the calls that were compared."""


def export(task: Task[Any, Any], folder: str | os.PathLike[str], to: Format = "onnx") -> Exported:
    """Write a fitted task's model as programs into a folder, and check them.

    Args:
        task: a task that was fitted or loaded.
        folder: made if it does not exist; files of an earlier export in it are replaced.
        to: `onnx` (.onnx, standard operators of the ai.onnx domain alone) or `torch` (.pt2, which `torch.export.load`
            reads).

    Batch and lengths are free. Attention is computed by PyTorch's operators, with the tolerance of rounding. Of
    translation and summarization there are two programs, encoder and decoder. What is random or a search (sampling,
    beams) is no part of a program.

    Raises:
        ArgumentError: an unknown format.
        NotFittedError: the task has learnt nothing.
        ExportError: the model cannot be exported, or the program differs from it.
        MissingExtraError: ONNX needs the packages of the extra `export`.

    Cost: some seconds for each program.
    """
    instance("task", task, Task, "a fitted task")
    instance("folder", folder, (str, os.PathLike), "a path")
    choice("to", to, FORMATS)
    found = described(task)
    if found is None:
        raise ExportError(
            f"The model of this {task.name} is a {type(task.model_).__name__}, of which regard has no program to "
            "export; export it with the tools of its own library."
        )
    folder = Path(folder)
    write = _onnx if to == "onnx" else _pt2
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)  # written last: without it the folder is unfinished
    files, difference = [], 0.0
    for program in found.programs:
        program.module.eval()
        path, run = write(program, folder)
        files.append(path)
        difference = max(difference, _difference(program, run))
    if found.tokenizer is not None:
        files.append(folder / TOKENIZER)
        _files.write(files[-1], found.tokenizer.encode())
    text = json.dumps(_description(task, found, files, to, difference), ensure_ascii=False, indent=1)
    files.append(folder / DESCRIPTION)
    _files.write(files[-1], text.encode())
    return Exported(folder, tuple(files), task.choice_.name, difference)


Run = Callable[[Sequence[Tensor]], list[Tensor]]


def _traced(program: Program) -> ExportedProgram:
    shapes = tuple(
        {place: Dim.DYNAMIC for place, axis in enumerate(port.axes) if isinstance(axis, str)} for port in program.inputs
    )
    with torch.no_grad(), use_backend("math"), warnings.catch_warnings(action="ignore"):
        try:
            # Weights that could learn would be differentiated inside the program's loops.
            module = copy.deepcopy(program.module).requires_grad_(False)
            return torch.export.export(module, program.example(*TRACED), dynamic_shapes=shapes, strict=False)
        except Exception as error:
            raise ExportError(f"The {program.name} cannot be traced: {_first(error)}") from error


def _pt2(program: Program, folder: Path) -> tuple[Path, Run]:
    path = folder / f"{program.name}.pt2"
    with warnings.catch_warnings(action="ignore"), _silenced():
        torch.export.save(_traced(program), path)
        module = torch.export.load(path).module()

    def run(given: Sequence[Tensor]) -> list[Tensor]:
        found = module(*given)
        return [found] if isinstance(found, Tensor) else list(found)

    return path, run


def _onnx(program: Program, folder: Path) -> tuple[Path, Run]:
    try:
        import onnxruntime  # type: ignore[import-untyped,unused-ignore]
        import onnxscript  # noqa: F401 - torch.onnx writes through it
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"ONNX needs {error.name}: {install_line('export')}.") from error
    path = folder / f"{program.name}.onnx"
    names = [port.name for port in program.inputs]
    with torch.no_grad(), warnings.catch_warnings(action="ignore"), _silenced():
        try:
            made: Any = torch.onnx.export(
                _traced(program),
                dynamo=True,
                verbose=False,
                input_names=names,
                output_names=[port.name for port in program.outputs],
                optimize=True,
            )
            made.save(str(path))
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(f"The {program.name} cannot be written as ONNX: {_first(error)}") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(given: Sequence[Tensor]) -> list[Tensor]:
        known = {one.name for one in session.get_inputs()}
        fed = {name: tensor.numpy() for name, tensor in zip(names, given, strict=True) if name in known}
        return [torch.from_numpy(np.asarray(one)) for one in session.run(None, fed)]

    return path, run


def _difference(program: Program, run: Run) -> float:
    """Compare a program with the module; return the largest difference, raise if rounding does not explain it."""
    largest = 0.0
    generator = torch.random.get_rng_state()
    try:
        torch.manual_seed(0)
        for batch, length in CHECKED:
            with torch.no_grad():
                given = program.example(batch, length)
                expected = program.module(*given)
                outputs = run(given)
            truth = [expected] if isinstance(expected, Tensor) else expected
            for port, found, true in zip(program.outputs, outputs, truth, strict=True):
                if found.shape != true.shape or not torch.allclose(found, true, rtol=TOLERANCE, atol=TOLERANCE):
                    raise ExportError(
                        f"The exported {program.name} differs from the model in {port.name!r} of {batch} inputs of "
                        f"length {length}; it was written to {program.name} and must not be used."
                    )
                if found.is_floating_point() and found.numel():
                    largest = max(largest, float((found - true).abs().max()))
    finally:
        torch.random.set_rng_state(generator)
    return largest


def _description(
    task: Task[Any, Any], found: Described, files: Sequence[Path], to: Format, difference: float
) -> dict[str, Any]:
    return {
        "task": task.name,
        "format": to,
        "holds": "the transformer alone",
        "predict_uses": task.choice_.name,
        "programs": {
            program.name: {
                "file": path.name,
                "inputs": [asdict(port) for port in program.inputs],
                "outputs": [asdict(port) for port in program.outputs],
            }
            for program, path in zip(found.programs, files, strict=False)
        },
        "tokenizer": None if found.tokenizer is None else TOKENIZER,
        **found.values,
        "checked": {"batch_and_length": CHECKED, "largest_difference": difference, "torch": torch.__version__},
    }


@contextmanager
def _silenced() -> Iterator[None]:
    """Leave out what the exporters report of their own insides (that torchvision is not there, say)."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch._export")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _first(error: BaseException) -> str:
    """Return the first line of the error that began it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().split("\n")[0] or type(error).__name__
