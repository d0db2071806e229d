"""Labelled texts, pairs and documents: every source is read, every bad row named or counted."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regard.corpora import Document, LabelledText, TextPair
from regard.errors import DataError
from regard.tasks.reading import (
    LabelledOptions,
    PairOptions,
    Read,
    TextOptions,
    read_documents,
    read_labelled,
    read_pairs,
)

EXPECTED = [LabelledText("good, very", ("yes",)), LabelledText('a "word"', ("no",))]


def read(folder: Path, contents: str | bytes, name: str = "a.csv", **options: Any) -> Read:
    """Write a file and read it as labelled texts."""
    path = folder / name
    path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
    return read_labelled(path, LabelledOptions(**options))


SOURCES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "csv": ("a.csv", 'text,label\n"good, very",yes\n"a ""word""",no\n', {}),
    "csv, other order": ("a.csv", 'id,label,text\n1,yes,"good, very"\n2,no,"a ""word"""\n', {}),
    "csv, no header": ("a.csv", '"good, very",yes\n"a ""word""",no\n', {}),
    "csv, chosen": ("a.csv", 'k,s\nyes,"good, very"\nno,"a ""word"""\n', {"text": "s", "label": "k"}),
    "csv, numbers": ("a.csv", 'yes,"good, very"\nno,"a ""word"""\n', {"text": "1", "label": "0"}),
    "csv, header and numbers": (
        "a.csv",
        'k,s\nyes,"good, very"\nno,"a ""word"""\n',
        {"text": "1", "label": "0", "header": True},
    ),
    "tsv": ("a.tsv", 'good, very\tyes\na "word"\tno\n', {}),
    "tsv, CRLF, mark": ("a.tsv", '\ufefftext\tlabel\r\ngood, very\tyes\r\na "word"\tno\r\n', {}),
    "jsonl": ("a.jsonl", '{"text": "good, very", "label": "yes"}\n\n{"label": ["no"], "text": "a \\"word\\""}\n', {}),
    "json": ("a.json", '[{"text": "good, very", "label": "yes"}, {"label": "no", "text": "a \\"word\\""}]', {}),
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("packed", [False, True])
def test_tables(tmp_path: Path, name: str, packed: bool) -> None:
    """Each kind of table gives the same texts, packed or not."""
    file, text, options = SOURCES[name]
    contents = gzip.compress(text.encode()) if packed else text
    found = read(tmp_path, contents, file + ".gz" * packed, **options)
    assert found.examples == EXPECTED
    assert found.left_out == ()


def test_parquet(tmp_path: Path) -> None:
    """Columns of a Parquet file are read, numbers of labels by the names given; a file that is none is named."""
    import pyarrow
    import pyarrow.parquet

    path, names = tmp_path / "a.parquet", tmp_path / "names.txt"
    names.write_text("no\nyes\n")
    pyarrow.parquet.write_table(pyarrow.table({"text": [e.text for e in EXPECTED], "label": [1, 0]}), path)
    assert read_labelled(path, LabelledOptions(label_names=names)).examples == EXPECTED
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as Parquet"):
        read_labelled(path)


def test_several_labels(tmp_path: Path) -> None:
    """Numbers with a comma between become the labels that a file names; none is an error, an unknown one too."""
    names = tmp_path / "labels.txt"
    names.write_text("anger\njoy\nlove\n")
    options = {"label_separator": ",", "label_names": names}
    assert read(tmp_path, "hm\t0,2\tid1\nha\t1\tid2\n", "a.tsv", **options).examples == [
        LabelledText("hm", ("anger", "love")),
        LabelledText("ha", ("joy",)),
    ]
    with pytest.raises(DataError, match=r"line 2: the label '3' is no number from 0 to 2"):
        read(tmp_path, "hm\t0\nha\t3\n", "a.tsv", **options)
    with pytest.raises(DataError, match=r"line 1: the label is empty"):
        read(tmp_path, "hm\t\n", "a.tsv", **options)


def test_quoted_text_of_several_lines(tmp_path: Path) -> None:
    """A quoted cell may hold line ends; the line of a later error is still the file's own."""
    text = 'text,label\n"one\ntwo",yes\nthree\n'
    with pytest.raises(DataError, match=r"line 4: there are 1 columns, 2 in the first line"):
        read(tmp_path, text)
    assert read(tmp_path, text, skip_bad_rows=True).examples == [LabelledText("one\ntwo", ("yes",))]


BAD: dict[str, tuple[str, str | bytes, int, str]] = {
    "ragged": ("a.csv", "text,label\na,b,c\ngood,yes\n", 2, "3 columns, 2 in the first line"),
    "ragged tsv": ("a.tsv", "good\tyes\na\n", 2, "1 columns, 2 in the first line"),
    "no text": ("a.csv", "text,label\n ,b\ngood,yes\n", 2, "'text' is empty"),
    "no label": ("a.csv", "text,label\na,\ngood,yes\n", 2, "label is empty"),
    "quotes": ("a.csv", 'text,label\n"a"b,c\ngood,yes\n', 2, "Mend its quotes"),
    "encoding": ("a.csv", b"text,label\na\xe9,b\ngood,yes\n", 2, "byte 0xe9 is not UTF-8"),
    "encoding tsv": ("a.tsv", b"good\tyes\na\xff\tb\n", 2, "byte 0xff is not UTF-8"),
    "encoding jsonl": ("a.jsonl", b'{"text":"good","label":"yes"}\n{"text":"\xff"}\n', 2, "byte 0xff is not UTF-8"),
    "json": ("a.jsonl", '{"text":"good","label":"yes"}\n{"text":\n', 2, "no JSON"),
    "list": ("a.jsonl", '{"text":"good","label":"yes"}\n[1]\n', 2, "list stands where an object"),
    "field": ("a.jsonl", '{"text":"good","label":"yes"}\n{"txet":"a"}\n', 2, "no column 'text'.*Did you mean 'txet'"),
    "type": ("a.jsonl", '{"text":"good","label":"yes"}\n{"text":["a",1],"label":"b"}\n', 2, "holds a list"),
    "label type": ("a.jsonl", '{"text":"good","label":"yes"}\n{"text":"a","label":{}}\n', 2, "whole number"),
    "null": ("a.jsonl", '{"text":"good","label":"yes"}\n{"text":"a","label":null}\n', 2, "'label' is empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows(tmp_path: Path, name: str) -> None:
    """A bad row is named with its line; skipped, it alone is left out and counted."""
    file, text, line, rule = BAD[name]
    with pytest.raises(DataError, match=rf"{file}, line {line}: (?s:.*){rule}"):
        read(tmp_path, text, file)
    found = read(tmp_path, text, file, skip_bad_rows=True)
    assert found.examples == [LabelledText("good", ("yes",))]
    assert [left_out.line for left_out in found.left_out] == [line]


def test_header_of_other_names_is_no_example(tmp_path: Path) -> None:
    """A first line that looks like a header without the names asked for is not read as an example."""
    with pytest.raises(DataError, match=r"'Review', 'Sentiment' looks like a header"):
        read(tmp_path, "Review,Sentiment\ngood,yes\n")
    found = read(tmp_path, "Review,Sentiment\ngood,yes\n", header=False).examples
    assert [example.text for example in found] == ["Review", "good"]


def test_columns_of_one_name(tmp_path: Path) -> None:
    """Two columns of the name asked for are an error: nobody could say which is meant."""
    with pytest.raises(DataError, match="2 columns 'text'"):
        read(tmp_path, "text,text,label\na,b,c\n")


@pytest.mark.parametrize("file", ["a.csv", "a.tsv", "a.jsonl", "a.json"])
def test_empty_tables(tmp_path: Path, file: str) -> None:
    """An empty table is an error."""
    with pytest.raises(DataError, match="holds no labelled text"):
        read(tmp_path, "", file)


@pytest.mark.parametrize("files", [("r.pos", "r.neg"), ("pos.txt", "neg.txt"), ("r.pos.gz", "r.neg.gz")])
def test_a_file_for_each_label(tmp_path: Path, files: tuple[str, str]) -> None:
    """The files are found in a folder beside others, or named; labels come from what differs in their names."""
    (tmp_path / "README.md").write_text("not a label")
    for file, text in zip(files, ("fine\n\ngreat\n", "poor\n"), strict=True):
        (tmp_path / file).write_bytes(gzip.compress(text.encode()) if file.endswith(".gz") else text.encode())
    expected = {LabelledText("fine", ("pos",)), LabelledText("great", ("pos",)), LabelledText("poor", ("neg",))}
    assert set(read_labelled(tmp_path).examples) == expected
    assert set(read_labelled([tmp_path / file for file in files]).examples) == expected


def test_a_folder_for_each_label(tmp_path: Path) -> None:
    """Each file in a label's folder is one text; one that is no UTF-8 is named."""
    for label in ("pos", "neg"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.txt").write_text(f"two\nlines {label}")
    assert [example.labels for example in read_labelled(tmp_path).examples] == [("neg",), ("pos",)]
    (tmp_path / "pos" / "2.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"2\.txt, line 1: byte 0xff"):
        read_labelled(tmp_path)
    assert len(read_labelled(tmp_path, LabelledOptions(skip_bad_rows=True)).left_out) == 1


def test_parallel_lines_with_labels(tmp_path: Path) -> None:
    """A folder with seq.in and label holds labelled texts."""
    (tmp_path / "seq.in").write_text("play it\nrate it\n")
    (tmp_path / "label").write_text("Play\nRate\n")
    assert read_labelled(tmp_path).examples == [LabelledText("play it", ("Play",)), LabelledText("rate it", ("Rate",))]


def test_pairs(tmp_path: Path) -> None:
    """Parallel files, TSV and JSONL with chosen fields give the same pairs."""
    expected = [TextPair("Go.", "Geh."), TextPair('Say "hi".', "Sag hallo.")]
    (tmp_path / "a.en").write_text('Go.\r\nSay "hi".\r\n')
    (tmp_path / "a.de").write_text("\ufeffGeh.\nSag hallo.\n")
    (tmp_path / "a.tsv").write_text('Go.\tGeh.\nSay "hi".\tSag hallo.\n')
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"x": p.source, "y": p.target}) for p in expected))
    assert read_pairs([tmp_path / "a.en", tmp_path / "a.de"]).examples == expected
    assert read_pairs(tmp_path / "a.tsv").examples == expected
    assert read_pairs(tmp_path / "a.jsonl", PairOptions(source="x", target="y")).examples == expected


def test_bad_pairs(tmp_path: Path) -> None:
    """A side that is empty is a bad row; files of different length, and a missing one, are errors."""
    (tmp_path / "a.en").write_text("Go.\n\nStop.\n")
    (tmp_path / "a.de").write_text("Geh.\nHalt.\nHalt.\n")
    both = [tmp_path / "a.en", tmp_path / "a.de"]
    with pytest.raises(DataError, match=r"a\.en, line 2: column 'source' is empty"):
        read_pairs(both)
    found = read_pairs(both, PairOptions(skip_bad_rows=True))
    assert (len(found.examples), len(found.left_out)) == (2, 1)
    (tmp_path / "a.de").write_text("Geh.\n")
    with pytest.raises(DataError, match=r"3 lines and .* 1"):
        read_pairs(both)
    with pytest.raises(DataError, match=r"There is no file or folder .*a\.fr\. Did you mean 'a\.\w\w'\?"):
        read_pairs([tmp_path / "a.en", tmp_path / "a.fr"])


def test_a_column_of_another_name(tmp_path: Path) -> None:
    """A column that is not there is named with those that are, and with the option that names another."""
    (tmp_path / "a.jsonl").write_text('{"abstract": "a long text", "title": "a text"}\n')
    with pytest.raises(DataError, match=r"no column 'source'; there are abstract, title\. .*--source NAME"):
        read_pairs(tmp_path / "a.jsonl")
    assert read_pairs(tmp_path / "a.jsonl", PairOptions("abstract", "title")).examples[0].target == "a text"
    with pytest.raises(DataError, match=r"no column 'abstrct'; there are abstract, title\. Did you mean 'abstract'"):
        read_pairs(tmp_path / "a.jsonl", PairOptions("abstrct", "title"))


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    """A path that does not exist is named as such, with what stands beside it."""
    (tmp_path / "train.tsv.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"There is no file or folder .*train\.tsv\. Did you mean 'train\.tsv\.gz'"):
        read_labelled(tmp_path / "train.tsv")


def test_documents(tmp_path: Path) -> None:
    """A file is a document by its name, a folder one for each text below it, packed ones too."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("\ufeffbé\r\n", encoding="utf-8", newline="")
    (tmp_path / "sub" / "a.txt.gz").write_bytes(gzip.compress(b"a"))
    (tmp_path / "c.md").write_text("c")
    assert read_documents(tmp_path / "b.txt").examples == [Document("b.txt", "bé\r\n")]
    assert {document.text for document in read_documents(tmp_path).examples} == {"bé\r\n", "a"}
    assert [d.name for d in read_documents(tmp_path, TextOptions(pattern="*.md")).examples] == ["c.md"]


def test_bad_documents(tmp_path: Path) -> None:
    """An empty file, one that is no UTF-8 and a folder without text are errors that name them."""
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\xff")
    (tmp_path / "b.txt").write_text(" \n")
    (tmp_path / "c.txt").write_text("fine")
    with pytest.raises(DataError, match=r"a\.txt, line 2: byte 0xff"):
        read_documents(tmp_path)
    with pytest.raises(DataError, match=r"b\.txt: the file is empty"):
        read_documents(tmp_path / "b.txt")
    found = read_documents(tmp_path, TextOptions(skip_bad_rows=True))
    assert [document.name for document in found.examples] == ["c.txt"]
    assert len(found.left_out) == 2
    with pytest.raises(DataError, match=r"holds no text in files \*\.none"):
        read_documents(tmp_path, TextOptions(pattern="*.none"))


@pytest.mark.parametrize("reader", [read_labelled, read_pairs, read_documents])
def test_reasons_of_all_readers(reader: Callable[[Any], Any], tmp_path: Path) -> None:
    """When no reader accepts, the error has a line for each."""
    with pytest.raises(DataError, match=r"(?s)cannot be read as .*\n.*\n.*hub: "):
        reader("no such: thing")
