"""The colour of a label: the same on the page and on paper, and in every text that has it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from .._values import described, instance
from ..errors import ArgumentTypeError

__all__ = ["label_colours"]

# Okabe and Ito's colours, told apart by colour-blind readers, and two more; each is seen on white and on dark.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#808080")
# With this number the labels of CoNLL 2003, of WNUT 2017 and of Python's names have colours of their own.
_SEED = 338603


def label_colours(names: Iterable[str]) -> dict[str, str]:
    """Return the colour of each label, by its name alone as far as there are colours enough.

    Of two names that fall on one colour the later in the alphabet takes the next one that is free; from the ninth
    name on colours are shared. The order in which the names are given does not matter.

    >>> label_colours(["PER", "LOC"]) == label_colours(["LOC", "PER", "LOC"])
    True
    """
    found: dict[str, str] = {}
    if isinstance(names, str | bytes) or not isinstance(names, Iterable) or getattr(names, "ndim", 1) == 0:
        raise ArgumentTypeError(f"names is {described(names)}; give the labels, a string each.")
    every = {instance("names", name, str, "strings, a label each") for name in names}
    for name in sorted(every):
        first = _place(name)
        places = [(first + step) % len(_COLOURS) for step in range(len(_COLOURS))]
        free = [_COLOURS[place] for place in places if _COLOURS[place] not in found.values()]
        found[name] = free[0] if free else _COLOURS[first]
    return found


def _place(name: str) -> int:
    return hashlib.sha256(f"{_SEED} {name.casefold()}".encode("utf-8", "replace")).digest()[0] % len(_COLOURS)
