"""How rows become sentences: empty lines, numbers of sentences, a sentence a row, several files."""

import json
from pathlib import Path
from typing import Any

import pytest

from regard.errors import DataError
from regard.tasks.reading import Read, read_tagged

from .test_tagged import read

BOTH = ["Anna/B-PER geht/O heim/O", "Ulm/B-LOC ist/O da/O"]


def said(found: Read) -> list[str]:
    """Return the sentences, each word with its tag."""
    return [" ".join(f"{w}/{t}" for w, t in zip(one.words, one.tags, strict=True)) for one in found.examples]


def lines(*rows: Any) -> str:
    """Return JSON lines."""
    return "\n".join(map(json.dumps, rows))


WORDS = (("Anna", "B-PER"), ("geht", "O"), ("heim", "O"), ("Ulm", "B-LOC"), ("ist", "O"), ("da", "O"))
KAGGLE = "Sentence #,Word,POS,Tag\n" + "".join(
    f"{f'Sentence: {n // 3 + 1}' if n % 3 == 0 else ''},{word},NN,{tag}\n" for n, (word, tag) in enumerate(WORDS)
)
NUMBERED = "".join(f"{n // 3},{word},{tag}\n" for n, (word, tag) in enumerate(WORDS))
LISTS = (
    {"id": "0", "tokens": ["Anna", "geht", "heim"], "ner_tags": ["B-PER", "O", "O"]},
    {"id": "1", "tokens": ["Ulm", "ist", "da"], "ner_tags": ["B-LOC", "O", "O"]},
)
SENTENCES = {
    "kaggle": KAGGLE,
    "kaggle, mark and CRLF": "\ufeff" + KAGGLE.replace("\n", "\r\n"),
    "numbers of sentences": "sentence_id,words,labels\n" + NUMBERED,
    "numbers of sentences, no names": NUMBERED.replace(",", "\t"),
    "column of pandas": ",word,tag,sent\n" + "".join(f"{n},{w},{t},{n // 3}\n" for n, (w, t) in enumerate(WORDS)),
    "numbers of words": "".join(f"{n % 3 + 1}\t{w}\t{t}\n" for n, (w, t) in enumerate(WORDS)),
    "empty rows": "word;tag\n" + "".join(f"{w};{t}\n" + ";\n" * (n == 2) for n, (w, t) in enumerate(WORDS)),
    "word a row, JSON lines": lines(*({"sent": n // 3, "word": w, "tag": t} for n, (w, t) in enumerate(WORDS))),
    "word a row, Kaggle's blanks": lines(*(
        {"Sentence #": None if n % 3 else f"s{n}", "Word": w, "Tag": t} for n, (w, t) in enumerate(WORDS))),
    "lists": lines(*LISTS),
    "lists in one": json.dumps({"version": "1", "data": LISTS}, indent=1),
    "lists by column": json.dumps({key: [one[key] for one in LISTS] for key in ("tokens", "ner_tags")}),
    "pairs": lines(*([list(pair) for pair in WORDS[at : at + 3]] for at in (0, 3))),
    "words with tags inside": lines(*(
        {"tokens": [{"text": w, "tag": t} for w, t in WORDS[at : at + 3]]} for at in (0, 3))),
    "texts": lines({"sentence": "Anna geht heim", "labels": "B-PER O O"},
                   {"sentence": "Ulm ist da", "labels": "B-LOC O O"}),
    "rows of texts": "Anna geht heim\tB-PER O O\nUlm ist da\tB-LOC O O\n",
    "rows of texts without letters": "text,labels\nAnna geht heim,PER O O\nUlm ist da,LOC O O\n",
    "lists of Python": "tokens,tags\n\"['Anna', 'geht', 'heim']\",\"['B-PER', 'O', 'O']\"\n"
                       "\"['Ulm', 'ist', 'da']\",\"['B-LOC', 'O', 'O']\"\n",
    "lists of NumPy": "tokens,tags\n\"['Anna' 'geht' 'heim']\",\"['B-PER' 'O' 'O']\"\n"
                      "\"['Ulm' 'ist' 'da']\",\"['B-LOC' 'O' 'O']\"\n",
    "kaggle, lists": "Sentence #,Sentence,POS,Tag\n"
                     "Sentence: 1,Anna geht heim,\"['NN', 'VB', 'RB']\",\"['B-PER', 'O', 'O']\"\n"
                     "Sentence: 2,Ulm ist da,\"['NN', 'VB', 'RB']\",\"['B-LOC', 'O', 'O']\"\n",
    "names over CoNLL": "Token\tNER\nAnna\tB-PER\ngeht\tO\nheim\tO\n\nUlm\tB-LOC\nist\tO\nda\tO\n",
    "documents": "-DOCSTART- O\nAnna B-PER\ngeht O\nheim O\n-DOCEND- O\nUlm B-LOC\nist O\nda O\n",
    "WikiANN": "de:Anna\tB-PER\nde:geht\tO\nde:heim\tO\n\nde:Ulm\tB-LOC\nde:ist\tO\nde:da\tO\n",
    "joined files": "Anna B-PER\ngeht O\nheim O\n\n\ufeffUlm B-LOC\nist O\nda O\n",
    "trailing tabs": "Anna\tB-PER\t\ngeht\tO\t\nheim\tO\t\n\t\t\nUlm\tB-LOC\t\nist\tO\t\nda\tO\t\n",
    "Excel": "sep=;\nsentence;word;tag\n" + "".join(f"{n // 3};{w};{t}\n" for n, (w, t) in enumerate(WORDS)),
}  # fmt: skip


@pytest.mark.parametrize("name", SENTENCES)
def test_sentences_are_found_by_what_the_rows_hold(name: str, tmp_path: Path) -> None:
    """Each form gives the same two sentences, whatever the file is called."""
    for suffix in (".conll", ".csv", ".tsv", ".txt", ".json", ".jsonl"):
        found = read(tmp_path, SENTENCES[name], f"a{suffix}")
        assert said(found) == BOTH
        assert found.left_out == ()


def test_a_word_alone_is_no_sentence(tmp_path: Path) -> None:
    """Where each sentence would be one word, or all words one sentence, the reader asks; told so, it reads."""
    single = "\n\n".join(f"wort{n}x O" for n in range(9)) + "\n\nUlm B-LOC\n"
    with pytest.raises(DataError, match=r"each of its 10 sentences is one word\..*--sentence-column.*--as-told"):
        read(tmp_path, single)
    assert len(read(tmp_path, single, as_told=True).examples) == 10
    table = "word,tag\n" + "wort,O\nAnna,B-PER\n" * 300
    with pytest.raises(DataError, match=r"no empty line ends a sentence: all 600 words.*--sentence-column"):
        read(tmp_path, table, "a.csv")
    assert len(read(tmp_path, table, "a.csv", as_told=True).examples) == 1


def test_column_of_sentences_asked_for(tmp_path: Path) -> None:
    """A column that does not look like one still tells sentences apart if it is named."""
    text = "place,word,tag\n" + "".join(f"{'xy'[n // 3]},{w},{t}\n" for n, (w, t) in enumerate(WORDS))
    assert len(read(tmp_path, text, "a.csv").examples) == 1
    found = read(tmp_path, text, "a.csv", sentence_column="place")
    assert said(found) == BOTH
    assert "a new sentence where column 'place' changes" in found.reading


def test_quotes_belong_to_commas(tmp_path: Path) -> None:
    """In CSV a quoted comma or quotation mark is a word; in tabs a quotation mark is a character like others."""
    assert said(read(tmp_path, 'word,tag\n"""",O\nAnna,B-PER\n",",O\n', "a.csv")) == ['"/O Anna/B-PER ,/O']
    assert said(read(tmp_path, '"\tO\nAnna\tB-PER\n""\tO\n', "a.tsv")) == ['"/O Anna/B-PER ""/O']
    with pytest.raises(DataError, match="line 3: a quotation mark opens here and none closes"):
        read(tmp_path, 'word,tag\nAnna,B-PER\n"geht,O\n', "a.csv")


def test_odd_words_are_kept_and_remarked(tmp_path: Path) -> None:
    """Words with blanks in tabs stay whole; what cannot be seen is kept, counted, and separates nothing."""
    assert said(read(tmp_path, "New York\tB-LOC\nist\tO\n")) == ["New York/B-LOC ist/O"]
    found = read(tmp_path, "Anna\tB-PER\n\xa0\tO\n\u200b\tO\n")
    assert found.examples[0].words == ("Anna", "\xa0", "\u200b")
    assert found.remarks[0].startswith(
        "words that hold nothing that can be seen are kept as they are: 2, first '\\xa0'"
    )
    with pytest.raises(DataError, match=r"U\+00A0 stands in it, which separates nothing"):
        read(tmp_path, "Anna\xa0B-PER\ngeht\xa0O\n")


def test_several_files_and_folders(tmp_path: Path) -> None:
    """A corpus in several files is read as one; parts of a data set in one folder are named, not mixed."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    read(folder, "Anna B-PER\ngeht O\nheim O\n", "one.conll")
    read(folder, "Ulm\tB-LOC\nist\tO\nda\tO\n", "two.tsv")
    (folder / "README.txt").write_text("read me")
    found = read_tagged(folder)
    assert said(found) == BOTH
    assert found.reading.startswith("2 files, one.conll: columns split by blanks")
    assert said(read_tagged([folder / "two.tsv", folder / "one.conll"])) == BOTH[::-1]
    for name in ("train.conll", "test.conll"):
        read(tmp_path, "Anna B-PER\n", name)
    with pytest.raises(DataError, match=r"holds the parts of a data set.*--train .*train.conll.*--test .*test.conll"):
        read_tagged(tmp_path)
