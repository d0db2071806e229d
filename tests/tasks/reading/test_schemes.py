"""Notations of tags: letters before or after, lower case, alone, in brackets, or none."""

from collections import Counter
from pathlib import Path

import pytest

from regard.errors import DataError
from regard.tasks.reading import TaggedOptions, read_tagged
from regard.tasks.reading._schemes import PLAIN, style_of

WRITTEN = {
    "underscore": ("B_PER I_PER O B_LOC", "B-PER I-PER O B-LOC", "an underscore"),
    "colon": ("B:PER I:PER O B:LOC", "B-PER I-PER O B-LOC", "a colon"),
    "small": ("b-per i-per o b-loc", "B-per I-per O B-loc", "small letter"),
    "letter behind": ("PER-B PER-I O LOC-B", "B-PER I-PER O B-LOC", "a label, a hyphen and a letter"),
    "none": ("PER PER O LOC", "B-PER I-PER O B-LOC", "no letter"),
    "letters alone": ("B I O B", "B-entity I-entity O B-entity", "'entity'"),
    "letters alone, bioes": ("B E O S", "B-entity I-entity O B-entity", "'entity'"),
    "brackets": ("(PER* *) * (LOC)", "B-PER I-PER O B-LOC", "brackets"),
    "bmewo": ("B-PER M-PER E-PER W-LOC", "B-PER I-PER I-PER B-LOC", None),
    "bilou": ("B-PER L-PER O U-LOC", "B-PER I-PER O B-LOC", None),
    "iob1": ("I-PER I-PER B-PER I-LOC", "B-PER I-PER B-PER B-LOC", None),
    "label with signs": ("B-work-of_art I-work-of_art O B-x/y", "B-work-of_art I-work-of_art O B-x/y", None),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_ways_of_writing_tags(name: str, tmp_path: Path) -> None:
    """Each becomes IOB2, and what is not usual is remarked."""
    given, expected, remark = WRITTEN[name]
    path = tmp_path / "a.conll"
    path.write_text(
        "".join(f"{word} {tag}\n" for word, tag in zip("Ada Lov in Ulm".split(), given.split(), strict=True))
    )
    found = read_tagged(path)
    assert found.examples[0].tags == tuple(expected.split())
    assert ("".join(found.remarks) == "") if remark is None else (remark in found.remarks[0])


def test_one_way_a_file(tmp_path: Path) -> None:
    """A tag that is written as no other is an error, and never a label of its own."""
    path = tmp_path / "a.conll"
    for odd in ("LOC", "B_LOC", "b-LOC", "B"):
        path.write_text(f"Ada B-PER\nLov I-PER\nin O\nUlm {odd}\n")
        with pytest.raises(DataError, match=f"line 4: the tag '{odd}' is neither O"):
            read_tagged(path)


def test_labels_without_letters_asked_for(tmp_path: Path) -> None:
    """`io` reads whatever stands there as a label; another scheme does not take labels without letters."""
    path = tmp_path / "a.conll"
    path.write_text("Ada B-12\nin O\nUlm LOC\n")
    assert read_tagged(path, TaggedOptions(scheme="io")).examples[0].tags == ("B-B-12", "O", "B-LOC")
    path.write_text("Ada PER\nin O\nUlm LOC\n")
    with pytest.raises(DataError, match="'PER' is neither O nor a letter"):
        read_tagged(path, TaggedOptions(scheme="iob2"))


def test_words_are_no_tags() -> None:
    """A few words that look like tags do not make a column a column of tags."""
    words = Counter("the B-52 flew an e-mail to S-Bahn riders in Ulm".split())
    style, share = style_of(words)
    assert style is not PLAIN
    assert share < 0.5
