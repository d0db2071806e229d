"""Tagging schemes: with or without letters, IOB1, IOB2, BIOES, brackets; and their conversion to IOB2."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Least share of cells that are tags, in a column of tags.
MOST = 0.9
# Most different labels in a column of tags without letters.
FEW_LABELS = 100
_KINDS = {"io": "I", "iob1": "BI", "iob2": "BI", "bioes": "BIESLUMW"}
# Letters of other schemes: L(ast), U(nit), M(iddle), W(hole).
_LETTERS = "BIESLUMW"
# A letter, a separator and a rest: a label without a letter does not look like this.
_LETTERED = re.compile(r"[A-Za-z][-:/_].+|.+[-:/_][A-Za-z]")


@dataclass(frozen=True)
class Style:
    """The notation of a file's tags: the position of the letter, and what separates it from the label."""

    name: str
    pattern: re.Pattern[str]
    outside: str = "O"

    def letter_and_label(self, tag: str) -> str | None:
        """Return a tag as `B-label`, or O; None if it is not in this notation."""
        if tag == self.outside or tag == "O":
            return "O"
        match = self.pattern.fullmatch(tag)
        if match is None:
            return None
        if self is BARE:
            return f"{tag}-{NAMELESS}"
        return f"{match.groupdict().get('kind', 'I').upper()}-{match['label']}" if match["label"] else "O"

    def read(self, tags: Sequence[str]) -> list[str | None]:
        """Return the tags of a sentence with a letter each; None for those not in this notation."""
        return _from_brackets(tags) if self is BRACKETS else [self.letter_and_label(tag) for tag in tags]

    def why_not(self, tag: str) -> str:
        """Return why a tag is invalid."""
        if self is PLAIN:
            return f"the tag {tag!r} is neither O nor a label."
        if self is BARE:
            return f"the tag {tag!r} is none of the letters B, I, O, E, S (L, U, M, W), as the other tags are."
        if self is BRACKETS:
            return f"the tag {tag!r} is none of *, (LABEL*, *) and (LABEL)."
        return (
            f"the tag {tag!r} is neither {self.outside} nor {self.name}; "
            "the letter is one of B, I, E, S (or L, U, M, W, which some files write)."
        )


def _styles() -> list[Style]:
    kind, label = f"(?P<kind>[{_LETTERS}])", r"(?P<label>.*[^\W_].*)"
    small = f"(?P<kind>[{_LETTERS.lower()}])"
    names = {"-": "a hyphen", "_": "an underscore", ":": "a colon", "/": "a slash"}
    found = [
        Style(f"a letter, {name} and a label, as B{sign}person", re.compile(f"{kind}{sign}{label}"))
        for sign, name in names.items()
    ]
    found += [Style("a small letter, a hyphen and a label, as b-person", re.compile(f"{small}-{label}"), "o")]
    found += [
        Style(f"a label, {name} and a letter, as person{sign}B", re.compile(f"{label}{sign}{kind}"))
        for sign, name in names.items()
    ]
    return found


STYLES = _styles()
USUAL = STYLES[0]
PLAIN = Style("a label", re.compile(r"(?P<label>.*[^\W\d_].*)"))
# Data with a single type of entity (genes, diseases) may have letters without labels.
BARE = Style("a letter, B, I or O, without a label", re.compile(f"[{_LETTERS}]"))
NAMELESS = "entity"
BRACKETS = Style("a label in brackets, as (PERSON*", re.compile(r"\((?P<label>[^()*\s]+)(?:\*?\)|\*)|\*\)?"))


def is_tag(text: str) -> bool:
    """Return whether a text is a tag in the usual notation: O, or a letter, a hyphen and a label."""
    return USUAL.letter_and_label(text) is not None


def style_of(values: Counter[str]) -> tuple[Style, float]:
    """Return the notation of tags, and the share of them that fits; the usual notation unless another fits better."""
    total = values.total() or 1
    bare = sum(count for tag, count in values.items() if BARE.pattern.fullmatch(tag))
    if bare and values["O"] and bare + values["O"] >= MOST * total:
        return BARE, (bare + values["O"]) / total
    best, most = USUAL, -1
    for style in STYLES:
        inside = {tag: count for tag, count in values.items() if tag not in ("O", style.outside)}
        fits = {tag: count for tag, count in inside.items() if style.pattern.fullmatch(tag)}
        # Except for the usual one, a notation must fit every tag, since labels may contain these separators too.
        if style is not USUAL and (len(fits) < len(inside) or not any(_begins(style, tag) for tag in fits)):
            continue
        if sum(fits.values()) > most:
            best, most = style, sum(fits.values())
    outside = values["O"] + (values[best.outside] if best.outside != "O" else 0)
    share = (most + outside) / total
    labels = [tag for tag in values if tag not in ("O", "o")]
    plain = sum(values[tag] for tag in labels if PLAIN.pattern.fullmatch(tag) and not _LETTERED.fullmatch(tag))
    if values["O"] and plain > max(most, 0):
        return PLAIN, (values["O"] + plain) / total
    bracketed = sum(values[tag] for tag in values if BRACKETS.pattern.fullmatch(tag))
    if bracketed == total and any(tag.startswith("(") for tag in values):
        return BRACKETS, 1.0
    return best, share


def are_tags(values: Counter[str]) -> Style | None:
    """Return the notation if most texts are tags; a few may be invalid, which is reported for their lines."""
    style, share = style_of(values)
    if style is PLAIN:
        return style if share >= MOST and len(values) <= FEW_LABELS else None
    outside = (values["O"] + (values[style.outside] if style.outside != "O" else 0)) / (values.total() or 1)
    return style if share >= MOST or (share > 0.5 and 0 < outside < share) else None


def holds_tags(found: Iterable[object]) -> bool:
    """Return whether all texts, and enough of them, are tags: with letters, or few labels and O."""
    return are_tags(Counter(map(str, found))) is not None


def _begins(style: Style, tag: str) -> bool:
    return (style.letter_and_label(tag) or "O")[0] in "BSUW"


def _from_brackets(tags: Sequence[str]) -> list[str | None]:
    found: list[str | None] = []
    label = ""
    for tag in tags:
        match = BRACKETS.pattern.fullmatch(tag)
        if match is None:
            found.append(None)
            continue
        if match["label"]:
            label = match["label"]
            found.append(f"B-{label}")
        else:
            found.append(f"I-{label}" if label else "O")
        if tag.endswith(")"):
            label = ""
    return found


def why_not_scheme(tags: Sequence[str], scheme: str) -> tuple[int, str] | None:
    """Return the index of the first tag that violates a scheme chosen by the user, and the rule."""
    if scheme in ("auto", "io"):
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
    """Return the indices of tags that should continue an entity (`I-`, `E-`) but were read as the beginning of one."""
    return [place for place, (tag, iob2) in enumerate(zip(tags, read, strict=True))
            if tag[:1] in "IEML" and iob2[:1] == "B"]  # fmt: skip


def opens_plainly(tags: Sequence[str]) -> bool:
    """Return whether some `B-` is not directly after an entity of its label, which IOB1 would write as `I-`."""
    return any(
        tag[:1] in "BSUW" and before.partition("-")[2] != tag.partition("-")[2]
        for before, tag in zip(("O", *tags), tags, strict=False)
    )
