"""A call on disk, one file: what it was, its summary, and with keep="exact" what every entry is computed from."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, NoReturn

import torch
from torch import Tensor

from ..weights import (
    AttentionWeights,
    LseOf,
    Parts,
    Summary,
    WeightSource,
    parts_of,
    source_of,
    summarise,
)
from ._call import RecordedCall
from ._pieces import Piece
from ._rules import RULES, Shape, sizes_of, tensors_of, why_not
from ._tensor_file import Bytes, TensorFile, tensor_file

_SUMMARY = tuple(one.name for one in fields(Summary) if one.name in RULES)
_PARTS = tuple(one.name for one in fields(Parts) if one.name in RULES)
# What every exact call has; the others are there where the call had them.
_ALWAYS = ("query", "key", "value_norms")
# Less than rounding would miss, more than it would ever take.
_PART_OF_A_SINK = 1e-3


def call_file(call: RecordedCall, position: int) -> tuple[list[Bytes], int]:
    """Return the bytes of a call's file, in parts, and its check."""
    weights = call.weights
    summary, parts = _kept(weights)
    document = {
        "position": position,
        "key": call.key,
        "module": call.module,
        "number": call.number,
        "door": call.door,
        "heads": None if call.heads is None else list(call.heads),
        "backend": call.backend,
        "passes": call.passes,
        "rank": weights.ndim,
        "sums_to_one": weights.sums_to_one,
        "cell": summary.cell,
        "exact": None,
    }
    tensors = dict(tensors_of(summary))
    if parts is not None:
        document["exact"] = {
            "scale": parts.scale, "softcap": parts.softcap, "kernel_map_cell": parts.kernel_map_cell,
        }  # fmt: skip
        tensors |= tensors_of(parts)
    return tensor_file(tensors, document)


def _kept(weights: AttentionWeights) -> tuple[Summary, Parts | None]:
    with torch.no_grad():
        return summarise(weights), None if weights.kept_cell else parts_of(weights)


class CallFile:
    """Reads a call's tensors by name, each when it is asked for. Opening checks what they are, and reads none.

    Raises `RecordingFileError` for what is damaged or cannot be.
    """

    def __init__(self, piece: Piece, position: int, check: int | None = None) -> None:
        self._file = TensorFile(piece, check)
        told = self._file.document
        if told.whole("position") != position:
            told.refuse("belongs to another place or another recording")
        self.position = position
        self.key, self.module, self.number, self.door = (
            told.text("key"), told.text("module"), told.whole("number"), told.text("door")
        )  # fmt: skip
        self.heads = told.wholes("heads") if told.has("heads") else None
        self.backend = told.text("backend") if told.has("backend") else None
        self.passes, self.rank = told.whole("passes", 1), told.whole("rank", 2, 4)
        self.sums_to_one, self.cell = told.flag("sums_to_one"), told.whole("cell", 1)
        self._settings: dict[str, Any] | None = None
        if told.has("exact"):
            exact = told.below("exact")
            self._settings = {
                "scale": exact.number("scale"),
                "softcap": exact.number("softcap") if exact.has("softcap") else None,
                "kernel_map_cell": exact.whole("kernel_map_cell"),
            }
        self._sizes = self._checked()

    @property
    def exact(self) -> bool:
        """Whether every entry can be computed."""
        return self._settings is not None

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors that are there: those of `Summary` and of `Parts`."""
        return tuple(self._file.shapes)

    def read(self, name: str, place: Shape = ()) -> Tensor:
        """Return a tensor, or its part at the first indices `place` without reading the rest: `("map", (0, 3))`.

        A size may be 1 for "the same everywhere": see the rules of tensors in `_rules.py`.
        """
        found, rule = self._file.read(name, place), RULES[name]
        if not found.dtype.is_floating_point and found.dtype != torch.bool and found.numel():
            high = self._sizes.get(rule.high, torch.iinfo(found.dtype).max)
            low, most = (int(one) for one in found.aminmax())
            if low < rule.low or most > high:
                self._refuse(f"holds a {name} outside of {rule.low} to {high}")
        return found

    def summary(self) -> Summary:
        """Read the summary."""
        return Summary(self.cell, **{name: self.read(name) for name in _SUMMARY})

    def source(self, summary: Summary) -> WeightSource:
        """Read query, key and masks, beside the summary of the call."""
        if self._settings is None:
            self._refuse("holds a summary, not the query and key")
        tensors: dict[str, Any] = {name: self.read(name) for name in _PARTS if name in self.names}
        parts = Parts(**tensors, **self._settings)
        if parts.start is not None and parts.stop is not None and bool((parts.start > parts.stop).any()):
            self._refuse("has spans that end before they start")
        return source_of(parts, summary.lse, self._lse_of(parts, summary))

    def _lse_of(self, parts: Parts, summary: Summary) -> LseOf:
        if parts.log_factor is not None:
            return "weighted" if self.sums_to_one else "scores"
        # A row of which a sink takes a part gives less than 1.
        given, rows = summary.received.sum(-1), (summary.lse != -torch.inf).sum(-1)
        return "more" if bool((given < (1 - _PART_OF_A_SINK) * rows).any()) else "scores"

    def _checked(self) -> dict[str, int]:
        """Return the sizes by letter; refuse what the kernels could not take."""
        shapes, dtypes = self._file.shapes, self._file.dtypes
        settings = self._settings or {"softcap": None, "kernel_map_cell": 0}
        needed = _SUMMARY + (_ALWAYS if self.exact else ())
        known = _SUMMARY + (_PARTS if self.exact else ())
        if not set(needed) <= set(shapes) <= set(known):
            self._refuse(f"has the tensors {', '.join(sorted(shapes))[:400]}: one is missing, or too many")
        if any(len(shapes[name]) != len(RULES[name].dimensions) for name in shapes):
            self._refuse("has a tensor of another number of dimensions than a call has")
        sizes = sizes_of(shapes, self.cell, settings["kernel_map_cell"])
        for name in shapes:
            reason = why_not(RULES[name], shapes[name], dtypes[name], sizes)
            if reason:
                self._refuse(f"has a {name} that {reason}")
        batch, heads, groups = (sizes[letter] for letter in "BHG")
        if (self.rank < 4 and batch != 1) or (self.rank < 3 and heads != 1):
            self._refuse(f"has {self.rank} dimensions, {batch} sequences and {heads} heads")
        if self.exact and (heads % groups if groups else heads):
            self._refuse(f"has {heads} heads over {groups} key heads")
        if shapes.get("start") != shapes.get("stop"):
            self._refuse("has a start and a stop that do not belong together")
        if ("kernel_map" in shapes) != (settings["kernel_map_cell"] > 0):
            self._refuse("has a kernel_map without its cell, or a cell alone")
        if settings["softcap"] is not None and not settings["softcap"] > 0:
            self._refuse(f"has a softcap of {settings['softcap']}")
        self._check_dtypes(dtypes)
        return sizes

    def _check_dtypes(self, dtypes: dict[str, torch.dtype]) -> None:
        query = dtypes.get("query", dtypes["lse"])
        wide = torch.float64 if query == torch.float64 else torch.float32
        expected: dict[str, tuple[torch.dtype, ...]] = {
            "lse": (wide,), "value_norms": (wide,), "log_factor": (wide,),
            "key": (query,), "bias": (query, torch.float32),
        }  # fmt: skip
        for name, choices in expected.items():
            if name in dtypes and dtypes[name] not in choices:
                self._refuse(f"has a {name} of {dtypes[name]} beside a query of {query}")

    def _refuse(self, what: str) -> NoReturn:
        self._file.document.refuse(what)
