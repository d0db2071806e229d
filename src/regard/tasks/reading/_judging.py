"""Detecting a plausible but wrong interpretation of a source, from the contents that were read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from ...corpora import LabelledText, TextPair
from ...errors import DataError
from ._columns import is_number
from ._folders import PARTS
from ._schemes import is_tag

# With fewer examples than this the distribution of labels proves nothing.
FEW = 10
MOST = 0.9

# Usual separators between several labels of a text.
JOINING = (",", ";", "|")

NAMES = "Name the text's column with --text, the label's with --label"


def judge_labelled(
    source: Path, examples: Sequence[LabelledText], empty_lines: int = 0, separator: str | None = None
) -> None:
    """Refuse labelled texts whose labels look like something else.

    Raises:
        DataError: with what they look like, and the options for both interpretations.
    """
    texts = [one.text for one in examples]
    labels = [one.labels[0] for one in examples if one.labels]
    kinds, count = set(labels), len(examples)
    words = all(len(text.split()) == 1 for text in texts)
    if words and _most(labels, is_tag) and any(label != "O" for label in labels):
        raise _doubt(
            source,
            f"every text is one word and the labels are tags, {_shown(labels)}: CoNLL, a word and its tag a line",
            "`train ner` reads that",
        )
    if words and empty_lines and count > len(kinds):
        raise _doubt(
            source,
            "every text is one word, and empty lines stand between some: it seems CoNLL, a word and its tags a line",
            "`train ner` reads that",
        )
    if _most(texts, is_number):
        raise _doubt(
            source,
            f"the texts are numbers, {_shown(texts)}",
            NAMES,
        )
    if len(kinds) > len(set(texts)) and _words(labels) > max(2.0, _words(texts)):
        raise _doubt(
            source,
            f"the labels are longer than the texts, and more of them differ, {_shown(labels)}",
            "If these are the texts, exchange --text and --label",
        )
    if separator is None and (joined := _joined(labels)) is not None:
        raise _doubt(
            source,
            f"labels such as {joined[0]!r} are made of others, with {joined[1]!r} between",
            f"If they are several labels of a text: --label-separator {joined[1]!r}",
        )
    if count >= FEW and len(kinds) > MOST * count:
        raise _doubt(
            source,
            f"there are {len(kinds):,} labels for {count:,} texts, {_shown(labels)}: labels come again",
            NAMES,
        )
    if kinds and len(kinds) > 1 and all(label.lower() in PARTS for label in kinds):
        raise _doubt(
            source,
            f"the labels are {', '.join(sorted(kinds))}: parts of the data by their names",
            NAMES,
        )


def judge_classes(source: Path, labels: Sequence[str]) -> None:
    """Refuse labels of pictures that hardly ever come again.

    Raises:
        DataError: the labels, and the option for another column.
    """
    kinds = set(labels)
    if len(labels) >= FEW and len(kinds) > MOST * len(labels):
        raise _doubt(
            source,
            f"there are {len(kinds):,} labels for {len(labels):,} pictures, {_shown(labels)}: labels come again",
            "Name the column of the labels with --label",
        )


def _joined(labels: Sequence[str]) -> tuple[str, str] | None:
    """Return a label that is joined from others, and the separator; None if most such labels are plain names."""
    alone = set(labels)
    for sign in JOINING:
        seen = Counter(label for label in labels if sign in label)
        made = [label for label in seen if alone.issuperset(part.strip() for part in label.split(sign))]
        if made and 2 * sum(seen[label] for label in made) > seen.total():
            return made[0], sign
    return None


def judge_pairs(source: Path, examples: Sequence[TextPair]) -> None:
    """Refuse pairs of texts that look like something else.

    Raises:
        DataError: with what they look like, and the options for both interpretations.
    """
    for name, texts in (("source", [one.source for one in examples]), ("target", [one.target for one in examples])):
        if _most(texts, is_number):
            raise _doubt(
                source,
                f"the {name}s are numbers, {_shown(texts)}",
                "Name the columns of the texts with --source and --target",
            )
    targets = [one.target for one in examples]
    if _most(targets, lambda text: all(map(is_tag, text.split()))) and any(
        set(text.split()) != {"O"} for text in targets
    ):
        raise _doubt(source, f"the targets are tags, {_shown(targets)}", "`train ner` reads a text and its tags")
    if len(examples) >= FEW and all(one.source == one.target for one in examples):
        raise _doubt(source, "each source is its own target", "Give two files, or name two columns")


def judge_documents(source: Path, texts: Sequence[str]) -> None:
    """Refuse documents from a table whose texts are not text.

    Raises:
        DataError: the texts are numbers.
    """
    if _most(texts, is_number):
        raise _doubt(source, f"the texts are numbers, {_shown(texts)}", "Name the text's column with --text")


def _doubt(source: Path, what: str, way: str) -> DataError:
    return DataError(f"{source}: {what}. {way}. If it is meant so: --as-told.")


def _most(texts: Sequence[str], holds: Callable[[str], bool]) -> bool:
    return len(texts) > 1 and sum(map(holds, texts)) >= MOST * len(texts)


def _words(texts: Sequence[str]) -> float:
    return sum(len(text.split()) for text in texts) / max(1, len(texts))


def _shown(texts: Sequence[str]) -> str:
    some = list(dict.fromkeys(texts))[:3]
    return ", ".join(repr(text if len(text) <= 40 else f"{text[:40]} ...") for text in some)
