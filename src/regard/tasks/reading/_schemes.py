"""What the letters before a label mean: IOB1, IOB2, BIOES, and how they become IOB2."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["begun_inside", "is_tag", "opens_plainly", "to_iob2", "why_not_scheme", "why_not_tag"]

_TAG = re.compile(r"O|[BIESLUM]-.+")
_KINDS = {"iob1": "BI", "iob2": "BI", "bioes": "BIESLUM"}


def is_tag(text: str) -> bool:
    """Return whether a text is a tag of any scheme."""
    return _TAG.fullmatch(text) is not None


def why_not_tag(tag: str) -> str | None:
    """Return the rule that a tag breaks in every scheme, or None."""
    if is_tag(tag):
        return None
    return (
        f"the tag {tag!r} is neither O nor a letter, a hyphen and a label, as B-person; "
        "the letter is one of B, I, E, S (or L, U, M, which some files write)."
    )


def why_not_scheme(tags: Sequence[str], scheme: str) -> tuple[int, str] | None:
    """Return the place of the tag, and the rule of a scheme asked for by name, that tags break."""
    if scheme == "auto":
        return None
    before = "O"
    for place, tag in enumerate((*tags, "O")):
        kind, _, label = tag.partition("-")
        if tag != "O" and kind not in _KINDS[scheme]:
            return place, f"the tag {tag!r} is none of {scheme}."
        goes_on = kind in "IEML"
        fits = before[:1] in ("BIM" if scheme == "bioes" else "BI") and before.partition("-")[2] == label
        if scheme != "iob1" and goes_on and not fits:
            return (
                place,
                f"the tag {tag!r} goes on with an entity, and {before!r} stands before it; so not in {scheme}.",
            )
        if scheme == "bioes" and before[:1] in ("B", "I", "M") and not goes_on:
            return place - 1, f"the entity of {before!r} has no end; so not in {scheme}."
        before = tag
    return None


def to_iob2(tags: Sequence[str], scheme: str = "auto") -> tuple[str, ...]:
    """Return tags in IOB2: `B-` opens every entity, `I-` continues it.

    In BIOES `E-` and `S-` end one; in IOB1 `I-` opens an entity unless one of its label goes on.

    >>> to_iob2(["I-x", "I-x", "B-x", "O", "S-y", "B-z", "E-z"])
    ('B-x', 'I-x', 'B-x', 'O', 'B-y', 'B-z', 'I-z')
    """
    found = []
    before = "O"
    for tag in tags:
        kind, _, label = tag.partition("-")
        open_before = before[:1] in "BIM" if scheme != "iob2" else before[:1] in "BI"
        goes_on = kind in "IEML" and open_before and before.partition("-")[2] == label
        found.append("O" if tag == "O" else f"{'I' if goes_on else 'B'}-{label}")
        before = tag
    return tuple(found)


def begun_inside(tags: Sequence[str], read: Sequence[str]) -> list[int]:
    """Return the places of tags that go on with an entity (`I-`, `E-`) and were read as the beginning of one."""
    return [place for place, (tag, iob2) in enumerate(zip(tags, read, strict=True))
            if tag[:1] in "IEML" and iob2[:1] == "B"]  # fmt: skip


def opens_plainly(tags: Sequence[str]) -> bool:
    """Return whether an entity is opened where IOB1 would have gone without: not right behind one of its label."""
    return any(
        tag[:1] in "BSU" and before.partition("-")[2] != tag.partition("-")[2]
        for before, tag in zip(("O", *tags), tags, strict=False)
    )
