"""How a recording lies on disk: a Zarr v3 hierarchy, version 1.

    zarr.json                     coverage; once the run has ended, the check of each call
    calls/zarr.json
    calls/000000/zarr.json        the call: key, module, number, door, sizes, scale ..., checks of each chunk
    calls/000000/map/0 …          map of the whole matrix, coarsest first; the last is the one that was kept
    calls/000000/entropy …        one array for each field of `Summary`
    calls/000000/exact/query …    one array for each field of `Parts`, with keep="exact"
    texts/0/bytes …               tokens, words, labels and images: `_text_columns.py`

Every chunk is plain little-endian numbers and their CRC-32C, which any reader of Zarr checks. Besides, each document
of ours carries the CRC-32 of its own attributes and of all that lies below it, so that a chunk that was swapped for
another whole one is noticed too. A chunk that is missing was not recorded: NaN, or -2 in integers, where no such
number occurs.
"""

from __future__ import annotations

import itertools
import json
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import MissingExtraError, install_line

__all__ = [
    "CHECK",
    "FORMAT",
    "MISSING",
    "OURS",
    "PARTIAL",
    "VERSION",
    "Put",
    "call_path",
    "check_of",
    "checksum",
    "chunk_names",
    "fill_of",
    "group_document",
    "stored_dtype",
    "write_array",
]

Put = Callable[[str, bytes], None]
FORMAT, VERSION = "regard recording", 1
# The attribute of each group that is ours, and the one with its check.
OURS, CHECK = "regard", "regard_crc32"
MISSING = -2
# Bytes of a chunk, at most, unless one row is more.
_CHUNK = 1 << 20
# How dtypes lie on disk, where not as they are: Zarr has no bfloat16, and a bool could not say "not recorded".
_STORED = {torch.bfloat16: torch.float32, torch.bool: torch.int8}


# What is being written lies here until it is complete; no reader of Zarr takes it for a part. Below `old` is a call
# that is being replaced, until the new one stands in its place.
PARTIAL = ".partial"


def call_path(position: int) -> str:
    """Return the folder of a call."""
    return f"calls/{position:06d}"


def canonical(document: Any) -> bytes:
    """Write a document in the one way that its check is taken over."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def check_of(ours: dict[str, Any]) -> int:
    """Return the CRC-32 of our attributes."""
    return zlib.crc32(canonical(ours))


def group_document(ours: dict[str, Any] | None = None) -> bytes:
    """Return the `zarr.json` of a group."""
    attributes = {} if ours is None else {OURS: ours, CHECK: check_of(ours)}
    return canonical({"zarr_format": 3, "node_type": "group", "attributes": attributes})


def array_document(shape: tuple[int, ...], dtype: str, chunk: tuple[int, ...], names: list[str]) -> bytes:
    """Return the `zarr.json` of an array."""
    endian = {} if dtype in ("int8", "uint8") else {"configuration": {"endian": "little"}}
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": "NaN" if dtype.startswith("float") else fill_of(dtype),
        "codecs": [{"name": "bytes", **endian}, {"name": "crc32c"}],
        "dimension_names": names,
        "attributes": {},
    }
    return canonical(document)


def stored_dtype(dtype: torch.dtype) -> str:
    """Return Zarr's name of the dtype that a tensor is stored in."""
    return str(_STORED.get(dtype, dtype)).removeprefix("torch.")


def fill_of(dtype: str) -> float | int:
    """Return what stands for "not recorded"."""
    return math.nan if dtype.startswith("float") else 0 if dtype == "uint8" else MISSING


def as_stored(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor's numbers as they lie on disk."""
    plain = tensor.detach().cpu()
    array = plain.to(_STORED.get(plain.dtype, plain.dtype)).numpy()
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def chunk_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Cut an array into chunks of one size: whole in the last dimensions, single in the first."""
    chunk, room = list(shape), _CHUNK // itemsize
    for place in reversed(range(len(shape))):
        fits = max(1, min(shape[place], room))
        parts = -(-shape[place] // fits)
        chunk[place] = max(1, -(-shape[place] // max(1, parts)))  # as even as can be: the last one is padded
        room = room // chunk[place] if parts <= 1 else 1
    return tuple(chunk)


def chunk_names(shape: tuple[int, ...], chunk: tuple[int, ...]) -> Iterator[tuple[str, tuple[slice, ...]]]:
    """Yield the name of each chunk below its array, and its place in it, in the order of their checks."""
    counts = (range(-(-size // step)) for size, step in zip(shape, chunk, strict=True))
    for index in itertools.product(*counts):
        place = tuple(
            slice(i * step, min((i + 1) * step, size)) for i, step, size in zip(index, chunk, shape, strict=True)
        )
        yield ".".join(("c", *map(str, index))), place


def chunks_of(array: NDArray[Any], chunk: tuple[int, ...], dtype: str) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each chunk."""
    crc = checksum()
    for name, place in chunk_names(array.shape, chunk):
        part = array[place]
        if part.shape != chunk:  # every chunk has the full size
            part, inside = np.full(chunk, fill_of(dtype), array.dtype), part
            part[tuple(slice(0, size) for size in inside.shape)] = inside
        plain = part.tobytes()
        yield name, plain + struct.pack("<I", crc(plain))


def write_array(put: Put, path: str, tensor: Tensor, names: list[str]) -> dict[str, Any]:
    """Write an array through `put(name, data)`; return what the document above it says of it."""
    array, dtype = as_stored(tensor), stored_dtype(tensor.dtype)
    chunk = chunk_shape(array.shape, array.dtype.itemsize)
    put(f"{path}/zarr.json", array_document(array.shape, dtype, chunk, names))
    checks = []
    for place, data in chunks_of(array, chunk, dtype):
        put(f"{path}/{place}", data)
        checks.append(zlib.crc32(data))
    kind = str(tensor.dtype).removeprefix("torch.")
    return {"shape": list(array.shape), "torch": kind, "chunk": list(chunk), "crc32": checks}


def checksum() -> Callable[[bytes], int]:
    """Return the function for CRC-32C; raises `MissingExtraError`."""
    try:
        import google_crc32c
    except ImportError:
        raise MissingExtraError(
            f"Recordings are written with google-crc32c: {install_line('view')}. Reading needs nothing more."
        ) from None
    found: Callable[[bytes], int] = google_crc32c.value
    return found
