"""One rule for line ends and encoding: every reader sees the same lines, and reports invalid text first."""

import codecs
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regard.corpora import LabelledText, TextPair
from regard.errors import DataError
from regard.tasks.reading import (
    LabelledOptions,
    PairOptions,
    given_lines,
    read_documents,
    read_labelled,
    read_pairs,
    read_tagged,
    split_lines,
)

NO_ENDS = ["\r", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"]


def labelled_files(folder: Path, text: str) -> dict[str, Any]:
    """Write a text with its label in every form of lines that holds both, and return the sources."""
    files = {
        "a.csv": f'text,label\n{text},x\n"{text}",y\n',
        "b.tsv": f"text\tlabel\n{text}\tx\n{text}\ty\n",
        "c/a.x": f"{text}\n",
        "c/a.y": f"{text}\n",
        "d/seq.in": f"{text}\n{text}\n",
        "d/label": "x\ny\n",
    }
    for name, contents in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(contents.encode())
    return {"csv": folder / "a.csv", "tsv": folder / "b.tsv", "files": folder / "c", "parallel": folder / "d"}


@pytest.mark.parametrize("character", NO_ENDS)
def test_nothing_else_ends_a_line(tmp_path: Path, character: str) -> None:
    """Other line ends of Python or Unicode are ordinary characters in every format, with LF and with CRLF."""
    text = f"one{character}two"
    for name, source in labelled_files(tmp_path, text).items():
        expected = [LabelledText(text, ("x",)), LabelledText(text, ("y",))]
        assert read_labelled(source).examples == expected, name
        for file in [source] if source.is_file() else list(source.iterdir()):
            file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
        assert read_labelled(source).examples == expected, name
    assert split_lines(f"{text}\r\n{text}\n") == [text, text]
    assert given_lines(f"{text}\n\n{text}".encode(), "in") == [text, "", text]
    (tmp_path / "a.conll").write_bytes(f"{text} O\r\nb B-x\r\n".encode())
    assert read_tagged(tmp_path / "a.conll").examples[0].words == (text, "b")


def test_parallel_lines_do_not_shift(tmp_path: Path) -> None:
    """A stray CR on different lines of two files leaves each line beside its own."""
    a, b = [["one", "two\rtwo", "three", "four"], ["eins", "zwei", "drei\rdrei", "vier"]]
    for name, lines in (("a", a), ("b", b)):
        (tmp_path / name).write_bytes("".join(f"{line}\n" for line in lines).encode())
    assert read_pairs((tmp_path / "a", tmp_path / "b")).examples == [TextPair(*pair) for pair in zip(a, b, strict=True)]


def test_the_mark_is_no_character(tmp_path: Path) -> None:
    """A BOM at the start, or where files with one were joined, belongs to no text."""
    (tmp_path / "a.csv").write_bytes(codecs.BOM_UTF8 + b"text,label\none,x\n" + codecs.BOM_UTF8 + b"two,y\n")
    assert [one.text for one in read_labelled(tmp_path / "a.csv").examples] == ["one", "two"]
    assert given_lines(codecs.BOM_UTF8 + b"one\n", "in") == ["one"]
    (tmp_path / "a.csv").write_bytes(codecs.BOM_UTF8 + b'"text","label"\none,x\n')
    assert read_labelled(tmp_path / "a.csv").examples == [LabelledText("one", ("x",))]


READERS: dict[str, tuple[str, Callable[..., Any]]] = {
    "csv": ("a.csv", read_labelled),
    "tsv": ("a.tsv", read_pairs),
    "jsonl": ("a.jsonl", read_labelled),
    "json": ("a.json", read_labelled),
    "documents": ("a.txt", read_documents),
    "documents csv": ("a.csv", read_documents),
    "tagged": ("a.conll", read_tagged),
}
FORMS = {
    b"%PDF-1.7\n%\xe2\xe3\n": "PDF",
    b"PK\x03\x04\x14\0": "zip archive",
    gzip.compress(b"text"): "packed by gzip",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n": "Git LFS",
    "text,label\na,b\n".encode("utf-16"): "UTF-16",
    "text,label\na,b\n".encode("utf-16-be"): "NUL bytes, UTF-16",
    "text,label\na,b\n".encode("utf-32"): "UTF-32",
    b"\x89PNG\r\n\x1a\n\0": "a picture",
    b"{\\rtf1 text}": "RTF",
    b"PAR1\x15\x04": "Parquet",
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("contents", FORMS, ids=lambda contents: FORMS[contents])
def test_what_is_no_text_is_named(tmp_path: Path, name: str, contents: bytes) -> None:
    """A file of another form under the name of a text is named with what to do, by every reader."""
    file, reader = READERS[name]
    (tmp_path / file).write_bytes(contents)
    with pytest.raises(DataError, match=rf"{file}(: this is .*| cannot be read as ){FORMS[contents]}"):
        reader(tmp_path / file)
    with pytest.raises(DataError, match=rf"in: this is .*{FORMS[contents]}"):
        given_lines(contents, "in")


def test_bytes_that_are_no_text_cost_their_line(tmp_path: Path) -> None:
    """Bytes of another encoding, NUL and half characters are errors with file and line; skipped, they are counted."""
    for name, bad, rule in (
        ("a.csv", b"caf\xe9,x\n", "byte 0xe9 is not UTF-8"),
        ("a.tsv", b"a\0b\tx\n", "NUL byte"),
        ("a.jsonl", b'{"text": "a\\ud83d", "label": "x"}\n', r"'\\ud83d' is half of a character"),
        ("b.jsonl", b'{"text": "a", "label": "\\udce9"}\n', "0xe9 is not UTF-8|half of a character"),
    ):
        good = b"text,label\ngood,y\n" if name.endswith("csv") else b"good\ty\n"
        good = b'{"text": "good", "label": "y"}\n' if name.endswith("jsonl") else good
        (tmp_path / name).write_bytes(good + bad)
        line = good.count(b"\n") + 1
        with pytest.raises(DataError, match=rf"{name}, line {line}: .*({rule})"):
            read_labelled(tmp_path / name)
        found = read_labelled(tmp_path / name, LabelledOptions(skip_bad_rows=True))
        assert found.examples == [LabelledText("good", ("y",))]
        assert [row.line for row in found.left_out] == [line]
    (tmp_path / "en").write_bytes(b"a\nb\xff\nc\n")
    (tmp_path / "de").write_bytes(b"A\nB\nC\n")
    found = read_pairs((tmp_path / "en", tmp_path / "de"), PairOptions(skip_bad_rows=True))
    assert found.examples == [TextPair("a", "A"), TextPair("c", "C")]
    with pytest.raises(DataError, match="standard input, line 2: byte 0xfc"):
        given_lines(b"a\nM\xfcller\n", "standard input")


def test_lines_that_end_in_cr_alone(tmp_path: Path) -> None:
    """A file of an old Mac is one line by the rule; it is refused with the command that converts it."""
    for name, reader in (("a.csv", read_labelled), ("a.conll", read_tagged)):
        (tmp_path / name).write_bytes(b"text O\rb B-x\rc O\r")
        with pytest.raises(DataError, match=rf"{name} ends its lines in CR alone.*tr "):
            reader(tmp_path / name)


def test_a_label_file_keeps_its_numbers(tmp_path: Path) -> None:
    """An empty line among the names of labels would move the numbers behind it."""
    (tmp_path / "names").write_text("no\n\nyes\n")
    (tmp_path / "a.csv").write_text("text,label\na,1\n")
    with pytest.raises(DataError, match="names, line 2: the line is empty"):
        read_labelled(tmp_path / "a.csv", LabelledOptions(label_names=tmp_path / "names"))
