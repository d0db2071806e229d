"""CSV and TSV as programs write them: separators, quotes and headers are detected from contents."""

from pathlib import Path
from typing import Any

import pytest

from regard.corpora import LabelledText, TextPair
from regard.errors import DataError
from regard.tasks.reading import (
    LabelledOptions,
    PairOptions,
    TextOptions,
    read_documents,
    read_labelled,
    read_pairs,
)

EXPECTED = [LabelledText("good, very", ("yes",)), LabelledText('a "word"', ("no",))]

WRITTEN: dict[str, tuple[str, str, dict[str, Any]]] = {
    "semicolons": ("a.csv", 'text;label\ngood, very;yes\n"a ""word""";no\n', {}),
    "semicolons, no header": ("a.csv", 'good, very;yes\n"a ""word""";no\n', {}),
    "tabs in csv": ("a.csv", 'text\tlabel\n"good, very"\tyes\n"a ""word"""\tno\n', {}),
    "bars": ("a.csv", 'text|label\ngood, very|yes\n"a ""word"""|no\n', {}),
    "commas in tsv": ("a.tsv", 'text,label\n"good, very",yes\n"a ""word""",no\n', {}),
    "Excel's sep": ("a.csv", 'sep=;\ntext;label\ngood, very;yes\n"a ""word""";no\n', {}),
    "tsv of pandas": ("a.tsv", 'text\tlabel\ngood, very\tyes\n"a ""word"""\tno\n', {}),
    "tsv, all quoted": ("a.tsv", '"text"\t"label"\n"good, very"\t"yes"\n"a ""word"""\t"no"\n', {}),
    "tsv, plain": ("a.tsv", 'text\tlabel\ngood, very\tyes\na "word"\tno\n', {}),
    "capitals and blanks": ("a.csv", 'Label , TEXT\nyes,"good, very"\nno,"a ""word"""\n', {}),
    "index of pandas": ("a.csv", ',text,label\n0,"good, very",yes\n1,"a ""word""",no\n', {}),
    "blanks around quotes": ("a.csv", 'text, label\n"good, very" , "yes"\n"a ""word""", no\n', {}),
    "tsv of Excel": ("a.tsv", 'text\tlabel\n"good, very"\tyes\n"a ""word"""\tno\n', {}),
    "fastText": ("a.txt", '__label__yes good, very\n__label__no a "word"\n', {}),
    "named by number": ("a.csv", '7,yes,"good, very"\n8,no,"a ""word"""\n', {"text": "2", "label": "1"}),
    "by number, with a header": (
        "a.csv",
        'id,Label,Text\n7,yes,"good, very"\n8,no,"a ""word"""\n',
        {"text": "2", "label": "1"},
    ),
    "one by name, one by number": ("a.csv", 'k,text\nyes,"good, very"\nno,"a ""word"""\n', {"label": "0"}),
    "tabs in a file of any name": ("train.txt", 'good, very\tyes\na "word"\tno\n', {}),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_as_programs_write_it(tmp_path: Path, name: str) -> None:
    """The same two rows come out of each."""
    file, contents, options = WRITTEN[name]
    (tmp_path / file).write_text(contents, newline="")
    found = read_labelled(tmp_path / file, LabelledOptions(**options))
    assert found.examples == EXPECTED
    assert found.reading


def test_quotation_marks_of_plain_tsv_stay() -> None:
    """A quotation mark that opens no cell of a program is a character; so is one around words alone."""
    from regard.tasks.reading._separated import _has_quotes

    assert not _has_quotes(['"Go," he said.\tGeh.', "Hi.\tHallo."])
    assert not _has_quotes(['"Stop!"\t"Halt!"', "Hi.\tHallo."])
    assert not _has_quotes(['"a "" b\tc'])
    assert _has_quotes(['"say ""hi"""\tpos'])
    assert _has_quotes(['"a"\tx', '"b"\ty'])


def test_cells_and_lines_of_any_length(tmp_path: Path) -> None:
    """A cell of a million characters is read in every table, quoted over many lines too."""
    for text in ("word " * 200_000 + "end", "line\n" * 100_000 + "end"):
        (tmp_path / "a.csv").write_text(f'text,label\n"{text}",long\nshort,brief\n')
        assert [one.text for one in read_labelled(tmp_path / "a.csv").examples] == [text, "short"]
        assert read_documents(tmp_path / "a.csv").examples[0].text == text
    (tmp_path / "a.tsv").write_text(f"{'word ' * 200_000}end\tlong\nshort\tbrief\n")
    assert len(read_labelled(tmp_path / "a.tsv").examples) == 2


def test_a_quote_that_never_closes_costs_its_row(tmp_path: Path) -> None:
    """Left out by wish it takes no other row with it."""
    (tmp_path / "a.csv").write_text('text,label\n"open,x\ngood,y\nfine,y\n')
    with pytest.raises(DataError, match="line 2: a quotation mark opens here and none closes"):
        read_labelled(tmp_path / "a.csv")
    found = read_labelled(tmp_path / "a.csv", LabelledOptions(skip_bad_rows=True))
    assert [one.text for one in found.examples] == ["good", "fine"]


ROWS = "".join(f"the film number {number} was long,{'good' if number % 2 else 'bad'}\n" for number in range(12))


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ("text_en,sentence label", "columns are often named"),
        ("Review,Sentiment", "columns are often named"),
        ("Kommentar,Stimmung", "it is none of them"),
        ("meinung,wertung", "it is none of them"),
    ],
)
def test_a_header_of_other_names(tmp_path: Path, first: str, why: str) -> None:
    """A first line unlike the others is refused with the options for both interpretations, and both work."""
    (tmp_path / "a.csv").write_text(f"{first}\n{ROWS}")
    text, label = (repr(one) if " " in one else one for one in first.split(","))
    with pytest.raises(DataError, match=rf"line 1: .*{why}.*--text {text} --label {label}.*--header False"):
        read_labelled(tmp_path / "a.csv")
    assert len(read_labelled(tmp_path / "a.csv", LabelledOptions(*first.split(","))).examples) == 12
    assert len(read_labelled(tmp_path / "a.csv", LabelledOptions(header=False)).examples) == 13


def test_lines_above_and_headers_within(tmp_path: Path) -> None:
    """Lines above a header are named; a header that comes again, where files were joined, is a bad row."""
    (tmp_path / "a.csv").write_text(f"Exported by me,\ntext,label\n{ROWS}")
    with pytest.raises(DataError, match="looks like a header, and lines stand above it"):
        read_labelled(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text(f"text,label\n{ROWS}" * 2)
    with pytest.raises(DataError, match="line 14: the names of the columns stand here again"):
        read_labelled(tmp_path / "a.csv")
    assert len(read_labelled(tmp_path / "a.csv", LabelledOptions(skip_bad_rows=True)).examples) == 24


def test_a_page_in_place_of_a_file(tmp_path: Path) -> None:
    """What a browser saved of a site is no table."""
    (tmp_path / "a.csv").write_text("<!DOCTYPE html>\n<html><body>a,b</body></html>\n")
    with pytest.raises(DataError, match="is a web page"):
        read_labelled(tmp_path / "a.csv")


def test_no_header(tmp_path: Path) -> None:
    """A first line like the others is an example, by name and by number."""
    (tmp_path / "a.csv").write_text(ROWS)
    assert len(read_labelled(tmp_path / "a.csv").examples) == 12
    assert len(read_labelled(tmp_path / "a.csv", LabelledOptions("0", "1")).examples) == 12
    with pytest.raises(DataError, match="no column 'review'; there are 2, counted from 0, without a header"):
        read_labelled(tmp_path / "a.csv", LabelledOptions("review", "1"))


@pytest.mark.parametrize("head", ["en,de", "EN,DE", "en-US,de_DE", "English,German", "src,tgt", "question,answer"])
def test_languages_are_no_pair(tmp_path: Path, head: str) -> None:
    """A header of languages is refused with the options that name the columns."""
    (tmp_path / "a.csv").write_text(f"{head}\nGo.,Geh.\nStop.,Halt.\n")
    a, b = head.split(",")
    with pytest.raises(DataError, match=rf"looks like a header.*--source {a} --target {b}"):
        read_pairs(tmp_path / "a.csv")
    expected = [TextPair("Go.", "Geh."), TextPair("Stop.", "Halt.")]
    assert read_pairs(tmp_path / "a.csv", PairOptions(a, b)).examples == expected
    found = read_pairs(tmp_path / "a.csv", PairOptions("0", "1"))
    assert found.examples == expected
    assert "was read as the names of the columns" in found.remarks[0]


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    """It is an error at once, with the columns there are and those that fit by what they hold."""
    (tmp_path / "a.tsv").write_text("sentence\tlabel\ngood film\t1\nbad film\t0\n")
    with pytest.raises(
        DataError, match=r"no column 'text'; there are 'sentence', 'label'.*--text sentence --label lab"
    ):
        read_labelled(tmp_path / "a.tsv", LabelledOptions(skip_bad_rows=True))


def test_documents_by_number(tmp_path: Path) -> None:
    """Tables of documents know headers and numbers as the others do."""
    (tmp_path / "a.csv").write_text("1,hello there\n2,and again\n")
    assert [one.text for one in read_documents(tmp_path / "a.csv", TextOptions(text="1")).examples] == [
        "hello there",
        "and again",
    ]
    with pytest.raises(DataError, match="the texts are numbers"):
        read_documents(tmp_path / "a.csv")
