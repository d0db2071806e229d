"""The summary of what was read, shown to the user before training."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...corpora import Document, Images, LabelledText, TaggedWords, TextPair
from ._files import LeftOut, Read

# How many characters of an example, labels, and rows left out are shown.
LETTERS, LABELS, ROWS = 160, 24, 5
# With fewer examples than this the distribution of labels proves nothing.
FEW = 20


@dataclass(frozen=True)
class Account:
    """How a reader interpreted a source, for the user to check."""

    source: tuple[str, ...]
    """The files or names that were read."""
    reading: str
    """How the source was interpreted: its format, and the meaning of its columns."""
    count: int
    """Number of examples."""
    amount: str
    """The number in words, with the size: `120 sentences, 960 words`."""
    example: str
    """One example as it was read."""
    labels: Mapping[str, int]
    """The count of each label, the most frequent first; empty if there are none."""
    left_out: tuple[LeftOut, ...]
    """What was left out, and why."""
    remarks: tuple[str, ...]
    """Warnings: what was read although it looks like a mistake, a sentence each."""
    form: str = ""
    """The name of the reader that accepted the source."""
    columns: Mapping[str, str | int] = field(default_factory=dict)
    """The columns that were found by what they hold."""
    multiline: bool = False
    """Whether a text has line ends within."""

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        rows = [("read as", self.reading)] if self.reading else []
        rows += [("examples", self.amount), ("one of them", self.example)]
        if self.labels:
            rows.append(("labels", _counts(self.labels)))
        shown = [f"  {name:12} {text}" for name, text in rows]
        if self.left_out:
            one = self.amount.split()[1].rstrip("s,")  # "1,200 sentences, 9,000 words"
            shown.append(f"  {_many(len(self.left_out), one)} left out:")
            shown += [f"    {row}" for row in self.left_out[:ROWS]]
            shown += [f"    and {len(self.left_out) - ROWS} more"] if len(self.left_out) > ROWS else []
        return shown + [f"Note: {remark}" for remark in self.remarks]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return dataclasses.asdict(self)


def account(found: Read[Any], source: Sequence[str]) -> Account:
    """Summarise what was read from a source.

    >>> from regard.corpora import TextPair
    >>> found = Read([TextPair("good day", "guten Tag")], (), reading="two files")
    >>> print("\\n".join(account(found, ["en", "de"]).lines()))
      read as      two files
      examples     1 pair
      one of them  'good day' -> 'guten Tag'
    """
    examples = found.examples
    one = examples if isinstance(examples, Images) else _telling(examples)
    return Account(
        source=tuple(map(str, source)),
        reading=found.reading,
        count=len(examples),
        amount=_amount(one, examples),
        example=_example(one),
        labels=dict(labels(examples).most_common()),
        left_out=found.left_out,
        remarks=(*found.remarks, *doubts(examples)),
        form=found.form,
        columns=dict(found.columns),
        multiline=not isinstance(examples, Images)
        and any("\n" in (getattr(one, "text", "") or getattr(one, "source", "")).strip() for one in examples),
    )


def labels(examples: Any) -> Counter[str]:
    """Count the labels of examples: of entities, texts or pictures."""
    if isinstance(examples, Images):
        return Counter(examples.labels)
    found: Counter[str] = Counter()
    for one in examples:
        if isinstance(one, TaggedWords):
            found.update(tag[2:] for tag in one.tags if tag.startswith("B-"))
        elif isinstance(one, LabelledText):
            found.update(one.labels)
    return found


def doubts(examples: Any) -> list[str]:
    """Return warnings about the labels of examples, a sentence each."""
    first = examples if isinstance(examples, Images) else examples[0]
    if not isinstance(first, TaggedWords | LabelledText | Images):
        return []
    counted, count = labels(examples), len(examples)
    if not counted:
        return ["no example has a label: there is nothing to learn."]
    if isinstance(first, TaggedWords):
        return []
    if len(counted) == 1:
        return [f"every example has the one label {next(iter(counted))!r}: there is nothing to tell apart."]
    if count >= FEW and len(counted) > count / 2:
        return [f"there are {len(counted):,} labels for {count:,} examples: is the label's column the right one?"]
    return []


def doubts_between(train: Any, other: Any, part: str) -> list[str]:
    """Return warnings about a part of the data compared with the training examples; `part` is its name."""
    found = []
    learnt = labels(train)
    missing = [label for label in labels(other) if label not in learnt]
    if missing:
        named = ", ".join(map(repr, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        found.append(f"the {part} data has labels that training never sees, and none will be found: {named}.")
    known = set(_keys(train))
    shared = sum(key in known for key in _keys(other))
    if 2 * shared > len(other):
        found.append(
            f"{shared:,} of {len(other):,} {part} examples are in the training data too: "
            "their figures say what was learnt by heart."
        )
    return found


def _keys(examples: Any) -> list[Any]:
    if isinstance(examples, Images):
        return [(hash(pixels.tobytes()), label) for pixels, label in zip(examples.pixels, examples.labels, strict=True)]
    return [one.text if isinstance(one, Document) else one for one in examples]


def _telling(examples: Sequence[Any]) -> Any:
    """Return the first example that has a label and fits without truncation, or else the first."""
    first = examples[0]
    if not isinstance(first, TaggedWords):
        return first
    labelled = [one for one in examples if any(tag != "O" for tag in one.tags)]
    return next((one for one in labelled if len(_tagged(one)) <= LETTERS), labelled[0] if labelled else first)


def _amount(one: Any, examples: Any) -> str:
    count = len(examples)
    if isinstance(one, TaggedWords):
        return f"{_many(count, 'sentence')}, {_many(sum(len(x.words) for x in examples), 'word')}"
    if isinstance(one, Document):
        return f"{_many(count, 'document')}, {_many(sum(len(x.text) for x in examples), 'character')}"
    return _many(count, {LabelledText: "text", TextPair: "pair", Images: "picture"}[type(one)])


def _many(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def _example(one: Any) -> str:
    if isinstance(one, TaggedWords):
        return _short(_tagged(one))
    if isinstance(one, LabelledText):
        return f"{_quoted(one.text)} -> {', '.join(one.labels) or 'no label'}"
    if isinstance(one, TextPair):
        return f"{_quoted(one.source)} -> {_quoted(one.target)}"
    if isinstance(one, Document):
        return f"{one.name}: {_quoted(one.text)}"
    height, width, channels = one.pixels.shape[1:]
    return f"{height} x {width} pixels, {'grey' if channels == 1 else f'{channels} colours'} -> {one.labels[0]}"


def _tagged(one: TaggedWords) -> str:
    return " ".join(f"{_seen(word)}/{tag}" for word, tag in zip(one.words, one.tags, strict=True))


def _seen(word: str) -> str:
    """Return a word; one with invisible characters or a space in Python's notation."""
    return word if word.isprintable() and " " not in word else repr(word)


def _quoted(text: str) -> str:
    return repr(_short(text))


def _short(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[:LETTERS]} ..."


def _counts(counted: Mapping[str, int]) -> str:
    shown = [f"{label}: {count:,}" for label, count in list(counted.items())[:LABELS]]
    rest = list(counted.values())[LABELS:]
    more = f" and {len(rest):,} more with {rest[-1]:,} to {rest[0]:,} each" if rest else ""
    return ", ".join(shown) + more
