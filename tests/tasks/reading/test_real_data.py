"""The readers on real data sets, where they lie in `../shared/data` beside the repository."""

from pathlib import Path

import pytest

from regard.tasks.reading import (
    LabelledOptions,
    PairOptions,
    TaggedOptions,
    read_documents,
    read_images,
    read_labelled,
    read_pairs,
    read_tagged,
)

DATA = next(
    (parent / "shared" / "data" for parent in Path(__file__).parents if (parent / "shared" / "data").is_dir()), None
)
pytestmark = pytest.mark.skipif(DATA is None, reason="there is no ../shared/data beside the repository")


def data(name: str) -> Path:
    """Return a path below the data."""
    return Path(str(DATA)) / name


@pytest.mark.parametrize(
    ("name", "sentences", "tokens", "entities"),
    [
        ("ner/wnut17/train.conll", 3394, 62730, 1975),
        ("ner/wnut17/dev.conll", 1009, 15733, 836),
        ("ner/wnut17/test.conll", 1287, 23394, 1079),
        ("ner/snips_slots/valid", 700, 6384, None),
        ("ner/snips_slots/test", 700, 6354, None),
    ],
)
def test_tagged(name: str, sentences: int, tokens: int, entities: int | None) -> None:
    """Sentences, words and entities are as many as their makers count, none is left out, and all are IOB2."""
    found = read_tagged(data(name), TaggedOptions(scheme="iob2"))
    assert len(found.examples) == sentences
    assert sum(len(example.words) for example in found.examples) == tokens
    if entities is not None:
        assert sum(tag.startswith("B-") for example in found.examples for tag in example.tags) == entities


def test_intents() -> None:
    """The folder of slots also gives the intent of each utterance."""
    found = read_labelled(data("ner/snips_slots/valid")).examples
    assert len(found) == 700
    assert len({example.labels for example in found}) == 7


def test_goemotions() -> None:
    """TSV without header, with several labels by number."""
    folder = data("sentiment/goemotions/group")
    options = LabelledOptions(label_separator=",", label_names=folder / "labels.txt")
    found = read_labelled(folder / "dev.tsv.gz", options).examples
    assert len(found) == 5426
    assert {label for example in found for label in example.labels} == {"positive", "negative", "ambiguous", "neutral"}
    assert max(len(example.labels) for example in found) > 1


def test_polarity() -> None:
    """A folder with one file for each label, beside others."""
    found = read_labelled(data("sentiment/mr_sentence_polarity")).examples
    assert sum(example.labels == ("pos",) for example in found) == 5331
    assert sum(example.labels == ("neg",) for example in found) == 5331


def test_titles() -> None:
    """Packed JSON lines with chosen fields."""
    found = read_pairs(data("summarization/arxiv_titles/dev.jsonl.gz"), PairOptions("abstract", "title")).examples
    assert len(found) == 2000


def test_translations() -> None:
    """Packed TSV of pairs, in which quotation marks are characters."""
    found = read_pairs(data("translation/tatoeba_en-de/test.en-de.tsv.gz")).examples
    assert len(found) == 2000
    assert any('"' in pair.source for pair in found)


def test_running_text() -> None:
    """One file is one document, to the byte."""
    (found,) = read_documents(data("lm/tinyshakespeare/input.txt")).examples
    assert len(found.text) == 1_115_394


def test_fashion() -> None:
    """Packed IDX files; the first labels are as published."""
    files = [data(f"vision/fashion_mnist/t10k-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1")]
    found = read_images(files).examples
    assert found.pixels.shape == (10_000, 28, 28, 1)
    assert {found.labels.count(str(label)) for label in range(10)} == {1000}
