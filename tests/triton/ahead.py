"""Compile a kernel for a device that is not here, and read what the assembler says of it."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

DTYPES = {
    torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16", torch.bool: "i1", torch.int32: "i32",
    torch.int64: "i64",
}  # fmt: skip


class Built(NamedTuple):
    """What a compiled kernel takes of the machine."""

    registers: int
    """Of a thread."""
    stack: int
    """Bytes of a thread that spill to memory."""
    shared: int
    """Bytes of a program."""


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


def compiled(
    kernel: Any, arguments: tuple[Any, ...], sizes: dict[str, int], capability: int, warps: int, stages: int
) -> Any:
    """Compile for an NVIDIA device of this compute capability, or an AMD one: "gfx942"."""
    target = GPUTarget("cuda", capability, 32) if isinstance(capability, int) else GPUTarget("hip", capability, 64)
    options = {"num_warps": warps, "num_stages": stages, "enable_fp_fusion": True}
    return triton.compile(source(kernel, arguments, sizes), target=target, options=options)


def built(kernel: Any) -> Built:
    """Read registers, spills and shared memory of what `compiled` gives for an NVIDIA device."""
    program = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(kernel.asm["cubin"])
        said = subprocess.run([program, "-res-usage", file], capture_output=True, text=True, check=True).stdout
    found = {name: int(number) for name, number in re.findall(r"(REG|STACK):(\d+)", said)}
    return Built(found["REG"], found["STACK"], kernel.metadata.shared)
