"""Baselines on disk: JSON and safetensors, no pickle."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from safetensors.torch import load_file, save
from torch import Tensor

from ... import _files
from ...errors import ArgumentError

DESCRIPTION, TENSORS = "baseline.json", "baseline.safetensors"
NEEDS_SKLEARN = "This baseline needs scikit-learn:"


class Baseline(ABC):
    """A cheap model that can be saved: what it learnt is JSON values and tensors."""

    name: str
    """What it is, in a few words."""
    kinds: ClassVar[dict[str, type[Baseline]]] = {}

    def __init_subclass__(cls) -> None:
        Baseline.kinds[cls.__name__] = cls

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what was learnt, as JSON values."""

    def tensors(self) -> dict[str, Tensor]:
        """Return what was learnt and is too large for JSON."""
        return {}

    @classmethod
    @abstractmethod
    def restored(cls, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Build from what `state` and `tensors` returned."""


def write(baseline: Baseline, folder: Path) -> None:
    """Write a baseline into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: one.contiguous() for name, one in baseline.tensors().items()}
    if tensors:
        _files.write(folder / TENSORS, save(tensors))
    text = json.dumps({"kind": type(baseline).__name__, "state": baseline.state()}, ensure_ascii=False)
    _files.write(folder / DESCRIPTION, text.encode("utf-8", errors="surrogatepass"))


def read(folder: Path) -> Baseline | None:
    """Read the baseline of a folder; None if it has none.

    Raises:
        ArgumentError: its files are damaged.
    """
    path = folder / DESCRIPTION
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_bytes().decode("utf-8", errors="surrogatepass"))
        tensors = load_file(folder / TENSORS) if (folder / TENSORS).exists() else {}
        return Baseline.kinds[found["kind"]].restored(found["state"], tensors)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ArgumentError(f"{folder} cannot be read: {type(error).__name__}: {error}. Train again.") from error
