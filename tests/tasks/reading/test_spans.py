"""Entities as character spans, exported by annotation tools: converted to words, with a report of losses."""

import json
from pathlib import Path
from typing import Any

import pytest

from regard.errors import DataError
from regard.tasks.reading import Read, TaggedOptions, read_tagged


def read(folder: Path, rows: list[Any], *, whole: bool = False, **options: object) -> Read:
    """Write records, one a line or as one list, and read them."""
    path = folder / ("a.json" if whole else "a.jsonl")
    path.write_text(json.dumps(rows) if whole else "\n".join(map(json.dumps, rows)), encoding="utf-8")
    return read_tagged(path, TaggedOptions(**options))


TEXT = "Anna lives in Ulm."
TAGGED = (("Anna", "B-PER"), ("lives", "O"), ("in", "O"), ("Ulm", "B-LOC"), (".", "O"))
PER, LOC = {"start": 0, "end": 4, "text": "Anna"}, {"start": 14, "end": 17, "text": "Ulm"}
EXPORTS = {
    "doccano": {"id": 1, "text": TEXT, "label": [[0, 4, "PER"], [14, 17, "LOC"]]},
    "doccano 1": {"id": 1, "text": TEXT, "meta": {}, "labels": [[0, 4, "PER"], [14, 17, "LOC"]]},
    "doccano, another name": {"id": 1, "data": TEXT, "label": [[0, 4, "PER"], [14, 17, "LOC"]]},
    "doccano entities": {"text": TEXT, "entities": [
        {"id": 1, "label": "PER", "start_offset": 0, "end_offset": 4},
        {"id": 2, "label": "LOC", "start_offset": 14, "end_offset": 17}], "relations": []},
    "prodigy": {"text": TEXT, "answer": "accept", "spans": [
        {"start": 0, "end": 4, "label": "PER"}, {"start": 14, "end": 17, "label": "LOC"}]},
    "label studio": {"id": 1, "data": {"text": TEXT}, "annotations": [{"result": [
        {"type": "labels", "value": {**PER, "labels": ["PER"]}},
        {"type": "labels", "value": {**LOC, "labels": ["LOC"]}},
        {"type": "choices", "value": {"choices": ["good"]}}]}]},
    "label studio, JSON-MIN": {"text": TEXT, "id": 1, "annotator": 1,
                               "label": [{**PER, "labels": ["PER"]}, {**LOC, "labels": ["LOC"]}]},
    "spaCy": [TEXT, {"entities": [[0, 4, "PER"], [14, 17, "LOC"]]}],
}  # fmt: skip


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", EXPORTS)
def test_exports(name: str, whole: bool, tmp_path: Path) -> None:
    """Each tool's export gives the same words and tags."""
    (found,) = read(tmp_path, [EXPORTS[name]], whole=whole).examples
    assert tuple(zip(found.words, found.tags, strict=True)) == TAGGED


def test_rejected_and_unseen_texts_are_left_out_and_counted(tmp_path: Path) -> None:
    """What an annotator rejected, skipped or never saw is not learnt; an accepted text without a span is."""
    found = read(tmp_path, [
        {"text": "Anna", "spans": [{"start": 0, "end": 4, "label": "PER"}], "answer": "reject"},
        {"text": "Bert", "answer": "ignore"}, {"text": "no name", "spans": [], "answer": "accept"}, EXPORTS["prodigy"],
    ])  # fmt: skip
    assert [one.words[0] for one in found.examples] == ["no", "Anna"]
    assert "1 text was left out: the answer is 'reject'." in found.remarks
    assert "1 text was left out: the answer is 'ignore'." in found.remarks
    unseen = {"id": 2, "data": {"text": "Bert"}, "annotations": []}
    cancelled = {"id": 3, "data": {"text": "Carl"}, "annotations": [{"was_cancelled": True, "result": []}]}
    found = read(tmp_path, [EXPORTS["label studio"], unseen, cancelled], whole=True)
    assert (len(found.examples), found.remarks) == (1, ("2 texts were left out: nobody has annotated it.",))
    with pytest.raises(DataError, match="all were left out: 1 because nobody has annotated it"):
        read(tmp_path, [unseen], whole=True)


def test_overlaps_and_cut_words_are_counted(tmp_path: Path) -> None:
    """Of spans that overlap the longest is kept; a span inside a word cuts it; both are said."""
    found = read(tmp_path, [
        {"text": "FC Ulm wins", "label": [[3, 6, "LOC"], [0, 6, "ORG"]]},
        {"text": "Ulmer beer", "label": [[0, 3, "LOC"]]},
        {"text": "Anna lives", "label": [[0, 5, "PER"], [4, 5, "X"]]},
    ])  # fmt: skip
    assert [one.tags for one in found.examples] == [("B-ORG", "I-ORG", "O"), ("B-LOC", "O", "O"), ("B-PER", "O")]
    assert found.examples[1].words == ("Ulm", "er", "beer")
    said = " ".join(found.remarks)
    assert "2 of 5 spans overlap a longer one" in said
    assert "1 words were cut because a span begins or ends inside them (first 'Ulmer')" in said
    assert "1 spans begin or end at a blank" in said


def test_offsets_are_code_points(tmp_path: Path) -> None:
    """Offsets in UTF-16 units (JavaScript) are corrected if the span's text is given; otherwise reported."""
    text = "😀 Anna lives"
    span = {"start": 3, "end": 7, "text": "Anna", "labels": ["PER"]}
    found = read(
        tmp_path, [{"id": 1, "data": {"text": text}, "annotations": [{"result": [{"value": span}]}]}], whole=True
    )
    assert found.examples[0].tags == ("O", "B-PER", "O")
    assert "1 spans count characters as JavaScript does" in found.remarks[0]
    assert read(tmp_path, [{"text": text, "label": [[2, 6, "PER"]]}]).examples[0].tags == ("O", "B-PER", "O")
    rows = [{"text": "Müller äöü lebt in Ulm heute", "label": [[13, 17, "X"], [23, 26, "LOC"]]}] * 3
    with pytest.raises(DataError, match=r"6 of 6 spans begin or end in a word .*--as-told"):
        read(tmp_path, rows)
    assert len(read(tmp_path, rows, as_told=True).examples) == 3


BAD = {
    "outside": ({"text": "Anna", "label": [[0, 9, "PER"]]}, "goes from 0 to 9 in a text of 4 characters"),
    "empty": ({"text": "Anna", "label": [[2, 2, "PER"]]}, "goes from 2 to 2"),
    "another text": ({"text": "Anna lives", "label": [{"start": 1, "end": 5, "text": "Anna", "labels": ["PER"]}]},
                     "are 'nna ', and the span calls them 'Anna'"),
    "two labels": ({"text": "Anna", "spans": [{"start": 0, "end": 4, "labels": ["PER", "X"]}]}, r"\['PER', 'X'\]"),
    "no number": ({"text": "Anna", "spans": [{"start": "0", "end": 4, "label": "PER"}]}, "two whole numbers"),
    "no span": ({"text": "Anna"}, "no text with a list of entities"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_spans_are_named(name: str, tmp_path: Path) -> None:
    """A span that does not fit is a bad row with its line, and counted if rows may be skipped."""
    row, rule = BAD[name]
    with pytest.raises(DataError, match=f"line 2: .*{rule}"):
        read(tmp_path, [EXPORTS["doccano"], row])
    found = read(tmp_path, [EXPORTS["doccano"], row], skip_bad_rows=True)
    assert (len(found.examples), len(found.left_out)) == (1, 1)


def test_texts_without_an_entity_are_examples(tmp_path: Path) -> None:
    """An empty list says that there is none, under every name a tool gives the text."""
    rows = [EXPORTS["doccano"], *({key: "no name", "label": []} for key in ("text", "data", "sentence"))]
    assert [one.tags for one in read(tmp_path, rows).examples][1:] == [("O", "O")] * 3


def test_words_of_the_source_are_kept(tmp_path: Path) -> None:
    """Where the export has cut the text into words, these are taken."""
    tokens = [{"text": "New York", "start": 0, "end": 8, "id": 0}, {"text": "sleeps", "start": 9, "end": 15, "id": 1}]
    row = {"text": "New York sleeps", "tokens": tokens, "spans": [{"start": 0, "end": 8, "label": "LOC"}]}
    assert read(tmp_path, [row]).examples[0].words == ("New York", "sleeps")


def test_spans_of_words_are_no_characters(tmp_path: Path) -> None:
    """Entities that count words (SpERT, GLiNER) are refused: nothing says whether their end is one of them."""
    spans = [{"type": "PER", "start": 0, "end": 1}]
    for row in ({"tokens": ["Anna", "lives"], "entities": spans, "orig_id": "a long name"},
                {"tokenized_text": ["Anna", "lives"], "ner": [[0, 0, "PER"]]}):  # fmt: skip
        with pytest.raises(DataError, match=r"line 1: '\w+' counts the words of '\w+'"):
            read(tmp_path, [row])


def test_labels_of_texts_are_no_spans(tmp_path: Path) -> None:
    """A table of texts with labels is told from one with spans."""
    with pytest.raises(DataError, match=r"(?s)no column holds tags.*train sentiment"):
        read(tmp_path, [{"text": "a film", "label": ["good"]}, {"text": "a film", "label": []}])
