"""One array of a recording, put together from its chunks: each of the right size and check, what is missing named."""

from __future__ import annotations

import math
import warnings
import zlib
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import RecordingFileError
from ._archive import Archive
from ._document import StoredArray
from ._format import chunk_names, fill_of, stored_dtype

__all__ = ["NotRecordedWarning", "PieceReader"]

# An array of which chunks are missing may be so many times as large as what is there, and a bit.
_MOST_GROWTH, _SPARE = 64, 16 << 20
_CRC = 4


class NotRecordedWarning(UserWarning):
    """A call could not be recorded; or parts of what was read are missing: NaN (-2 in integers), never zero."""


class PieceReader:
    """Reads the arrays below a folder of an archive."""

    def __init__(self, archive: Archive, folder: str, whose: str) -> None:
        self._archive, self._folder, self._whose = archive, folder, whose

    def read(self, path: str, stored: StoredArray) -> NDArray[Any]:
        """Return an array as it lies on disk; raises `RecordingFileError`."""
        name = stored_dtype(getattr(torch, stored.torch))
        dtype = np.dtype(name).newbyteorder("<")
        expected = math.prod(stored.chunk) * dtype.itemsize + _CRC
        places = [
            (f"{self._folder}/{path}/{chunk}", place, check)
            for (chunk, place), check in zip(chunk_names(stored.shape, stored.chunk), stored.crc32, strict=True)
        ]
        sizes = [self._archive.size(chunk) for chunk, _, _ in places]
        there = [size for size in sizes if size is not None]
        if any(size != expected for size in there):
            self.refuse(path, f"has a chunk that is not of {expected:,} bytes")
        needed, most = math.prod(stored.shape) * dtype.itemsize, _MOST_GROWTH * sum(there) + _SPARE
        if needed > most:
            self.refuse(path, f"needs {needed:,} bytes of memory; with {sum(there):,} on disk {most:,} are allowed")
        array = np.full(stored.shape, fill_of(name), dtype)
        for (chunk, place, check), size in zip(places, sizes, strict=True):
            if size is not None:
                data = self._archive.read(chunk)
                if len(data) != expected or zlib.crc32(data) != check:
                    self.refuse(chunk, "is damaged, or another chunk stands in its place")
                part = np.frombuffer(data, dtype, count=math.prod(stored.chunk)).reshape(stored.chunk)
                array[place] = part[tuple(slice(0, s.stop - s.start) for s in place)]
        if len(there) < len(places):
            self._warn(path, len(places) - len(there), len(places), fill_of(name))
        return array.astype(dtype.newbyteorder("="), copy=False)

    def missing(self, path: str, stored: StoredArray) -> bool:
        """Return whether a chunk of an array is not there."""
        names = (f"{self._folder}/{path}/{chunk}" for chunk, _ in chunk_names(stored.shape, stored.chunk))
        return any(self._archive.size(name) is None for name in names)

    def _warn(self, path: str, missing: int, every: int, fill: float) -> None:
        number = "NaN" if math.isnan(fill) else str(fill)
        warnings.warn(
            NotRecordedWarning(
                f"{missing} of {every} chunks of {path} of {self._whose} are not in {self._archive.name!r}: they were "
                f"not recorded, or were lost. Their numbers are {number}, and so is what follows from them."
            ),
            stacklevel=2,
        )

    def refuse(self, what: str, why: str) -> NoReturn:
        """Raise what says that the recording is damaged."""
        raise RecordingFileError(f"{self._archive.name!r}, {self._whose}: {what} {why}. The recording is damaged.")
