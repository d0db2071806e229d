"""Tagged words: every source and scheme is read, and every kind of bad row is named or counted."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.corpora import TaggedWords
from regard.errors import ArgumentError, DataError
from regard.tasks.reading import Read, TaggedOptions, read_tagged, to_iob2

GOOD = "Ada\tB-per\nLovelace\tI-per\nwrote\tO\n\nIn\tO\nLondon\tB-loc\n"
EXPECTED = [
    TaggedWords(("Ada", "Lovelace", "wrote"), ("B-per", "I-per", "O")),
    TaggedWords(("In", "London"), ("O", "B-loc")),
]


def read(folder: Path, text: str | bytes, name: str = "a.conll", **options: object) -> Read:
    """Write a file and read it."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_tagged(path, TaggedOptions(**options))


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD.replace("\t", " "),
        GOOD.replace("\t", "   "),
        GOOD.replace("\n", "\r\n"),
        "\ufeff" + GOOD,
        GOOD.replace("\n\n", "\n\n \n\t\n\n"),
        "-DOCSTART-\tO\n\n" + GOOD,
        "-DOCSTART-\tO\n" + GOOD,
        "# id 1\n" + GOOD.replace("\n\n", "\n\n#id 2\n# text = In London\n"),
        GOOD.rstrip("\n"),
    ],
)
def test_forms_of_columns(tmp_path: Path, text: str) -> None:
    """Tabs, spaces, line ends, a mark at the start, empty lines and comments all give the same sentences."""
    found = read(tmp_path, text)
    assert found.examples == EXPECTED
    assert found.left_out == ()


def test_packed_columns(tmp_path: Path) -> None:
    """A file that ends in .gz is read as it is."""
    assert read(tmp_path, gzip.compress(GOOD.encode()), "a.conll.gz").examples == EXPECTED


def test_chosen_columns(tmp_path: Path) -> None:
    """Words and tags are taken from the columns asked for."""
    text = "1 Ada x B-per y\n2 wrote x O y\n"
    found = read(tmp_path, text, word_column=1, tag_column=-2)
    assert found.examples == [TaggedWords(("Ada", "wrote"), ("B-per", "O"))]


@pytest.mark.parametrize("separator", ["\t", " "])
def test_hash_may_be_a_word(tmp_path: Path, separator: str) -> None:
    """A hash with a tag is a word wherever it stands: no word is lost to comments."""
    text = f"#{separator}O\n#tag{separator}B-x\na{separator}O\n\na{separator}O\n#{separator}O\n"
    assert [example.words for example in read(tmp_path, text).examples] == [("#", "#tag", "a"), ("a", "#")]


def test_other_spaces_stay_in_words(tmp_path: Path) -> None:
    """Only tab and space separate: a hard space is part of its word."""
    assert read(tmp_path, "10\xa0km O\nnext\u2028line O\n").examples[0].words == ("10\xa0km", "next\u2028line")


BAD = {
    "ragged": ("a\tO\nb\tx\tO\n\n", 2, r"3 columns, 2 in most lines"),
    "one column": ("a\tO\nb\n\n", 2, r"1 column"),
    "no tag": ("a\tO\nb\tB-x\nc\tfoo\n\n", 3, r"tag 'foo' is neither"),
    "wrong letter": ("# id\na\tO\nb\tO\nc\tX-PER\n\n", 4, r"tag 'X-PER' is neither.*one of B, I, E, S"),
    "empty word that begins an entity": ("a\tO\n \tB-x\n\n", 2, r"word is empty"),
    "empty tag": ("a\tO\nb\t\n\n", 2, r"tag is empty"),
    "no UTF-8": (b"a\tO\nb\xff\tO\n\n", 2, r"byte 0xff is not UTF-8"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_row_is_named(tmp_path: Path, name: str) -> None:
    """A bad row stops with the file, the line and the rule."""
    text, line, rule = BAD[name]
    with pytest.raises(DataError, match=rf"a\.conll, line {line}: .*{rule}"):
        read(tmp_path, text)


@pytest.mark.parametrize("name", BAD)
def test_bad_row_takes_its_sentence_and_is_counted(tmp_path: Path, name: str) -> None:
    """Skipping leaves out the whole sentence of a bad row, once, and keeps the others."""
    text, line, _ = BAD[name]
    whole = text if isinstance(text, bytes) else text.encode()
    found = read(tmp_path, whole + GOOD.encode(), skip_bad_rows=True)
    assert found.examples == EXPECTED
    (left_out,) = found.left_out
    assert (Path(left_out.file).name, left_out.line) == ("a.conll", line)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_empty_file(tmp_path: Path, text: str) -> None:
    """A file without a sentence is an error, not an empty list."""
    with pytest.raises(DataError, match="holds no sentence"):
        read(tmp_path, text)


def test_nothing_but_bad_rows(tmp_path: Path) -> None:
    """When everything was left out the error says so, with the first reason."""
    with pytest.raises(DataError, match=r"Rows left out of it: 1, first .*line 2: there are 3 columns"):
        read(tmp_path, "a\tO\nb\tx\tO\n", skip_bad_rows=True)


def test_missing_column(tmp_path: Path) -> None:
    """A column beyond the file's names how many there are."""
    with pytest.raises(DataError, match="no tag column 5; there are 2"):
        read(tmp_path, GOOD, tag_column=5)


SCHEMES = {
    "iob1": ("I-a I-a B-a O I-b", "B-a I-a B-a O B-b"),
    "iob2": ("B-a I-a B-a O B-b", "B-a I-a B-a O B-b"),
    "bioes": ("B-a E-a S-a O S-b", "B-a I-a B-a O B-b"),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes_become_iob2(tmp_path: Path, scheme: str) -> None:
    """Each scheme gives the same entities, asked for by name or not."""
    given, expected = SCHEMES[scheme]
    text = "".join(f"w {tag}\n" for tag in given.split())
    for name in (scheme, "auto"):
        assert read(tmp_path, text, scheme=name).examples[0].tags == tuple(expected.split())


def test_bilou_becomes_iob2() -> None:
    """The letters of BILOU are read as those of BIOES."""
    assert to_iob2("B-a I-a L-a U-a O".split()) == tuple("B-a I-a I-a B-a O".split())


@pytest.mark.parametrize(
    ("scheme", "tags", "line", "rule"),
    [
        ("iob2", "O I-a", 2, "goes on"),
        ("iob2", "B-a I-b", 2, "goes on"),
        ("iob2", "S-a", 1, "none of iob2"),
        ("iob1", "E-a", 1, "none of iob1"),
        ("bioes", "B-a O", 1, "no end"),
        ("bioes", "B-a", 1, "no end"),
        ("bioes", "O E-a", 2, "goes on"),
    ],
)
def test_scheme_asked_for_is_checked(tmp_path: Path, scheme: str, tags: str, line: int, rule: str) -> None:
    """Tags that break the rules of a scheme asked for by name are not mended in silence; the word's line is named."""
    with pytest.raises(DataError, match=f"line {line}: .*{rule}"):
        read(tmp_path, "".join(f"w {tag}\n" for tag in tags.split()), scheme=scheme)


@pytest.mark.parametrize(
    ("tags", "remark"),
    [
        ("B-per I-loc O I-per I-per", "line 3: 'I-loc' goes on with no entity of its label, nor do 1 other tags"),
        ("O B-per O I-loc", "line 5: 'I-loc' goes on with no entity of its label; read as the beginning"),
        ("S-per O E-per", "line 4: 'E-per' goes on"),
        ("B-per I-per E-per O B-loc", None),
        ("I-per I-per B-per O I-loc", None),
    ],
)
def test_entities_that_begin_inside_are_remarked(tmp_path: Path, tags: str, remark: str | None) -> None:
    """`I-` with nothing to go on with is read, and counted; not in IOB1, where it is right, nor by a scheme's name."""
    text = "# id\n" + "".join(f"w {tag}\n" for tag in tags.split())
    found = read(tmp_path, text)
    if remark is None:
        assert found.remarks == ()
    else:
        (said,) = found.remarks
        assert remark in said
    assert read(tmp_path, "a B-x\nb I-x\n", scheme="iob2").remarks == ()


def test_line_of_a_table_is_its_row(tmp_path: Path) -> None:
    """Where a sentence is one line, a bad tag is in that line."""
    rows = [{"tokens": "a b", "tags": "O B-x"}, {"tokens": "a b", "tags": "O B_x"}]
    with pytest.raises(DataError, match=r"line 2: the tag 'B_x'"):
        read(tmp_path, "\n".join(map(json.dumps, rows)), "a.jsonl")


@given(st.lists(st.sampled_from("O B-a I-a B-b I-b".split()), min_size=1))
def test_iob2_stays(tags: list[str]) -> None:
    """What is IOB2 is unchanged, and anything becomes IOB2."""
    once = to_iob2(tags)
    assert to_iob2(once) == once
    for before, tag in zip(("O", *once), once, strict=False):
        if tag.startswith("I-"):
            assert before[2:] == tag[2:]


def test_parallel_lines(tmp_path: Path) -> None:
    """A folder with seq.in and seq.out, or the two files, is read line by line."""
    (tmp_path / "seq.in").write_text("Ada Lovelace wrote\nIn London \n")
    (tmp_path / "seq.out").write_text("B-per I-per O\nO B-loc \n")
    assert read_tagged(tmp_path).examples == EXPECTED
    assert read_tagged([tmp_path / "seq.in", tmp_path / "seq.out"]).examples == EXPECTED


def test_parallel_lines_that_do_not_fit(tmp_path: Path) -> None:
    """Another number of words, or of lines, is an error with its place."""
    (tmp_path / "seq.in").write_text("a b\na\n")
    (tmp_path / "seq.out").write_text("O\nO\n")
    with pytest.raises(DataError, match=r"seq\.in, line 1: there are 2 words and 1 tags"):
        read_tagged(tmp_path)
    found = read_tagged(tmp_path, TaggedOptions(skip_bad_rows=True))
    assert (len(found.examples), len(found.left_out)) == (1, 1)
    (tmp_path / "seq.out").write_text("O\n")
    with pytest.raises(DataError, match=r"2 lines and .* 1"):
        read_tagged(tmp_path)


def test_tables(tmp_path: Path) -> None:
    """JSON lines hold lists or texts; a missing field or another type is a bad row."""
    rows = [{"tokens": ["a", "b"], "tags": ["O", "B-x"]}, {"tokens": "a b", "tags": "O B-x"}]
    text = "\n".join(map(json.dumps, rows))
    found = read(tmp_path, text, "a.jsonl").examples
    assert found == [TaggedWords(("a", "b"), ("O", "B-x"))] * 2
    for row, rule in (({"tokens": ["a"]}, "no column 'tags'"), ({"tokens": [1], "tags": ["O"]}, "lists of texts")):
        with pytest.raises(DataError, match=f"line 3: .*{rule}"):
            read(tmp_path, f"{text}\n{json.dumps(row)}", "b.jsonl")


def test_no_reader_accepts(tmp_path: Path) -> None:
    """The error has the reason of each reader."""
    with pytest.raises(DataError) as caught:
        read_tagged(tmp_path)
    for word in ("table", "parallel lines: the folder lacks seq.in and seq.out", "CoNLL columns", "hub"):
        assert word in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    """A path that is not there is said first."""
    with pytest.raises(DataError, match="There is no file"):
        read_tagged(tmp_path / "none.conll")


@pytest.mark.parametrize("contents", [b"not packed", gzip.compress(GOOD.encode(), mtime=0)[:-12]], ids=["plain", "cut"])
def test_broken_gz(tmp_path: Path, contents: bytes) -> None:
    """A file that is not packed, or is cut, is an error that names it."""
    with pytest.raises(DataError, match=r"a\.conll\.gz cannot be read"):
        read(tmp_path, contents, "a.conll.gz")


def test_utf16_is_named(tmp_path: Path) -> None:
    """UTF-16 is recognised by its mark."""
    with pytest.raises(DataError, match="UTF-16"):
        read(tmp_path, GOOD.encode("utf-16"))


def test_error_is_a_value_error() -> None:
    """The error of data also is the builtin that callers expect."""
    assert issubclass(DataError, ValueError)
    assert not issubclass(DataError, ArgumentError)


@pytest.mark.parametrize("text", ["a\tB-x\n\tI-x\nb\tO\n", "a B-x\n O\nb O\n", "word,tag\na,B-x\n,O\nb,O\n"])
def test_a_tag_without_a_word_is_left_out(tmp_path: Path, text: str) -> None:
    """One line whose word is empty costs neither its sentence nor a conversion; the account names it."""
    (tmp_path / "a.conll").write_text(text)
    found = read_tagged(tmp_path / "a.conll")
    assert (found.examples[0].words, found.examples[0].tags) == (("a", "b"), ("B-x", "O"))
    line = 3 if "," in text else 2
    assert found.remarks[0] == f"a tag without a word was left out; first {tmp_path / 'a.conll'}, line {line}."
