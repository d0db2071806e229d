"""The arrays of a stored call: each chunk checked, each number within its limits, what is missing named."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from ..weights import LseOf, Parts, Summary, WeightSource, source_of
from ._archive import Archive
from ._call import cells_of_maps
from ._document import CallDocument
from ._fields import RULES, Rule, assemble
from ._format import MISSING, call_path
from ._pieces import PieceReader

__all__ = ["CallReader"]

# Less than rounding would miss, more than it would ever take.
_PART_OF_A_SINK = 1e-3


class CallReader:
    """Reads what a call's document says is there."""

    def __init__(self, archive: Archive, document: CallDocument) -> None:
        self.document = document
        self._pieces = PieceReader(archive, call_path(document.position), f"call {document.key[:200]!r}")

    def summary(self) -> Summary:
        """Read the summaries."""
        sizes = self.document.sizes.known
        finest = len(cells_of_maps(int(self.document.summary["cell"]), sizes["L"], sizes["S"])) - 1
        names = {name: name for name in self.document.arrays if "/" not in name} | {f"map/{finest}": "map"}
        found: Summary = self._fields(Summary, names, self.document.summary)
        if found.lse.dtype != getattr(torch, self.document.dtype):
            self._refuse("lse", f"is {found.lse.dtype}, the call {self.document.dtype}")
        return _without_unknown(found)

    def source(self, summary: Summary) -> WeightSource:
        """Read query, key and masks, beside the summaries of the call."""
        names = {f"exact/{name}": name for name in RULES if f"exact/{name}" in self.document.arrays}
        parts = self._fields(Parts, names, self.document.exact or {})
        self._check(parts, summary.lse)
        return source_of(*self._without_unknown_masks(parts, summary.lse), self._lse_of(parts, summary))

    def _lse_of(self, parts: Parts, summary: Summary) -> LseOf:
        if parts.log_factor is not None:
            return "weighted" if self.document.sums_to_one else "scores"
        # A row of which a sink takes a part gives less than 1.
        given, rows = summary.received.sum(-1), (summary.lse != -torch.inf).sum(-1)
        return "more" if bool((given < (1 - _PART_OF_A_SINK) * rows).any()) else "scores"

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
        if parts.bias is not None and parts.bias.dtype not in (parts.query.dtype, torch.float32):
            self._refuse("bias", f"is {parts.bias.dtype}, beside {parts.query.dtype}")
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
        array = self._pieces.read(path, stored)
        if rule.kind != "float":
            high = 1 if rule.kind == "bool" else self.document.sizes.known.get(rule.high, np.iinfo(array.dtype).max)
            if bool((((array < rule.low) | (array > high)) & (array != MISSING)).any()):
                self._refuse(path, f"holds numbers outside of {rule.low} to {high}")
        tensor = torch.from_numpy(array)
        return tensor if rule.kind == "bool" else tensor.to(getattr(torch, stored.torch))

    def _refuse(self, what: str, why: str) -> NoReturn:
        self._pieces.refuse(what, why)


def _without_unknown(found: Summary) -> Summary:
    """Make the numbers NaN of which it is not known over how many queries they run, or whether they are masked."""
    uncounted, unmasked = found.counts == MISSING, found.masked == MISSING
    return replace(
        found,
        received=torch.where(uncounted, math.nan, found.received) if uncounted.any() else found.received,
        map=torch.where(unmasked, math.nan, found.map) if unmasked.any() else found.map,
        masked=found.masked == 1,
    )
