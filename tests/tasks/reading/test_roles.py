"""Columns of words and tags are detected from contents; in doubt the reader asks and never guesses."""

import gzip
from pathlib import Path

import pytest

from regard.errors import DataError
from regard.tasks.reading import Read, TaggedOptions, read_tagged


def read(folder: Path, text: str, name: str = "a.conll", **options: object) -> Read:
    """Write a file and read it."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_tagged(path, TaggedOptions(**options))


def said(found: Read) -> list[str]:
    """Return the sentences, each word with its tag."""
    return [" ".join(f"{w}/{t}" for w, t in zip(one.words, one.tags, strict=True)) for one in found.examples]


GERMEVAL = (
    "# http://x [2009]\n1\tFC\tB-ORG\tO\n2\tUlm\tI-ORG\tB-LOC\n3\tsiegt\tO\tO\n\n"
    "# http://y [2009]\n1\tAnna\tB-PER\tO\n2\twohnt\tO\tO\n"
)
CONLL_U = (
    "# sent_id = 1\n# text = Anna isn't\n1\tAnna\tAnna\tPROPN\tNNP\t_\t2\tnsubj\t_\tB-PER\n"
    "2-3\tisn't\t_\t_\t_\t_\t_\t_\t_\t_\n2\tis\tbe\tAUX\tVBZ\t_\t0\troot\t_\tO\n3\tn't\tnot\tPART\tRB\t_\t2\tadv\t_\tO\n"
    "3.1\tthere\tthere\tADV\tRB\t_\t_\t_\t_\t_\n\n1\tUlm\tUlm\tPROPN\tNNP\t_\t0\troot\t_\tB-LOC\n"
)
CONLL_2003 = (
    "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\nGerman JJ B-NP B-MISC\n\n"
    "Peter NNP B-NP B-PER\nBlackburn NNP I-NP I-PER\n"
)
CONLL_2012 = (
    "#begin document (bc/x); part 000\n"
    "bc/x\t0\t0\tAnna\tNNP\t(TOP(S(NP*)\t-\t-\t-\tsp#1\t(PERSON)\t(ARG0*)\t(1)\n"
    "bc/x\t0\t1\tsaw\tVBD\t(VP*\tsee\t01\t1\tsp#1\t*\t(V*)\t-\n"
    "bc/x\t0\t2\tNew\tNNP\t(NP*\t-\t-\t-\tsp#1\t(GPE*\t(ARG1*\t-\n"
    "bc/x\t0\t3\tYork\tNNP\t*)))\t-\t-\t-\tsp#1\t*)\t*)\t-\n\n"
    "bc/x\t0\t0\tYes\tUH\t(TOP(INTJ*))\t-\t-\t-\tsp#1\t*\t-\n\n#end document\n"
)
READ = {
    "germeval": (GERMEVAL, ["FC/B-ORG Ulm/I-ORG siegt/O", "Anna/B-PER wohnt/O"]),
    "conll-u, ranges and empty nodes": (CONLL_U, ["Anna/B-PER is/O n't/O", "Ulm/B-LOC"]),
    "conll 2003": (CONLL_2003, ["EU/B-ORG rejects/O German/B-MISC", "Peter/B-PER Blackburn/I-PER"]),
    "conll 2003, no name in it": ("He PRP B-NP O\nrejects VBZ B-VP O\n\nGo VB B-VP O\nit PRP B-NP O\n",
                                  ["He/O rejects/O", "Go/O it/O"]),
    "conll 2003, German": ("Der d ART I-NC O\nPeter Peter NE I-NC I-PER\ngeht gehen VVFIN I-VC O\n",
                           ["Der/O Peter/B-PER geht/O"]),
    "conll 2000": ("Confidence NN B-NP\nin IN B-PP\nthe DT B-NP\npound NN I-NP\n",
                   ["Confidence/B-NP in/B-PP the/B-NP pound/I-NP"]),
    "conll 2012": (CONLL_2012, ["Anna/B-PERSON saw/O New/B-GPE York/I-GPE", "Yes/O"]),
    "conll-u plus": ("# global.columns = ID FORM NER\n1\tAnna\tB-PER\n2\tgeht\tO\n", ["Anna/B-PER geht/O"]),
    "universal ner": ("# x\n1\tWhere\tO\t-\t-\n2\tUlm\tB-LOC\t-\ta1\n\n1\tAnna\tB-PER\t-\ta1\n2\tgoes\tO\t-\t-\n",
                      ["Where/O Ulm/B-LOC", "Anna/B-PER goes/O"]),
    "tag among features": ("1\tAnna\tPROPN\tstart=0|ner=S-PERSON\n2\tis\tAUX\tstart=5|ner=O\n3\t.\tPUNCT\t_\n",
                           ["Anna/B-PERSON is/O ./O"]),
    "tag first": ("B-LOC Ulm\nO ist\nO da\n", ["Ulm/B-LOC ist/O da/O"]),
    "part of speech first": ("NNP EU B-ORG\nVBZ rejects O\nJJ German B-MISC\n", ["EU/B-ORG rejects/O German/B-MISC"]),
    "numbers from 0": ("0 Anna B-PER\n1 geht O\n\n0 Ulm B-LOC\n1 ist O\n", ["Anna/B-PER geht/O", "Ulm/B-LOC ist/O"]),
    "numbers of the whole file": ("1 Anna B-PER\n2 geht O\n\n3 Ulm B-LOC\n4 ist O\n",
                                  ["Anna/B-PER geht/O", "Ulm/B-LOC ist/O"]),
    "numbers behind those of sentences": ("s1_t1 Anna B-PER\ns1_t2 geht O\n\ns2_t1 Ulm B-LOC\ns2_t2 ist O\n",
                                          ["Anna/B-PER geht/O", "Ulm/B-LOC ist/O"]),
    "offsets": ("Anna\t0\t4\tB-PER\ngeht\t5\t9\tO\n", ["Anna/B-PER geht/O"]),
    "name of the document": ("d1\tAnna\tB-PER\nd1\tgeht\tO\n\nd1\tUlm\tB-LOC\nd1\tist\tO\n",
                             ["Anna/B-PER geht/O", "Ulm/B-LOC ist/O"]),
    "two equal columns": ("Anna B-PER B-PER\ngeht O O\n", ["Anna/B-PER geht/O"]),
    "a word that is O": ("O O\nrato O\nroeu O\nRoma LOC\n\nO O\nJoão PER\n",
                         ["O/O rato/O roeu/O Roma/B-LOC", "O/O João/B-PER"]),
    "features before the tag": ("anna _ _ B-PER\ngeht _ _ O\n", ["anna/B-PER geht/O"]),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_columns_are_found_by_what_they_hold(name: str, tmp_path: Path) -> None:
    """Each form is read as what it is, whatever its columns are and whatever the file is called."""
    text, expected = READ[name]
    for suffix in (".conll", ".tsv", ".txt", ".csv", ".json", ".jsonl", ".parquet"):
        assert said(read(tmp_path, text, f"a{suffix}")) == expected
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(text.encode()))
    assert said(read_tagged(tmp_path / "a.tsv.gz")) == expected


def test_what_was_read_is_said(tmp_path: Path) -> None:
    """The reading names the columns, and what the others hold; nested entities are named with the way to them."""
    found = read(tmp_path, GERMEVAL)
    assert found.reading == (
        "columns split by tabs (numbers from 0): words in 1, tags in 2, 0 numbers the words, 3 holds other tags"
    )
    assert found.remarks == (
        "column 3 holds entities inside those of column 2, which are read; the inner ones with --tag-column 3.",
    )
    assert said(read(tmp_path, GERMEVAL, tag_column=3))[0] == "FC/O Ulm/B-LOC siegt/O"
    assert any(
        "a range of words (1-2) or an empty node (8.1) were left out: 2" in remark
        for remark in read(tmp_path, CONLL_U).remarks
    )


def test_columns_by_name(tmp_path: Path) -> None:
    """A column is named by its name or its number; HIPE's file has several of tags, and asks."""
    text = "TOKEN\tNE-COARSE\tNE-FINE\n# segment\nAnna\tB-pers\tB-pers.ind\nin\tO\tO\n"
    with pytest.raises(DataError, match=r"(?s)2 columns hold tags.*--tag-column NE-COARSE +Anna/B-pers in/O.*NE-FINE"):
        read(tmp_path, text)
    assert said(read(tmp_path, text, tag_column="NE-FINE")) == ["Anna/B-pers.ind in/O"]
    assert said(read(tmp_path, text, tag_column=1, word_column="TOKEN")) == ["Anna/B-pers in/O"]
    with pytest.raises(DataError, match="there is no tag column 'ner'; there are TOKEN, NE-COARSE, NE-FINE"):
        read(tmp_path, text, tag_column="ner")


REFUSED = {
    "two annotators": ("a B-PER O\nb O B-LOC\nc O O\n",
                       r"(?s)2 columns hold tags.*--tag-column 1 +a/B-PER.*column 2 +a/O"),
    "only numbers beside the tags": ("1 O\n2 B-PER\n3 O\n", r"no column holds words; .*'1', '2', '3'"),
    "no tags": ("1\tAnna\tAnna\tPROPN\t_\n2\tgeht\tgehen\tVERB\t_\n", r"(?s)no column holds tags.*'Anna'"),
    "numbers for tags": ("Anna 1\ngeht 0\nUlm 2\n", r"column 1 holds numbers \(0 to 2\).*--labels O,B-PER"),
    "labels and none outside": ("Anna PROPN\ngeht VERB\nheute ADV\n", "no column holds tags"),
    "texts with labels": ("text,label\na fine film,good\na dull film,bad\n",
                          "(?s)no column holds tags.*train sentiment"),
    "texts with numbers": ("1\ta fine film\n0\ta dull film\n", "(?s)no column holds tags.*train sentiment"),
    "prose": ("It was the best of times.\nIt was the worst of times.\n", "no column holds tags"),
    "one column": ("Anna\nva\n", "most lines hold one column"),
    "a page": ("<html>\n<body>\n", "is a web page"),
    "names in the first line": ("mot etiquette\nAnna B-PER\nva O\n", "--word-column mot --tag-column etiquette"),
    "names over labels": ("mot etiquette\n" + "Anna PER\nva O\n\n" * 12, "line 1: .*etiquette.* never comes again"),
    "WebAnno": ("#FORMAT=WebAnno TSV 3.2\n\n1-1\t0-4\tAnna\tPER\t\n", "Export it as CoNLL"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_stays_unsure_is_an_error(name: str, tmp_path: Path) -> None:
    """The reader never guesses: the error shows the columns, or the options for each interpretation."""
    text, rule = REFUSED[name]
    for suffix in (".conll", ".csv"):
        with pytest.raises(DataError, match=rule):
            read(tmp_path, text, f"a{suffix}")


def test_numbers_are_words_only_where_asked(tmp_path: Path) -> None:
    """The column that numbers the words is never taken for them, unless it is named; that is said."""
    found = read(tmp_path, "1 Anna B-PER\n2 geht O\n", word_column=0)
    assert said(found) == ["1/B-PER 2/O"]
    assert "numbers the words" in found.remarks[0]
    assert said(read(tmp_path, "12 O\n7 B-NUM\n")) == ["12/O 7/B-NUM"]


def test_named_labels_in_place_of_numbers(tmp_path: Path) -> None:
    """Numbers get the names that are given, in line or in a file; a number without one is an error."""
    text = "Anna 1\ngeht 0\nUlm 2\n"
    assert said(read(tmp_path, text, labels="O,B-PER,B-LOC")) == ["Anna/B-PER geht/O Ulm/B-LOC"]
    names = tmp_path / "names.txt"
    names.write_text("O\nB-PER\nB-LOC\n")
    assert said(read(tmp_path, text, labels=str(names))) == ["Anna/B-PER geht/O Ulm/B-LOC"]
    with pytest.raises(DataError, match="the tag 2 has no name: 2 were given, for 0 to 1"):
        read(tmp_path, text, labels="O,B-PER")
