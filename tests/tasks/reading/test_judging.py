"""Plausible but wrong interpretations are detected from contents and refused, unless they are confirmed."""

import json
from pathlib import Path
from typing import Any

import pytest

from regard.corpora import LabelledText, TextPair
from regard.errors import DataError
from regard.tasks.reading import (
    LabelledOptions,
    PairOptions,
    read_labelled,
    read_pairs,
)

CONLL = "".join(f"{word}\t{tag}\n" for word, tag in [("Ada", "B-PER"), ("wrote", "O"), ("to", "O"), ("Bo", "B-PER")])

DOUBTFUL: dict[str, tuple[str, str, str]] = {
    "AG news without a header": (
        "a.csv",
        "".join(f'"{1 + n % 4}","Title of {n}","Body of {n}"\n' for n in range(120)),
        "the texts are numbers, '1', '2', '3'",
    ),
    "index for text": ("a.tsv", "0\tgood film\n1\tbad film\n", "the texts are numbers"),
    "labels that never return": (
        "a.csv",
        "text,label\n" + "".join(f"the film {n} was it,name {n}\n" for n in range(20)),
        "there are 20 labels for 20 texts",
    ),
    "several labels in a cell": (
        "a.tsv",
        "text\tlabel\na film\t3\nb film\t12\nc film\t3,12\nd film\t3\n",
        "labels such as '3,12' are made of others, with ',' between.*--label-separator ','",
    ),
    "exchanged": (
        "a.csv",
        "text,label\npos,this is a good film\nneg,this is a bad film\npos,I liked every minute\n",
        "the labels are longer than the texts",
    ),
    "CoNLL without entities": ("a.tsv", "the\tDET\ndog\tNOUN\n\nran\tVERB\ncat\tNOUN\n", "`train ner` reads that"),
    "CoNLL named tsv": ("a.tsv", (CONLL + "\n") * 5, "`train ner` reads that"),
    "parts for labels": ("a.csv", "text,label\na film,train\nb film,test\nc film,train\n", "parts of the data"),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_labelled(tmp_path: Path, name: str) -> None:
    """Each is refused with what it looks like and what to do; with `as_told` it is read."""
    file, contents, says = DOUBTFUL[name]
    (tmp_path / file).write_text(contents)
    with pytest.raises(DataError, match=rf"{says}.*--as-told"):
        read_labelled(tmp_path / file)
    assert read_labelled(tmp_path / file, LabelledOptions(as_told=True)).examples


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        ("0\tGo.\n1\tStop.\n", "the sources are numbers"),
        ("Go.\t12\nStop.\t4.5\n", "the targets are numbers"),
        ("play a song\tO O B-thing\nrate it\tO O\n", "the targets are tags"),
        ("".join(f"line {n}\tline {n}\n" for n in range(12)), "each source is its own target"),
    ],
)
def test_pairs(tmp_path: Path, contents: str, says: str) -> None:
    """Pairs that are something else are refused, and read as told."""
    (tmp_path / "a.tsv").write_text(contents)
    with pytest.raises(DataError, match=rf"{says}.*--as-told"):
        read_pairs(tmp_path / "a.tsv")
    assert read_pairs(tmp_path / "a.tsv", PairOptions(as_told=True)).examples


def test_what_is_fine_is_left_alone(tmp_path: Path) -> None:
    """Few examples, a lexicon of words and years among texts are no reason to refuse."""
    for contents in (
        "text,label\nfine,good\npoor,bad\ngreat,good\nawful,bad\n",
        "text,label\n1984,novel\nDune,novel\n2001,film\nAlien,film\n",
        "text,label\na,x\nb,y\nc,z\n",
        'text,label\na,Korea\nb,"Korea, South"\nc,"Washington, D.C."\n',
    ):
        (tmp_path / "a.csv").write_text(contents)
        assert len(read_labelled(tmp_path / "a.csv").examples) == contents.count("\n") - 1


def test_rejected_annotations(tmp_path: Path) -> None:
    """What an annotator rejected or ignored is left out and counted; a column of answers may be the label."""
    rows = [{"text": f"t {n}", "label": "x", "answer": a} for n, a in enumerate(["accept", "reject", "ignore"])]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = read_labelled(tmp_path / "a.jsonl")
    assert [one.text for one in found.examples] == ["t 0"]
    assert "left out: 2" in found.remarks[0]
    assert len(read_labelled(tmp_path / "a.jsonl", LabelledOptions(label="answer")).examples) == 3


def jsonl(path: Path, *labels: Any) -> Path:
    """Write a text with each label as JSON lines."""
    path.write_text("\n".join(json.dumps({"text": f"t{n}", "label": one}) for n, one in enumerate(labels)))
    return path


def test_labels_in_lists_and_objects(tmp_path: Path) -> None:
    """Lists, choices, shares and whole numbers are labels; what an object holds has a name with a full stop."""
    found = read_labelled(jsonl(tmp_path / "a.jsonl", ["a", "b"], {"choices": ["c"]}, {"d": 1.0, "e": 0.0}, 3.0, True))
    assert [one.labels for one in found.examples] == [("a", "b"), ("c",), ("d",), ("3",), ("True",)]
    (tmp_path / "a.csv").write_text('text,label\na,"[\'x\', \'y\']"\nb,"[""x""]"\nc,[unk]\n')
    assert [one.labels for one in read_labelled(tmp_path / "a.csv").examples] == [("x", "y"), ("x",), ("[unk]",)]
    with pytest.raises(DataError, match="`train ner`"):
        read_labelled(jsonl(tmp_path / "a.jsonl", [[0, 3, "PER"]]))
    with pytest.raises(DataError, match=r"--label label\.0\.name"):
        read_labelled(jsonl(tmp_path / "a.jsonl", [{"name": "x"}]))
    with pytest.raises(DataError, match=r"--label label\.name"):
        read_labelled(jsonl(tmp_path / "a.jsonl", {"name": "x"}))
    assert read_labelled(tmp_path / "a.jsonl", LabelledOptions(label="label.name")).examples[0].labels == ("x",)
    row = {"data": {"text": "hm"}, "annotations": [{"result": [{"value": {"choices": ["pos"]}}]}]}
    (tmp_path / "b.json").write_text(json.dumps([row]))
    options = LabelledOptions("data.text", "annotations.0.result.0.value")
    assert read_labelled(tmp_path / "b.json", options).examples == [LabelledText("hm", ("pos",))]


@pytest.mark.parametrize("label", ["nan", "NaN", float("nan"), None, "", " "])
def test_empty_labels(tmp_path: Path, label: Any) -> None:
    """An empty cell, whatever a program writes for it, is no label."""
    jsonl(tmp_path / "a.jsonl", "x", label)
    with pytest.raises(DataError, match=r"line 2: .*empty"):
        read_labelled(tmp_path / "a.jsonl")
    assert len(read_labelled(tmp_path / "a.jsonl", LabelledOptions(skip_bad_rows=True)).examples) == 1


def test_labels_that_differ_in_case(tmp_path: Path) -> None:
    """They are read as they are, and that is said."""
    (tmp_path / "a.csv").write_text("text,label\na,Pos\nb,pos \nc,neg\n")
    assert "Pos, pos" in read_labelled(tmp_path / "a.csv").remarks[0]


ROWS = [{"source": "Go.", "target": "Geh."}, {"source": "Stop.", "target": "Halt."}]
PAIRS = [TextPair("Go.", "Geh."), TextPair("Stop.", "Halt.")]


@pytest.mark.parametrize("file", ["a.json", "a.jsonl"])
@pytest.mark.parametrize(
    "contents",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        "\n".join(map(json.dumps, ROWS)),
        "\n".join(json.dumps(row, indent=1) for row in ROWS),
        json.dumps({"data": ROWS}, indent=1),
        json.dumps({"source": ["Go.", "Stop."], "target": ["Geh.", "Halt."]}, indent=1),
        json.dumps({"source": {"0": "Go.", "1": "Stop."}, "target": {"0": "Geh.", "1": "Halt."}}, indent=1),
    ],
)
def test_json_in_every_form(tmp_path: Path, file: str, contents: str) -> None:
    """A list, objects one after the other, an object of columns: the same rows, whatever the file is called."""
    (tmp_path / file).write_text(contents)
    assert read_pairs(tmp_path / file).examples == PAIRS


def test_json_that_is_none(tmp_path: Path) -> None:
    """The line of the mistake is named; an object without rows says what it holds; names lead into objects."""
    (tmp_path / "a.json").write_text('[{"source": "a", "target": "b"},\n {"source": ]')
    with pytest.raises(DataError, match=r"a\.json, line 2: this is no JSON"):
        read_pairs(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"version": 1}')
    with pytest.raises(DataError, match="holds an object of 'version'"):
        read_pairs(tmp_path / "a.json")
    (tmp_path / "a.jsonl").write_text('{"translation": {"en": "Go.", "de": "Geh."}}')
    with pytest.raises(DataError, match=r"there are translation\.en, translation\.de"):
        read_pairs(tmp_path / "a.jsonl")
    assert read_pairs(tmp_path / "a.jsonl", PairOptions("translation.en", "translation.de")).examples == PAIRS[:1]


def test_parquet_as_data_sets_write_it(tmp_path: Path) -> None:
    """Dictionaries and large strings are texts; numbers have the names that the data set notes beside them."""
    import pyarrow
    import pyarrow.parquet

    features = {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    table = pyarrow.table(
        {
            "text": pyarrow.array(["fine", "poor", "new"], pyarrow.large_string()),
            "label": pyarrow.array([1, 0, -1], pyarrow.int64()),
            "kind": pyarrow.array(["a", "b", "a"]).dictionary_encode(),
        }
    )
    noted = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(noted, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"line 3: column 'label' is empty"):
        read_labelled(tmp_path / "a.parquet")
    found = read_labelled(tmp_path / "a.parquet", LabelledOptions(skip_bad_rows=True)).examples
    assert found == [LabelledText("fine", ("yes",)), LabelledText("poor", ("no",))]
    kinds = read_labelled(tmp_path / "a.parquet", LabelledOptions(label="kind")).examples
    assert [one.labels[0] for one in kinds] == ["a", "b", "a"]
