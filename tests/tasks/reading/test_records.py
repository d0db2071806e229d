"""Numbered tags get their names from where the package datasets keeps them, or the reader asks for them."""

import json
from pathlib import Path

import pytest

from regard.corpora import TaggedWords
from regard.errors import DataError
from regard.tasks.reading import TaggedOptions, read_tagged

NAMES = ["O", "B-PER", "B-LOC"]
ROWS = [
    {"id": "0", "tokens": ["Anna", "geht"], "pos_tags": [0, 1], "ner_tags": [1, 0]},
    {"id": "1", "tokens": ["Ulm"], "pos_tags": [0], "ner_tags": [2]},
]
EXPECTED = [TaggedWords(("Anna", "geht"), ("B-PER", "O")), TaggedWords(("Ulm",), ("B-LOC",))]


def features(kind: str) -> dict[str, object]:
    """Return what the package datasets writes of columns; its name for lists has changed."""
    text = {"feature": {"dtype": "string", "_type": "Value"}, "_type": kind}
    return {
        "tokens": text,
        "pos_tags": {"feature": {"names": ["NNP", "VB"], "_type": "ClassLabel"}, "_type": kind},
        "ner_tags": {"feature": {"names": NAMES, "_type": "ClassLabel"}, "_type": kind},
    }


def lines(folder: Path) -> Path:
    """Write JSON lines."""
    path = folder / "data" / "train.jsonl"
    path.parent.mkdir()
    path.write_text("\n".join(map(json.dumps, ROWS)))
    return path


@pytest.mark.parametrize("kind", ["Sequence", "List"])
def test_names_in_parquet(kind: str, tmp_path: Path) -> None:
    """The schema of a Parquet file holds the names, whatever the file is called."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.Table.from_pylist(ROWS)
    named = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features(kind)}})})
    for name in ("a.parquet", "a.conll"):
        parquet.write_table(named, tmp_path / name)
        assert read_tagged(tmp_path / name).examples == EXPECTED
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"column 'ner_tags' holds numbers \(0 to 2\).*--labels O,B-PER,I-PER"):
        read_tagged(tmp_path / "a.parquet")
    assert read_tagged(tmp_path / "a.parquet", TaggedOptions(labels=",".join(NAMES))).examples == EXPECTED


def test_names_beside_the_file(tmp_path: Path) -> None:
    """`dataset_info.json`, of either layout, stands beside the file or beside its folder."""
    path = lines(tmp_path)
    with pytest.raises(DataError, match="names are not beside them"):
        read_tagged(path)
    for text in ({"features": features("List")}, {"default": {"features": features("Sequence")}}):
        for folder in (path.parent, tmp_path):
            (folder / "dataset_info.json").write_text(json.dumps(text))
            assert read_tagged(path).examples == EXPECTED
            (folder / "dataset_info.json").unlink()


def test_names_in_a_data_card(tmp_path: Path) -> None:
    """The head of README.md holds the names by number."""
    pytest.importorskip("yaml")
    path = lines(tmp_path)
    names = "".join(f"\n          '{number}': {name}" for number, name in enumerate(NAMES))
    (tmp_path / "README.md").write_text(
        "---\nlicense: mit\ndataset_info:\n  features:\n  - name: tokens\n    sequence: string\n  - name: ner_tags\n"
        f"    sequence:\n      class_label:\n        names:{names}\n---\n# Card\n"
    )
    assert read_tagged(path).examples == EXPECTED
    (tmp_path / "README.md").write_text("# No head\n")
    with pytest.raises(DataError, match="names are not beside them"):
        read_tagged(path)


def test_named_column_of_numbers(tmp_path: Path) -> None:
    """A column of numbers that is named is asked for its names too, and takes them."""
    path = lines(tmp_path)
    with pytest.raises(DataError, match="'pos_tags' holds numbers"):
        read_tagged(path, TaggedOptions(tags="pos_tags"))
    found = read_tagged(path, TaggedOptions(tags="ner_tags", labels="O,B-PER,B-LOC"))
    assert found.examples == EXPECTED
