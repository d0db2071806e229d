"""Which column of a sheet holds the words, and which the tags, detected by content."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...errors import DataError
from ..metrics import entities
from ._columns import TAG_NAME, WORD_NAME
from ._schemes import BARE, BRACKETS, FEW_LABELS, MOST, NAMELESS, PLAIN, USUAL, Style, are_tags, style_of, to_iob2
from ._sheets import Block, Sheet

Kind = Literal["tags", "chunks", "outside", "labels", "index", "numbers", "filler", "group", "pos", "other", "words"]

# Phrase types of chunking tasks (English, German, Dutch, Spanish): no entity type has these names.
CHUNKS = frozenset("NP VP PP ADVP ADJP SBAR PRT CONJP INTJ LST UCP PNP NC VC PC NX VX".split())
# Part-of-speech tags: Universal, Penn, STTS.
POS = frozenset(
    "ADJ ADP ADV AUX CCONJ CONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X _ . , : ; ( ) `` '' \" # $ "
    "-LRB- -RRB- HYPH NFP AFX ADD XX CC CD DT EX FW IN JJ JJR JJS LS MD NN NNP NNPS NNS PDT POS PRP PRP$ RB RBR RBS RP "
    "TO UH VB VBD VBG VBN VBP VBZ WDT WP WP$ WRB ADJA ADJD APPO APPR APPRART APZR ART CARD ITJ KOKOM KON KOUI KOUS NE "
    "PDAT PDS PIAT PIS PPER PPOSAT PPOSS PRELAT PRELS PRF PROAV PTKA PTKANT PTKNEG PTKVZ PTKZU PWAT PWAV PWS TRUNC "
    "VAFIN VAIMP VAINF VAPP VMFIN VMINF VMPP VVFIN VVIMP VVINF VVIZU VVPP XY $( $, $.".split()
)
# Arguments of predicates in semantic role labelling (CoNLL-2005, 2009, 2012), in brackets or not.
ARGUMENT = re.compile(r"(C-|R-)?(V|A(RG)?(\d|A|M(-\w+)?))")
# Numbers, dates, spans of characters: 12, 3-7, 1.5.
NUMBER = re.compile(r"[+-]?\d[\d.,:;/-]*")
# The index of a word, alone or after that of its sentence: 3, 1-3, s1_t3.
NUMBERED = re.compile(r"(|.*[-_.:#]\D*|.*\d\D+)(\d+)", re.DOTALL)
# Placeholders in a column without content.
FILLER = frozenset(("", "_", "-", "--", "*", "None", "nan"))
# A tag inside a column of features: `start_char=0|end_char=4|ner=S-PERSON`.
FEATURE = re.compile(r"(?:^|.*\|)(?:ner|ne|entity|named_?entity)=([^|]*)(?:\|.*)?", re.IGNORECASE | re.DOTALL)
NER_NAME = re.compile(r".*\b(ner|ne)\b.*")


@dataclass(frozen=True)
class Roles:
    """The columns that hold words and tags, and how the tags are written."""

    words: int
    tags: int
    style: Style
    others: tuple[str, ...]
    """Descriptions of the other columns, for the user."""
    remarks: tuple[str, ...]
    ranges: int | None = None
    """The column of word numbers, if some of them are ranges (`1-2`) or empty nodes (`8.1`)."""

    @property
    def lettered(self) -> bool:
        """Whether tags have a letter that marks where an entity begins."""
        return self.style is not PLAIN


class Column:
    """The content of one column."""

    def __init__(self, sheet: Sheet, place: int) -> None:
        self.place = place
        self.called = sheet.called(place)
        self.name = re.sub(r"[_\W]+", " ", str(sheet.names[place]).lower()) if sheet.names is not None else ""
        self.sentences: list[Sequence[Any]] = [
            block.columns[place] if isinstance(block.columns[place], list | tuple) else () for block in sheet.blocks
        ]
        self.values = Counter(str(cell) for sentence in self.sentences for cell in sentence)
        self.ranges = any(map(str.isdecimal, self.values)) and any(map(_is_range, self.values))
        self.style, self.share = style_of(self.values)
        self.holds_tags = are_tags(self.values) is not None
        self.kind = self._kind(sheet)

    def _kind(self, sheet: Sheet) -> Kind:
        total = self.values.total()
        if self.place == sheet.sentence:
            return "index" if self._counts() else "group"
        if total == 0 or not self.values.keys() - FILLER:
            return "filler"
        if not sheet.whole and self._counts():
            return "index" if all(value[:1].isdecimal() for value in self.values) else "group"
        if self.holds_tags and self.style is not PLAIN:
            labels = {tag.partition("-")[2] for one in self.values if (tag := self.style.letter_and_label(one))}
            labels = {label for label in labels if label}
            if not labels:
                return "outside"
            if labels <= CHUNKS or any(ARGUMENT.fullmatch(label) for label in labels):
                return "chunks"
            return "tags"
        if sum(count for value, count in self.values.items() if NUMBER.fullmatch(value)) == total:
            return "numbers"
        if self.values.keys() <= POS | FILLER and len(self.values) > 1:
            return "pos"
        if self.holds_tags:
            return "labels"
        if sum(count for value, count in self.values.items() if "=" in value[1:-1]) > total / 2 or (
            sum(self.values[filler] for filler in FILLER) > total / 2
        ):
            return "other"
        if self._one_each():
            return "group"
        return "words"

    def _counts(self) -> bool:
        """Return whether it counts the words of each sentence, or of the whole source."""
        known, steps = None, 0
        for sentence in self.sentences:
            before = None
            for cell in sentence:
                if self.ranges and _is_range(str(cell)):
                    continue
                match = NUMBERED.fullmatch(str(cell))
                if match is None:
                    return False
                this = (match[1], int(match[2]))
                if before is not None:
                    if this != (before[0], before[1] + 1):
                        return False
                    steps += 1
                elif this[1] not in (0, 1) and known is not None and this[1] != known + 1:
                    return False
                before = this
            known = known if before is None else before[1]
        return steps > 0

    def _one_each(self) -> bool:
        """Return whether all words of a sentence have the same value: a sentence or document id."""
        longer = [sentence for sentence in self.sentences if len(sentence) > 1]
        return bool(longer) and all(len({str(cell) for cell in sentence}) == 1 for sentence in longer)

    @property
    def holds_texts(self) -> bool:
        """Whether most cells hold several words."""
        return 2 * sum(count for cell, count in self.values.items() if " " in cell.strip()) > self.values.total()

    def is_as_long(self, other: Column) -> bool:
        """Return whether it has as many words as another in most sentences."""
        pairs = list(zip(self.sentences, other.sentences, strict=True))
        return sum(len(a) == len(b) for a, b in pairs) >= MOST * len(pairs)

    def is_word_column(self) -> bool:
        """Return whether it may hold words."""
        return self.kind in ("words", "labels")


def _is_range(text: str) -> bool:
    """Return whether a word number is a range of words, `1-2`, or an empty node, `8.1`."""
    return re.fullmatch(r"\d+[-.]\d+", text) is not None


def find_roles(sheet: Sheet, words: int | str | None, tags: int | str | None, scheme: str) -> Roles:
    """Find the columns of words and tags; columns that the user named are taken as they are.

    Raises:
        DataError: no column holds tags, or words; or several do. The message shows what each would give.
    """
    remarks = _open_features(sheet)
    columns = [Column(sheet, place) for place in range(sheet.width)]
    word = None if words is None else columns[sheet.place(words, "word")]
    if tags is not None:
        tag = columns[sheet.place(tags, "tag")]
        if tag.kind == "numbers":
            raise DataError(_unnamed(sheet, tag))
    else:
        tag = _tag_column(sheet, [column for column in columns if column is not word], remarks)
    if word is None:
        word = _word_column(sheet, columns, tag)
        if not sheet.whole and word.holds_texts:
            raise DataError(_no_tags(sheet, columns))
    elif word.kind == "index":
        remarks.append(f"column {word.called} numbers the words, and it was named as that of the words.")
    index = next((column for column in columns if column.kind == "index" and column is not word), None)
    others = tuple(
        f"{column.called} {'numbers the words' if column is index else 'holds other tags'}"
        for column in columns
        if column is index or (column.kind in ("tags", "labels") and column not in (word, tag))
    )
    style = _style(tag, scheme)
    if style is PLAIN:
        remarks.append(
            "the tags have no letter that says where an entity begins: neighbours of one label are read as one entity."
        )
        if not tag.values["O"]:
            remarks.append("no word has the tag O: each is part of an entity.")
    elif style is BARE:
        remarks.append(f"the tags are letters without a label: each entity is called {NAMELESS!r}.")
    elif style is not USUAL:
        remarks.append(f"the tags are written as {style.name}; they are read as B-label, I-label and O.")
    numbered = index.place if index is not None and index.ranges else None
    return Roles(word.place, tag.place, style, others, tuple(remarks), numbered)


def _open_features(sheet: Sheet) -> list[str]:
    """Replace a column of features by the tags in it, and record that."""
    if sheet.whole:
        return []
    for place in range(sheet.width):
        matches = {cell: match for block in sheet.blocks for cell in block.columns[place]
                   if isinstance(cell, str) and "=" in cell and (match := FEATURE.fullmatch(cell))}  # fmt: skip
        if not matches or are_tags(Counter(match[1] for match in matches.values())) is None:
            continue
        for number, block in enumerate(sheet.blocks):
            tags = [matches[cell][1] if cell in matches else "O" for cell in block.columns[place]]
            columns = [tags if at == place else column for at, column in enumerate(block.columns)]
            sheet.blocks[number] = block._replace(columns=columns)
        sheet.features = place
        return [f"the tags stand among the features of column {sheet.called(place)}; words without one have O."]
    return []


def _style(tag: Column, scheme: str) -> Style:
    if scheme == "io":
        return PLAIN
    if tag.kind == "labels" or tag.style is PLAIN:
        return PLAIN if scheme == "auto" else USUAL
    if tag.share < MOST and not tag.values["O"] and not any(USUAL.letter_and_label(tag) for tag in tag.values):
        # The user named a column in which no tag has a letter and none is O.
        return PLAIN if scheme == "auto" else USUAL
    return tag.style


def _tag_column(sheet: Sheet, columns: list[Column], remarks: list[str]) -> Column:
    found = [column for column in columns if column.kind == "tags"]
    if not found:
        found = [column for column in columns if column.kind == "labels"]
        found = [column for column in found if NER_NAME.fullmatch(column.name)] or found
        # A word can be "O" too, so the columns with the fewest different values are those of labels.
        found = sorted(found, key=lambda column: len(column.values))[:1]
    if not found:
        # Phrases are used only if nothing else is: a file without any entity has an empty column of entities.
        found = [column for column in columns if column.kind == "outside"][-1:]
    if not found:
        found = [column for column in columns if column.kind == "chunks" and column.style is not BRACKETS]
    if not found:
        # Some of its tags are wrong; the errors of the rows will name them.
        partly = [column for column in columns if 0 < column.share < MOST and column.kind != "index"]
        found = sorted(partly, key=lambda column: column.share)[-1:]
        if found and found[0].share < 0.3:
            found = []
    if not found:
        coded = _coded(columns)
        last = coded is not None and coded.place == sheet.width - 1
        if coded is not None and (sheet.whole or (last and not any(column.holds_texts for column in columns))):
            raise DataError(_unnamed(sheet, coded))
    if not found:
        raise DataError(_no_tags(sheet, columns))
    if len(found) > 1:
        return _one_of(sheet, found, remarks)
    return found[0]


def _coded(columns: Sequence[Column]) -> Column | None:
    """Return the column of numeric tags: by its name, or the last one with few different values."""
    coded = [column for column in columns if column.kind == "numbers" and len(column.values) <= FEW_LABELS
             and all(map(str.isdecimal, column.values))]  # fmt: skip
    named = [column for column in coded if TAG_NAME.fullmatch(column.name)]
    found = [column for column in named if NER_NAME.fullmatch(column.name)] or named or coded
    return found[-1] if found else None


def coded_column(sheet: Sheet) -> int | None:
    """Return the index of the column of numeric tags, if there is one."""
    found = _coded([Column(sheet, place) for place in range(sheet.width)])
    return None if found is None else found.place


def _one_of(sheet: Sheet, found: list[Column], remarks: list[str]) -> Column:
    """Choose between columns that all hold tags, or raise an error that asks the user."""
    if all(column.sentences == found[0].sentences for column in found):
        return found[-1]
    named = [column for column in found if NER_NAME.fullmatch(column.name)]
    if len(named) == 1:
        return named[0]
    if len(found) == 2:
        spans = [_spans(column) for column in found]
        for outer, inner in ((0, 1), (1, 0)):
            if _contained(spans[inner], spans[outer]) >= MOST > _contained(spans[outer], spans[inner]):
                remarks.append(
                    f"column {found[inner].called} holds entities inside those of column {found[outer].called}, which "
                    f"are read; the inner ones with {_option(sheet, 'tag', found[inner])}."
                )
                return found[outer]
    shown = "\n".join(f"  {_option(sheet, 'tag', column):20} {_sample(sheet, column)}" for column in found)
    raise DataError(
        f"{sheet.path}: {len(found)} columns hold tags, and nothing says which to learn. Name one:\n{shown}"
    )


def _spans(column: Column) -> list[list[tuple[str, int, int]]]:
    read = [[tag or "O" for tag in column.style.read([str(cell) for cell in one])] for one in column.sentences]
    return [entities(to_iob2(tags)) for tags in read]


def _contained(inner: list[list[tuple[str, int, int]]], outer: list[list[tuple[str, int, int]]]) -> float:
    """Return the share of entities that lie inside others."""
    inside = total = 0
    for small, large in zip(inner, outer, strict=True):
        total += len(small)
        inside += sum(any(a <= start and stop <= b for _, a, b in large) for _, start, stop in small)
    return inside / total if total else 0.0


def _word_column(sheet: Sheet, columns: list[Column], tag: Column) -> Column:
    found = [column for column in columns if column is not tag and column.is_word_column()]
    found = [column for column in found if column.is_as_long(tag)] or found
    named = [column for column in found if WORD_NAME.fullmatch(column.name)]
    if len(named) == 1:
        return named[0]
    found = found or [column for column in columns if column is not tag and column.kind in ("group", "pos")]
    found = found or [column for column in columns if column is not tag and column.kind in ("numbers", "tags", "other")]
    if not found:
        shown = ", ".join(f"{column.called} ({_values(column)})" for column in columns if column is not tag)
        raise DataError(
            f"{sheet.path}: no column holds words; the tags are in column {tag.called}, beside it: "
            f"{shown or 'nothing'}. If one of these is meant, name it: --word-column {columns[0].place}."
        )
    most = max(found, key=lambda column: len(column.values))
    return found[0] if 3 * len(found[0].values) >= len(most.values) else most


def _option(sheet: Sheet, what: str, column: Column) -> str:
    return f"--{what}-column {column.place if sheet.names is None else sheet.names[column.place]}"


def _sample(sheet: Sheet, column: Column) -> str:
    """Return a sample sentence, read with one of the columns of tags."""
    word = _word_column(sheet, [Column(sheet, place) for place in range(sheet.width)], column)
    pairs = list(zip(word.sentences, column.sentences, strict=True))
    words, tags = next(((w, t) for w, t in pairs if any(one != "O" for one in t)), pairs[0])
    return " ".join(f"{word}/{tag}" for word, tag in list(zip(words, tags, strict=False))[:8])


def _values(column: Column) -> str:
    return ", ".join(repr(value) for value, _ in column.values.most_common(3))


def _no_tags(sheet: Sheet, columns: Sequence[Column]) -> str:
    shown = "\n".join(f"  {column.called:12} {_values(column)}" for column in columns)
    path = sheet.path
    return (
        f"{path} was read as {sheet.form}, and no column holds tags (O, B-person, I-person):\n{shown}\n"
        "Name the column of tags with --tag-column, or give a file with a word and its tag a line. Labels of whole "
        "texts are learnt by `train sentiment`."
    )


def _unnamed(sheet: Sheet, column: Column) -> str:
    numbers = [int(value) for value in column.values if value.isdecimal()]
    return (
        f"{sheet.path}: column {column.called} holds numbers ({min(numbers)} to {max(numbers)}), and their "
        "names are not beside them. Give the names in the order of the numbers, from 0: --labels O,B-PER,I-PER,..."
    )


def range_column(sheet: Sheet) -> int | None:
    """Return the column of word numbers of which some are ranges or empty nodes; None if there is none."""
    columns = [Column(sheet, place) for place in range(sheet.width)]
    return next((column.place for column in columns if column.kind == "index" and column.ranges), None)


def blocks_without_ranges(sheet: Sheet, place: int) -> tuple[list[Block], int]:
    """Return the sentences without the rows of word ranges and empty nodes, and the number of such rows."""
    found, count = [], 0
    for block in sheet.blocks:
        keep = [not _is_range(str(cell)) for cell in block.columns[place]]
        count += keep.count(False)
        columns = [[cell for cell, kept in zip(column, keep, strict=True) if kept] for column in block.columns]
        lines = [line for line, kept in zip(block.lines, keep, strict=True) if kept]
        if lines:
            found.append(Block(block.path, lines, columns))
    return found, count
