"""One file of named tensors in the safetensors format, with the checks that the format itself has not.

    8 bytes                 length of the header
    header, JSON            dtype, shape and place of each tensor; among its metadata
                            `regard`: what the tensors are, and the CRC-32 of each block of each tensor
                            `crc32`: that of the header itself
    data                    the tensors, little-endian, row by row

Every program that knows safetensors opens it. It is written and read here, since the package `safetensors` writes to
a path alone, opens no member of a zip where it lies, and knows no checks. A part of a tensor is read without the rest:
the blocks that hold it, each checked.
"""

from __future__ import annotations

import math
import re
import struct
import sys
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from ._documents import Fields, canonical, check_of, parsed, refuse
from ._pieces import Piece
from ._rules import Shape

Bytes = bytes | bytearray | memoryview
_BLOCK = 1 << 18
_MOST_HEADER = 16 << 20
_LENGTH = struct.Struct("<Q")
_METADATA, _OURS, _CHECK, _BLOCKS = "__metadata__", "regard", "crc32", "blocks"
_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.bool: "BOOL",
}  # fmt: skip
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}


def tensor_file(tensors: Mapping[str, Tensor], document: dict[str, Any]) -> tuple[list[Bytes], int]:
    """Return the bytes of a file, in parts, and the check of its header."""
    header: dict[str, Any] = {}
    parts: list[Bytes] = []
    blocks, end = {}, 0
    # Wide numbers first, so that each tensor begins at a multiple of its width.
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        data = _bytes_of(tensor)
        blocks[name] = _checks(data)
        place = [end, end := end + len(data)]
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": place}
        parts.append(data)
    metadata = header[_METADATA] = {_OURS: canonical({**document, _BLOCKS: blocks}).decode("ascii")}
    check = check_of(header)
    metadata[_CHECK] = str(check)
    text = canonical(header)
    text += b" " * (-len(text) % 8)
    return [_LENGTH.pack(len(text)) + text, *parts], check


class _Stored(NamedTuple):
    """Where a tensor lies."""

    dtype: torch.dtype
    shape: Shape
    first: int
    checks: tuple[int, ...]


class TensorFile:
    """Tensors that are read when they are asked for. Opening reads the header alone.

    Raises `RecordingFileError` for a file that is damaged, wherever in it; so does `read`.
    """

    def __init__(self, piece: Piece, check: int | None = None) -> None:
        self._piece = piece
        self._where = piece.where
        if piece.size < _LENGTH.size:
            self._refuse(f"has {piece.size} bytes")
        (length,) = _LENGTH.unpack(piece.read(0, _LENGTH.size))
        self._data = _LENGTH.size + length
        if length > _MOST_HEADER or self._data > piece.size:
            self._refuse(f"says its header has {length:,} bytes")
        header = parsed(piece.read(_LENGTH.size, length), self._where)
        told = header.below(_METADATA).value.pop(_CHECK, None)
        is_number = isinstance(told, str) and re.fullmatch("[0-9]{1,10}", told)
        header.verify(header.value, int(told) if is_number else None, check)
        self.document = parsed(header.below(_METADATA).text(_OURS, most=_MOST_HEADER), self._where)
        self._stored = self._table(header)

    def _table(self, header: Fields) -> dict[str, _Stored]:
        blocks, found, end = self.document.below(_BLOCKS), {}, 0
        names = [name for name in header.value if name != _METADATA]
        for name in sorted(names, key=lambda name: header.below(name).wholes("data_offsets")):
            one = header.below(name)
            dtype, shape = _DTYPES.get(one.text("dtype")), one.wholes("shape")
            if dtype is None or len(shape) > 8:
                self._refuse(f"has a tensor {name[:100]!r} of a kind that no recording has")
            size = math.prod(shape) * dtype.itemsize
            if one.wholes("data_offsets") != (end, end + size):
                self._refuse(f"has a tensor {name[:100]!r} that is not where it must be")
            checks = blocks.wholes(name, high=0xFFFFFFFF)
            if len(checks) != -(-size // _BLOCK):
                self._refuse(f"has {len(checks)} checks of {name[:100]!r}")
            found[name] = _Stored(dtype, shape, end, checks)
            end += size
        if self._data + end != self._piece.size:
            self._refuse(f"has {self._piece.size:,} bytes in place of {self._data + end:,}")
        return found

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shape of each tensor."""
        return {name: one.shape for name, one in self._stored.items()}

    @property
    def dtypes(self) -> dict[str, torch.dtype]:
        """The dtype of each tensor."""
        return {name: one.dtype for name, one in self._stored.items()}

    def read(self, name: str, place: Shape = ()) -> Tensor:
        """Return a tensor, or its part at the first indices `place` without reading the rest."""
        one = self._stored[name]
        shape, width = one.shape[len(place) :], one.dtype.itemsize
        count, index = math.prod(shape), 0
        for size, position in zip(one.shape, place, strict=False):
            if not 0 <= position < size:
                raise IndexError(f"{place} lies outside of {name}, {list(one.shape)}.")
            index = index * size + position
        if count == 0:
            return torch.empty(shape, dtype=one.dtype)
        first, last = index * count * width, (index + 1) * count * width
        start, stop = first // _BLOCK, -(-last // _BLOCK)
        end = min(stop * _BLOCK, math.prod(one.shape) * width)
        data = self._piece.read(self._data + one.first + start * _BLOCK, end - start * _BLOCK)
        if _checks(memoryview(data)) != list(one.checks[start:stop]):
            self._refuse(f"holds other numbers of {name} than were written")
        found = torch.frombuffer(data, dtype=torch.uint8, count=last - first, offset=first - start * _BLOCK)
        if one.dtype == torch.bool and bool((found > 1).any()):
            self._refuse(f"holds what is neither true nor false in {name}")
        return _ordered(found, width).view(one.dtype).reshape(shape)

    def _refuse(self, what: str) -> NoReturn:
        refuse(self._where, what)


def _bytes_of(tensor: Tensor) -> memoryview:
    rows = tensor.detach().cpu().contiguous()
    # Of a size that is 1 even a contiguous tensor may have any stride.
    plain = rows.as_strided((rows.numel(),), (1,)).view(torch.uint8)
    return _ordered(plain, tensor.element_size()).numpy().data


def _ordered(data: Tensor, width: int) -> Tensor:
    """Turn bytes from little-endian to the order of this machine, or back."""
    return data if sys.byteorder == "little" else data.reshape(-1, width).flip(1).reshape(-1)


def _checks(data: memoryview) -> list[int]:
    return [zlib.crc32(data[first : first + _BLOCK]) for first in range(0, len(data), _BLOCK)]
