"""Precision, recall and F1 of named entities; an entity is right if both its label and its words are.

Which tags form an entity is decided as in conlleval and seqeval, with which tests compare the figures;
`strict` accepts only entities that are correct in the scheme.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...errors import ArgumentError

Span = tuple[str, int, int]
"""Label, first word, word after the last."""


@dataclass(frozen=True)
class LabelScore:
    """The figures of one label."""

    precision: float
    recall: float
    f1: float
    true: int
    """Number of true entities."""


@dataclass(frozen=True)
class EntityScores:
    """Figures over all entities (micro), their mean over labels (macro), and by label; 0 to 1."""

    precision: float
    recall: float
    f1: float
    macro_f1: float
    token_accuracy: float
    labels: dict[str, LabelScore]

    def figures(self) -> dict[str, float]:
        """Return the figures over all labels, `f1` first."""
        return {
            "f1": self.f1,
            "precision": self.precision,
            "recall": self.recall,
            "macro_f1": self.macro_f1,
            "token_accuracy": self.token_accuracy,
        }

    def __str__(self) -> str:
        """One line."""
        return f"F1 {self.f1:.1%} (precision {self.precision:.1%}, recall {self.recall:.1%})"


def entities(tags: Sequence[str]) -> list[Span]:
    """List the entities of a tag sequence in IOB1, IOB2 or BIOES, as conlleval reads them.

    An entity starts at `B-` or `S-`, and at an `I-` or `E-` that does not continue one of its label; it
    ends after `E-` or `S-`, before `O`, `B-` or `S-`, and where the label changes.

    >>> entities(["B-person", "I-person", "O", "I-place"])
    [('person', 0, 2), ('place', 3, 4)]
    """
    found: list[Span] = []
    begun: int | None = None
    before, before_label = "O", ""
    for place, tag in enumerate([*tags, "O"]):
        kind, label = _parts(tag)
        same = label == before_label
        if begun is not None and (kind in "OBS" or before in "ES" or not same):
            found.append((before_label, begun, place))
            begun = None
        if kind != "O" and begun is None:
            begun = place
        before, before_label = kind, label
    return found


def strict_entities(tags: Sequence[str]) -> list[Span]:
    """List the entities of IOB2 tags that begin with `B-`; any other `I-` is ignored, as in seqeval's strict mode.

    >>> strict_entities(["B-person", "I-person", "O", "I-place"])
    [('person', 0, 2)]
    """
    found: list[Span] = []
    begun: tuple[str, int] | None = None
    for place, tag in enumerate([*tags, "O"]):
        kind, label = _parts(tag)
        if begun is not None and not (kind == "I" and label == begun[0]):
            found.append((*begun, place))
            begun = None
        if kind == "B":
            begun = (label, place)
    return found


def entity_scores(
    true: Sequence[Sequence[str]], found: Sequence[Sequence[str]], *, strict: bool = False
) -> EntityScores:
    """Compare true and predicted tags.

    Args:
        true: Tags of each sentence.
        found: Predicted tags of each sentence.
        strict: Whether an `I-` without its `B-` is ignored.

    Raises:
        ArgumentError: the two differ in the number of sentences or of tags.

    >>> entity_scores([["B-PER", "O"]], [["B-PER", "B-LOC"]]).precision
    0.5
    """
    if [len(tags) for tags in true] != [len(tags) for tags in found]:
        raise ArgumentError("True and found tags differ in number; give each sentence as many tags as it has words.")
    read = strict_entities if strict else entities
    there: Counter[str] = Counter()
    claimed: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for one, other in zip(true, found, strict=True):
        true_spans, found_spans = set(read(one)), set(read(other))
        there.update(label for label, _, _ in true_spans)
        claimed.update(label for label, _, _ in found_spans)
        right.update(label for label, _, _ in true_spans & found_spans)
    labels = {
        label: _score(right[label], claimed[label], there[label]) for label in sorted(there.keys() | claimed.keys())
    }
    whole = _score(right.total(), claimed.total(), there.total())
    return EntityScores(
        whole.precision,
        whole.recall,
        whole.f1,
        sum(score.f1 for score in labels.values()) / max(1, len(labels)),
        _accuracy(true, found),
        labels,
    )


def _parts(tag: str) -> tuple[str, str]:
    """Split a tag into its letter and its label, which may be empty."""
    kind, _, label = tag.partition("-")
    return kind, label or "_"


def _score(right: int, claimed: int, there: int) -> LabelScore:
    precision, recall = right / claimed if claimed else 0.0, right / there if there else 0.0
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return LabelScore(precision, recall, f1, there)


def _accuracy(true: Iterable[Sequence[str]], found: Iterable[Sequence[str]]) -> float:
    right = total = 0
    for tags, others in zip(true, found, strict=True):
        right += sum(one == other for one, other in zip(tags, others, strict=True))
        total += len(tags)
    return right / max(1, total)
