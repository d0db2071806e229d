"""The summary of what was read, for every class of example, with warnings."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regard.cli import main
from regard.corpora import Document, Images, LabelledText, TaggedWords, TextPair
from regard.tasks.reading import LeftOut, Read, account, doubts_between

TAGGED = TaggedWords(("Ada", "New York"), ("B-per", "O"))
FORMS: dict[str, tuple[Any, str, str, dict[str, int]]] = {
    "tagged": ([TaggedWords(("a",), ("O",)), TAGGED], "2 sentences, 3 words", "Ada/B-per 'New York'/O", {"per": 1}),
    "labelled": ([LabelledText("a\tfilm", ("good", "long"))], "1 text", "'a\\tfilm' -> good, long",
                 {"good": 1, "long": 1}),
    "pair": ([TextPair("good day", "guten Tag")] * 2, "2 pairs", "'good day' -> 'guten Tag'", {}),
    "document": ([Document("a.txt", "to be")], "1 document, 5 characters", "a.txt: 'to be'", {}),
    "picture": (Images(np.zeros((2, 4, 3, 1), np.uint8), ("x", "y")), "2 pictures", "4 x 3 pixels, grey -> x",
                {"x": 1, "y": 1}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_said(form: str) -> None:
    """The number of examples, one of them, and the count of each label."""
    examples, amount, example, labels = FORMS[form]
    said = account(Read(examples, (), reading="by its columns"), ["a"])
    assert (said.amount, said.example, dict(said.labels)) == (amount, example, labels)
    assert said.lines()[0] == "  read as      by its columns"
    assert json.loads(json.dumps(said.to_dict()))["count"] == len(examples)


def test_many_labels_and_rows_are_cut() -> None:
    """The most frequent labels are shown, the others counted; so are rows that were left out."""
    examples = [LabelledText(f"t{n}", (f"label{n // 2:02}",)) for n in range(60)]
    text = "\n".join(account(Read(examples, tuple(LeftOut("f", n, "no.") for n in range(7))), ["f"]).lines())
    assert "label23: 2 and 6 more with 2 to 2 each" in text
    assert "7 texts left out:\n    f: no." in text
    assert "and 2 more" in text


@pytest.mark.parametrize(
    ("examples", "doubt"),
    [
        ([TaggedWords(("a",), ("O",))], "no example has a label"),
        ([LabelledText("a", ("x",)), LabelledText("b", ("x",))], "the one label 'x'"),
        ([LabelledText(f"a {n}", (f"x{n}",)) for n in range(30)], "30 labels for 30 examples"),
        ([LabelledText("a", ("x",)), LabelledText("b", ("y",))], None),
    ],
)
def test_doubts(examples: Sequence[Any], doubt: str | None) -> None:
    """Implausible labels give a warning."""
    remarks = account(Read(examples, ()), ["a"]).remarks
    assert (not remarks) if doubt is None else (doubt in remarks[0])


def test_doubts_between_parts() -> None:
    """Labels that are not in training, and examples that are, give a warning."""
    train = [LabelledText(f"t{n}", ("x",)) for n in range(4)]
    assert doubts_between(train, [LabelledText("u", ("x",))], "test") == []
    (unseen,) = doubts_between(train, [LabelledText("u", ("y",))], "test")
    assert "the test data has labels that training never sees, and none will be found: 'y'" in unseen
    (same,) = doubts_between(train, train, "development")
    assert "4 of 4 development examples are in the training data too" in same
    pictures = Images(np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1), ("x", "y"))
    assert "2 of 2" in doubts_between(pictures, pictures, "test")[0]


def test_command_says_what_was_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Training first prints the summary of each part and saves it; standard output has JSON only."""
    data = tmp_path / "a.tsv"
    data.write_text("1\tAnna\tB-PER\n2\tgeht\tO\n\n1\tUlm\tB-LOC\n2\tist\tO\n")
    small = ("--steps", "1", "--embed-dim", "16", "--num-heads", "2", "--num-layers", "1")
    words = ["train", "ner", "--train", str(data), "--dev", str(data), "--out", str(tmp_path / "run"), "--json", *small]
    assert main(words) == 0
    printed = capsys.readouterr()
    before = printed.err.split("Training begins")[0]
    assert f"Read for training: {data}\n  read as      columns split by tabs" in before
    assert "one of them  Anna/B-PER geht/O" in before
    assert "labels       PER: 1, LOC: 1" in before
    assert "Note: 2 of 2 development examples are in the training data too" in before
    assert json.loads(printed.out)["task"] == "ner"
    kept = json.loads((tmp_path / "run" / "read.json").read_text())
    assert (list(kept), kept["training"]["labels"]) == (["training", "development"], {"PER": 1, "LOC": 1})
    assert main(["evaluate", str(tmp_path / "run"), str(data)]) == 0
    said = capsys.readouterr().err
    assert said.startswith(f"Read for evaluation: {data}")
    assert said.count("Read for") == 1
