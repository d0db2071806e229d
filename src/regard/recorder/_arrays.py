"""The arrays of a stored call: each chunk checked, each number within its limits, what is missing named."""

from __future__ import annotations

import math
import warnings
import zlib
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import RecordingFileError
from ..weights import Parts, Summary, WeightSource, source_of
from ._archive import Archive
from ._call import cells_of_maps
from ._document import CallDocument, StoredArray
from ._fields import RULES, Rule, assemble
from ._format import MISSING, call_path, chunk_names, fill_of, stored_dtype

__all__ = ["CallReader", "NotRecordedWarning"]

# An array of which chunks are missing may be so many times as large as what is there, and a bit.
_MOST_GROWTH, _SPARE = 64, 16 << 20
_CRC = 4


class NotRecordedWarning(UserWarning):
    """Parts of what was read are not in the recording; they are NaN (-2 in integers), never zero."""


class CallReader:
    """Reads what a call's document says is there."""

    def __init__(self, archive: Archive, document: CallDocument) -> None:
        self.document = document
        self._archive = archive

    def summary(self) -> Summary:
        """Read the summaries."""
        sizes = self.document.sizes.known
        finest = len(cells_of_maps(int(self.document.summary["cell"]), sizes["L"], sizes["S"])) - 1
        names = {name: name for name in self.document.arrays if "/" not in name} | {f"map/{finest}": "map"}
        found: Summary = self._fields(Summary, names, self.document.summary)
        if found.lse.dtype != getattr(torch, self.document.dtype):
            self._refuse("lse", f"is {found.lse.dtype}, the call {self.document.dtype}")
        return _without_unknown(found)

    def source(self, lse: Tensor) -> WeightSource:
        """Read query, key and masks."""
        names = {f"exact/{name}": name for name in RULES if f"exact/{name}" in self.document.arrays}
        parts = self._fields(Parts, names, self.document.exact or {})
        self._check(parts, lse)
        return source_of(*self._without_unknown_masks(parts, lse))

    def _fields(self, kind: type[Any], names: dict[str, str], numbers: dict[str, float | int]) -> Any:
        tensors = {name: self._tensor(path, RULES[name]) for path, name in names.items() if name in RULES}
        try:
            return assemble(kind, tensors, numbers)
        except (KeyError, TypeError) as error:
            self._refuse(str(error), "is missing, or of the wrong kind")

    def _check(self, parts: Parts, lse: Tensor) -> None:
        """Refuse what the kernels could not take."""
        dtype = torch.float64 if parts.query.dtype == torch.float64 else torch.float32
        if parts.key.dtype != parts.query.dtype or lse.dtype != dtype:
            self._refuse(
                "exact", f"has a query of {parts.query.dtype}, a key of {parts.key.dtype}, an lse of {lse.dtype}"
            )
        for name in ("position_bias", "bias"):
            given = getattr(parts, name)
            if given is not None and given.dtype not in (parts.query.dtype, torch.float32):
                self._refuse(name, f"is {given.dtype}, beside {parts.query.dtype}")
        for name in ("value_norms", "log_factor"):
            given = getattr(parts, name)
            if given is not None and given.dtype != dtype:
                self._refuse(name, f"is {given.dtype}, not {dtype}")
        if (parts.start is None) != (parts.stop is None):
            self._refuse("start", "and stop come together")
        if parts.start is not None and parts.stop is not None:
            if parts.start.shape != parts.stop.shape:
                self._refuse("start", "and stop have different shapes")
            known = (parts.start != MISSING) & (parts.stop != MISSING)
            if bool((known & (parts.start > parts.stop)).any()):
                self._refuse("start", "lies behind stop")
        if (parts.kernel_map is None) != (parts.kernel_map_cell == 0):
            self._refuse("kernel_map", "and its cell come together")
        if parts.softcap is not None and not parts.softcap > 0:
            self._refuse("softcap", f"is {parts.softcap}")

    def _without_unknown_masks(self, parts: Parts, lse: Tensor) -> tuple[Parts, Tensor]:
        """Make the rows NaN of which it is not known what they see."""
        unknown = torch.zeros_like(lse, dtype=torch.bool)
        if parts.start is not None and parts.stop is not None:
            rows = (parts.start == MISSING) | (parts.stop == MISSING)
            unknown |= rows
            keys = self.document.sizes.known["S"]
            parts = replace(parts, start=parts.start.masked_fill(rows, 0), stop=parts.stop.masked_fill(rows, keys))
        if parts.dense_mask is not None:
            unknown |= (parts.dense_mask == MISSING).any(-1)
            parts = replace(parts, dense_mask=parts.dense_mask != 0)
        return parts, lse.masked_fill(unknown, math.nan)

    def _tensor(self, path: str, rule: Rule) -> Tensor:
        stored = self.document.arrays.get(path)
        if stored is None:
            self._refuse(path, "is missing")
        kind = "float" if "float" in stored.torch else stored.torch
        if kind != rule.kind or not self.document.sizes.shape_fits(stored.shape, rule):
            self._refuse(path, f"is {stored.torch} {list(stored.shape)}, which is not what a call of this size has")
        array = self._read(path, stored)
        if rule.kind != "float":
            high = 1 if rule.kind == "bool" else self.document.sizes.known.get(rule.high, np.iinfo(array.dtype).max)
            if bool((((array < rule.low) | (array > high)) & (array != MISSING)).any()):
                self._refuse(path, f"holds numbers outside of {rule.low} to {high}")
        tensor = torch.from_numpy(array)
        return tensor if rule.kind == "bool" else tensor.to(getattr(torch, stored.torch))

    def _read(self, path: str, stored: StoredArray) -> NDArray[Any]:
        name = stored_dtype(getattr(torch, stored.torch))
        dtype = np.dtype(name).newbyteorder("<")
        expected = math.prod(stored.chunk) * dtype.itemsize + _CRC
        places = [
            (f"{call_path(self.document.position)}/{path}/{chunk}", place, check)
            for (chunk, place), check in zip(chunk_names(stored.shape, stored.chunk), stored.crc32, strict=True)
        ]
        sizes = [self._archive.size(chunk) for chunk, _, _ in places]
        there = [size for size in sizes if size is not None]
        if any(size != expected for size in there):
            self._refuse(path, f"has a chunk that is not of {expected:,} bytes")
        needed, most = math.prod(stored.shape) * dtype.itemsize, _MOST_GROWTH * sum(there) + _SPARE
        if needed > most:
            self._refuse(path, f"needs {needed:,} bytes of memory; with {sum(there):,} on disk {most:,} are allowed")
        array = np.full(stored.shape, fill_of(name), dtype)
        for (chunk, place, check), size in zip(places, sizes, strict=True):
            if size is not None:
                data = self._archive.read(chunk)
                if len(data) != expected or zlib.crc32(data) != check:
                    self._refuse(chunk, "is damaged, or another chunk stands in its place")
                part = np.frombuffer(data, dtype, count=math.prod(stored.chunk)).reshape(stored.chunk)
                array[place] = part[tuple(slice(0, s.stop - s.start) for s in place)]
        if len(there) < len(places):
            self._warn(path, len(places) - len(there), len(places))
        return array.astype(dtype.newbyteorder("="), copy=False)

    def _warn(self, path: str, missing: int, every: int) -> None:
        fill = "NaN" if RULES[path.split("/")[0 if path.startswith("map/") else -1]].kind == "float" else str(MISSING)
        warnings.warn(
            NotRecordedWarning(
                f"{missing} of {every} chunks of {path} of {self.document.key!r} are not in {self._archive.name!r}: "
                f"they were not recorded, or were lost. Their numbers are {fill}, and so is what follows from them."
            ),
            stacklevel=2,
        )

    def _refuse(self, what: str, why: str) -> NoReturn:
        raise RecordingFileError(
            f"{self._archive.name!r}, call {self.document.key[:200]!r}: {what} {why}. The recording is damaged."
        )


def _without_unknown(found: Summary) -> Summary:
    """Make the numbers NaN of which it is not known over how many queries they run, or whether they are masked."""
    uncounted, unmasked = found.counts == MISSING, found.masked == MISSING
    return replace(
        found,
        received=torch.where(uncounted, math.nan, found.received) if uncounted.any() else found.received,
        map=torch.where(unmasked, math.nan, found.map) if unmasked.any() else found.map,
        masked=found.masked == 1,
    )
