"""The colour of a label: the same on the page, on paper, and in every text with the label."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from .._values import described, instance
from ..errors import ArgumentTypeError

# Okabe and Ito's palette, distinguishable by colour-blind readers, and two more; visible on white and on dark.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#808080")
# With this seed of the hash, the labels of CoNLL 2003, WNUT 2017 and the corpus of code all get different colours.
_SEED = 338603


def label_colours(names: Iterable[str]) -> dict[str, str]:
    """Return the colour of each label, which depends on its name only, unless names collide.

    Of two names with the same hash the later in the alphabet takes the next free colour; from the ninth name on
    colours are shared. The order of the given names does not matter.

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
