"""Compile the launches of a call for a device that is not here, and read what the assembler says of them.

`python -m tests.triton.ahead` compiles each row of the table of tiles and prints what each kernel takes; it must run
without TRITON_INTERPRET.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from regard import biases
from regard._attention import _prepare
from regard._inputs import AttentionInputs
from regard.backends._compiled import output_rest
from regard.backends.triton import _backward, _bias, _device, _forward, _inspection
from regard.backends.triton._table import ROWS, Row, Tile
from regard.backends.triton.kernels.bias_gradients import along, bias_gradients

DTYPES = {
    torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16", torch.bool: "i1", torch.int32: "i32",
    torch.int64: "i64",
}  # fmt: skip


class Launch(NamedTuple):
    """A kernel as the package would start it."""

    kernel: Any
    arguments: tuple[Any, ...]
    sizes: dict[str, int]
    tile: Tile


def launches(x: AttentionInputs, capability: int, cell: int = 0, backward: bool = False) -> list[Launch]:
    """Return what a call starts on a device of this compute capability; nothing runs."""
    found: list[Launch] = []

    def note(kernel: Any, programs: int, *arguments: Any, tile: Tile, **sizes: int) -> None:
        found.append(Launch(kernel, arguments, sizes, tile))

    with ExitStack() as stack:
        for module in (_forward, _backward, _bias):
            stack.enter_context(patch.object(module, "launch", note))
        stack.enter_context(patch.object(_device, "_asked", lambda device: capability))
        rest = output_rest(x)
        output, lse, _ = _forward.forward(x, cell, rest)
        if backward:
            found.clear()
            _backward.backward(x, output, lse, torch.empty_like(output), lse, (True, True), rest)
    return found


class Built(NamedTuple):
    """What a compiled kernel takes of the machine."""

    registers: int
    """Of a thread."""
    stack: int
    """Bytes of a thread that spill to memory."""
    shared: int
    """Bytes of a program."""
    columns: int
    """Of a program in tensor memory, which devices from 10.0 on have."""


def _signature(argument: Any) -> Any:
    if argument is None or argument is True or (type(argument) is int and argument == 1):
        return "constexpr"
    if isinstance(argument, Tensor):
        return f"*{DTYPES[argument.dtype]}"
    if isinstance(argument, tuple):
        return _like(argument, map(_signature, argument))
    return "i32" if isinstance(argument, int) else "fp32"


def _like(made: tuple[Any, ...], parts: Any) -> tuple[Any, ...]:
    return type(made)(*parts) if hasattr(made, "_fields") else tuple(parts)


def _leaves(argument: Any, path: tuple[int, ...]) -> Any:
    if isinstance(argument, tuple):
        for place, part in enumerate(argument):
            yield from _leaves(part, (*path, place))
    else:
        yield path, argument


def source(kernel: Any, arguments: tuple[Any, ...], sizes: dict[str, int]) -> ASTSource:
    """Return a kernel as it would be compiled for these arguments: aligned pointers, sizes divisible by 16 where so."""
    names = kernel.arg_names
    signature = dict(zip(names, map(_signature, arguments), strict=False)) | dict.fromkeys(sizes, "constexpr")
    constants: dict[tuple[int, ...], Any] = {(names.index(name),): size for name, size in sizes.items()}
    attributes = {}
    for path, leaf in _leaves(arguments, ()):
        if leaf is None or (type(leaf) is int and leaf == 1):
            constants[path] = leaf
        elif isinstance(leaf, Tensor) or (type(leaf) is int and leaf % 16 == 0):
            attributes[path] = [["tt.divisibility", 16]]
    return ASTSource(kernel, signature, constexprs=constants, attrs=attributes)


def compiled(launch: Launch, target: int | str) -> Any:
    """Compile for an NVIDIA device of this compute capability, or an AMD one such as "gfx942"."""
    kernel, arguments, sizes, tile = launch
    gpu = GPUTarget("cuda", target, 32) if isinstance(target, int) else GPUTarget("hip", target, 64)
    options = {"num_warps": tile.warps, "num_stages": tile.stages, "enable_fp_fusion": True}
    return triton.compile(source(kernel, arguments, sizes), target=gpu, options=options)


def built(kernel: Any) -> Built:
    """Read registers, spills and shared memory of what `compiled` gives for an NVIDIA device."""
    program = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(kernel.asm["cubin"])
        said = subprocess.run([program, "-res-usage", file], capture_output=True, text=True, check=True).stdout
    found = {name: int(number) for name, number in re.findall(r"(REG|STACK):(\d+)", said)}
    return Built(found["REG"], found["STACK"], kernel.metadata.shared, getattr(kernel.metadata, "tmem_size", 0) or 0)


def of_row(row: Row) -> list[Launch]:
    """Return what the table's figures are taken from: a causal call of that width, its weights asked for.

    Calls with a bias take the tiles of twice their width, so a row for the gradients of biases is one of half its own.
    """
    dtype = torch.bfloat16 if row.itemsize == 2 else torch.float32
    queries = 1 if row.work == "decode" else 1024
    width = row.width // 2 if row.work == "bias" else row.width
    query = torch.empty(2, 8, queries, width, dtype=dtype)
    key, value = torch.empty(2, 2, 2, 1024, width, dtype=dtype)
    if row.work == "bias":
        x = prepared(query, key, value, bias=biases.RelativeBias(torch.zeros(8, 2047, requires_grad=True)))
        found = launches(x, row.capability, backward=True)
        return [launch for launch in found if launch.kernel in (bias_gradients, along)]
    x = prepared(query, key, value)
    if row.work in ("inspection", "by row"):
        return [launch for launch in looks(x, row.capability) if launch.tile == row.tile]
    found = launches(x, row.capability, row.tile.keys * 2 if row.work == "forward" else 0, row.work == "backward")
    return [launch for launch in found if launch.tile == row.tile]


def looks(x: AttentionInputs, capability: int) -> list[Launch]:
    """Return what the greediest passes of inspection start: cells, keys, many top weights, the summary."""
    found: list[Launch] = []

    def note(kernel: Any, programs: int, *arguments: Any, tile: Tile, **sizes: Any) -> None:
        if all(launch.kernel is not kernel or launch.tile != tile for launch in found):
            found.append(Launch(kernel, arguments, sizes, tile))

    lse, whole = torch.zeros(x.query.shape[:3]), (slice(0, x.shape[2]), slice(0, x.shape[3]))
    with ExitStack() as stack:
        stack.enter_context(patch.object(_inspection, "launch", note))
        stack.enter_context(patch.object(_device, "_asked", lambda device: capability))
        for name in ("tile", "pooled", "received", "top"):
            _inspection.inspect(name, x, lse, *whole, (16, 16), 64)
        _inspection.summary(x, lse, 16)
    return found


def prepared(query: Tensor, key: Tensor, value: Tensor, **arguments: Any) -> AttentionInputs:
    """Return a causal call as a backend is given it."""
    return _prepare(query, key, value, False, {"causal": True, **arguments})[0]


def worst(row: Row) -> Built:
    """Compile a row of the table; return the most that one of its kernels takes."""
    every = [built(compiled(launch, row.capability)) for launch in of_row(row)]
    return Built(*(max(numbers) for numbers in zip(*every, strict=True)))


if __name__ == "__main__":
    for row in ROWS:
        if row.capability >= 80:
            for launch in of_row(row):
                found = built(compiled(launch, row.capability))
                print(*row[:4], tuple(row.tile), launch.kernel.__name__, found, flush=True)
