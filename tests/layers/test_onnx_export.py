"""The call and the layers as ONNX models of standard operators, run by onnxruntime on other sizes than the traced."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from tests.test_tools import SUBJECTS

pytestmark = pytest.mark.filterwarnings("ignore")

NAMES = [name for name in SUBJECTS if name != "layer, hugging face"]
Exporter = Callable[[nn.Module, tuple[Tensor, ...], list[dict[int, str]]], onnx.ModelProto]


def older(module: nn.Module, given: tuple[Tensor, ...], free: list[dict[int, str]]) -> onnx.ModelProto:
    """By the exporter that rests on `torch.jit.trace`."""
    names = [f"input{i}" for i in range(len(given))]
    wrapped = Positional(module).eval()  # it hands over every default by position, which keyword-only arguments refuse
    file = io.BytesIO()
    torch.onnx.export(
        wrapped, given, file, dynamo=False, input_names=names, dynamic_axes=dict(zip(names, free, strict=True))
    )
    return onnx.load_from_string(file.getvalue())


def newer(module: nn.Module, given: tuple[Tensor, ...], free: list[dict[int, str]]) -> onnx.ModelProto:
    """By the exporter that rests on `torch.export`."""
    shapes = tuple(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in free)
    program = torch.onnx.export(
        Positional(module).eval(), given, dynamo=True, verbose=False, dynamic_shapes=(shapes,)
    )  # fmt: skip
    return program.model_proto


class Positional(nn.Module):
    """A module with positional arguments alone."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *tensors: Tensor) -> Tensor:
        """Call it."""
        return self.inner(*tensors)


def check(export: Exporter, name: str) -> None:
    """Export with one size, run with others."""
    build, make = SUBJECTS[name]
    module = build().eval()
    given, other = make(2, 6), make(3, 9)
    free = [
        {i: f"size{k}_{i}" for i, (a, b) in enumerate(zip(x.shape, y.shape, strict=True)) if a != b}
        for k, (x, y) in enumerate(zip(given, other, strict=True))
    ]
    proto = export(module, given, free)
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"}
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for tensors in (other, make(1, 4), make(2, 13)):
        # By the number in their names: what a result does not depend on (the value, of an entropy) is no input.
        fed = {one.name: tensors[int(re.findall(r"\d+", one.name)[-1])].numpy() for one in session.get_inputs()}
        with torch.no_grad():
            expected = module(*tensors)
        torch.testing.assert_close(torch.from_numpy(session.run(None, fed)[0]), expected, atol=5e-5, rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_older_exporter(name: str) -> None:
    """`torch.onnx.export(dynamo=False)`."""
    check(older, name)


@pytest.mark.parametrize("name", ["call, causal", "call, grouped", "layer, attention", "layer, padding"])
def test_newer_exporter(name: str) -> None:
    """`torch.onnx.export(dynamo=True)`."""
    check(newer, name)


def test_program_that_holds_our_operator() -> None:
    """A program of `torch.export` keeps the native operator, and the exporter takes it apart."""
    build, make = SUBJECTS["call, causal"]
    program = torch.export.export(build(), make(2, 6))
    assert any("regard" in str(node.target) for node in program.graph.nodes)
    proto = torch.onnx.export(program, dynamo=True, verbose=False).model_proto
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"}
