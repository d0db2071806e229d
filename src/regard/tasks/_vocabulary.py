"""Words, characters and labels as numbers, learnt from training examples alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

PAD, UNKNOWN = 0, 1


class Vocabulary:
    """Things that occurred in training, numbered by frequency; 0 is padding, 1 is unknown.

    >>> vocabulary = Vocabulary.learnt("the cat saw the dog".split())
    >>> vocabulary["the"], vocabulary["bird"], len(vocabulary)
    (2, 1, 6)
    """

    def __init__(self, things: Sequence[str]) -> None:
        self.things = tuple(things)
        self._numbers = {thing: number for number, thing in enumerate(self.things, start=2)}

    @classmethod
    def learnt(cls, things: Iterable[str], *, at_least: int = 1) -> Vocabulary:
        """Number the things that occur at least `at_least` times; ties are ordered alphabetically."""
        counts = sorted(Counter(things).items(), key=lambda item: (-item[1], item[0]))
        return cls([thing for thing, count in counts if count >= at_least])

    def __getitem__(self, thing: str) -> int:
        return self._numbers.get(thing, UNKNOWN)

    def __len__(self) -> int:
        """Return the size, padding and unknown included."""
        return len(self.things) + 2
