"""Opinions from a small grammar: synthetic, labelled by construction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ArgumentError
from .examples import LabelledText, Split

THINGS = "film story cast music ending dialogue camera plot pace humour acting script".split()
GOOD = "good brilliant moving funny clever charming fresh honest warm gripping elegant superb".split()
BAD = "bad dull clumsy boring stupid cold stale false tedious shallow awful noisy".split()
DEGREES = ["", "very ", "really ", "rather ", "quite "]


@dataclass(frozen=True, slots=True)
class _Clause:
    """A clause about a thing, and whether it affirms its adjective or negates it."""

    text: str
    agrees: bool


@dataclass(frozen=True, slots=True)
class _Frame:
    """A sentence frame of one or two clauses: which one decides, and whether the other has the opposite sentiment."""

    text: str
    decides: int
    opposite: bool = True


CLAUSES = (
    _Clause("the {thing} is {degree}{adjective}", True),
    _Clause("I found the {thing} {degree}{adjective}", True),
    _Clause("everybody called the {thing} {adjective}", True),
    _Clause("the {thing} never stops being {adjective}", True),
    _Clause("the {thing} is not {adjective}", False),
    _Clause("I never found the {thing} {adjective}", False),
    _Clause("nobody called the {thing} {adjective}", False),
    _Clause("the {thing} is anything but {adjective}", False),
    _Clause("the {thing} has stopped being {adjective}", False),
)
FRAMES = (
    _Frame("{0} .", 0),
    _Frame("in short , {0} .", 0),
    _Frame("{0} , but {1} .", 1),
    _Frame("{0} , and yet {1} .", 1),
    _Frame("although {0} , {1} .", 1),
    _Frame("{0} , although {1} .", 0),
    _Frame("even if {0} , {1} .", 1),
    _Frame("{0} , even if {1} .", 0),
    _Frame("{0} and {1} .", 0, opposite=False),
    _Frame("{0} , and besides {1} .", 0, opposite=False),
)
Template = tuple[_Frame, tuple[_Clause, ...]]


def opinions(*, size: int = 8_000, seed: int = 0) -> Split[Sequence[LabelledText]]:
    """Return synthetic opinions, "positive" or "negative", in which negation and contrast decide.

    `size`: the number of sentences to train on (at most 50,000); dev and test have a tenth of it each. `seed`: draws
    templates and words.

    No person wrote these: a grammar of 10 frames ("although … , …") and 9 clauses ("the plot is anything but dull")
    generates them, and the label follows from the construction: the clause that the contrast stresses decides,
    and a negation inverts it. So counting good and bad words does not solve it, and a high figure here says
    nothing about real opinions.

    A template is a frame with its clauses. Those of dev and test are in no other part; each frame and each clause
    occurs in train, only not together. No sentence occurs twice. Both labels are equally likely. Takes about 0.3 s.

    >>> opinions(size=100).train == opinions(size=100).train
    True
    """
    if not 10 <= size <= 50_000:
        raise ArgumentError(f"size is {size}; the rule is 10 to 50,000 sentences to train on.")
    random = np.random.default_rng(seed)
    parts = _templates(random)
    held = size // 10
    train, dev, test = (_sentences(part, count, random) for part, count in zip(parts, (size, held, held), strict=True))
    counts = " / ".join(str(len(part)) for part in parts)
    return Split(
        train,
        dev,
        test,
        f"Synthetic opinions from a grammar, {size} / {held} / {held} sentences of {counts} templates; no template "
        "stands in two parts.",
    )


def _templates(random: np.random.Generator) -> tuple[list[Template], list[Template], list[Template]]:
    single: list[Template] = []
    double: list[Template] = []
    for frame in FRAMES:
        if "{1}" in frame.text:
            double += [(frame, (first, second)) for first in CLAUSES for second in CLAUSES]
        else:
            single += [(frame, (clause,)) for clause in CLAUSES]
    double = [double[place] for place in random.permutation(len(double))]
    held = len(double) // 7
    # All templates of one clause are in train, so that each clause is learnt by itself.
    return single + double[2 * held :], double[:held], double[held : 2 * held]


def _sentences(templates: list[Template], count: int, random: np.random.Generator) -> tuple[LabelledText, ...]:
    found: dict[str, LabelledText] = {}
    while len(found) < count:
        frame, clauses = templates[int(random.integers(len(templates)))]
        positive = bool(random.integers(2))
        texts = []
        for place, clause in enumerate(clauses):
            says_good = positive != (frame.opposite and place != frame.decides)
            words = GOOD if says_good == clause.agrees else BAD
            texts.append(
                clause.text.format(
                    thing=_pick(THINGS, random), degree=_pick(DEGREES, random), adjective=_pick(words, random)
                )
            )
        text = frame.text.format(*texts)
        found.setdefault(text, LabelledText(text, ("positive" if positive else "negative",)))
    return tuple(found.values())


def _pick(words: Sequence[str], random: np.random.Generator) -> str:
    return words[int(random.integers(len(words)))]
