"""Remarks on a run's training data and training: what makes its figures say less than they seem to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import enumerated
from ..training import TrainingResult

# Names of the parts of a data set, which are no classes.
PARTS = frozenset("train training dev development val valid validation eval test testing".split())


def on_labels(counts: Mapping[str, int]) -> list[str]:
    """Remark on the labels of training examples, by how often each occurs."""
    found = []
    once = sorted(label for label, count in counts.items() if count == 1)
    if once:
        found.append(f"seen only once in training, hardly to be learnt: {enumerated(once)}.")
    parts = sorted(label for label in counts if label.casefold() in PARTS)
    if parts:
        found.append(f"labels are named like parts of the data: {enumerated(parts)}; are they folders of a split?")
    return found


def on_training(result: TrainingResult) -> list[str]:
    """Remark on a best epoch that was the first of several."""
    if not result.best_step or result.epochs < 2:
        return []
    best = result.best_step * result.epochs / result.step
    if best > 1.01:
        return []
    return [
        f"the best of {result.epochs:.2g} epochs was the first: what came after was no better on the development data. "
        "Try a lower --lr or more --dropout; if nothing was learnt at all, more data or --epochs."
    ]


def cut_note(lengths: Iterable[int], most: int, what: str, option: str = "--max-length") -> str:
    """Say how many of the inputs, by their lengths in tokens, are cut; empty if none is.

    >>> cut_note([3, 5], 4, "texts")
    '1 of 2 texts (50%) are longer than --max-length 4 tokens and are cut: the longest has 5.'
    """
    found = list(lengths)
    longer = sum(length > most for length in found)
    if not longer:
        return ""
    share = longer / len(found)
    return (
        f"{longer:,} of {len(found):,} {what} ({share:.0%}) are longer than {option} {most:,} tokens and are cut: "
        f"the longest has {max(found):,}."
    )


def digests(inputs: Iterable[Any]) -> Tensor:
    """Return a digest of each input, int64: of a picture's bytes, of a text without regard to spaces."""
    found = [
        int.from_bytes(hashlib.blake2b(_bytes(one), digest_size=8).digest(), "little", signed=True) for one in inputs
    ]
    return torch.tensor(found, dtype=torch.int64)


def on_overlap(seen: Tensor | None, inputs: Any) -> list[str]:
    """Remark on inputs that are in the training data, whose digests are `seen`."""
    if seen is None or not len(inputs):
        return []
    shared = int(torch.isin(digests(inputs), seen).sum())
    if not shared:
        return []
    share = shared / len(inputs)
    return [
        f"{shared:,} of {len(inputs):,} examples ({share:.0%}) are in the training data too: what they say was learnt "
        "by heart."
    ]


def _bytes(one: Any) -> bytes:
    if isinstance(one, np.ndarray):
        return one.tobytes()
    words = one.split() if isinstance(one, str) else one
    return " ".join(words).encode("utf-8", errors="backslashreplace")
