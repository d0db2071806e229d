"""Files of every format: train on them, predict into them, evaluate what was written."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from regard.cli import main
from regard.tasks.reading import read_tagged

from ..tasks.small import DOCUMENTS, IMAGES, LABELLED, PAIRS, TAGGED

SMALL = ("--embed-dim", "16", "--num-heads", "2", "--num-layers", "1", "--dropout", "0", "--lr", "1e-2")
COUNT = 120
Write = Callable[[Path], Sequence[str]]


def table(path: Path, rows: Sequence[dict[str, Any]], separator: str = ",", *, header: bool = True) -> list[str]:
    """Write rows in the format that the path's name says; return the path as a source."""
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(list(rows)))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=separator, lineterminator="\n")
            if header:
                writer.writeheader()
            writer.writerows(rows)
    return [str(path)]


LABELS = [{"id": n, "text": f'{one.text}, "so"', "label": one.labels[0]} for n, one in enumerate(LABELLED[:COUNT])]
PAIR = [{"source": one.source, "target": one.target} for one in PAIRS[:COUNT]]
LISTS = [{"id": str(n), "tokens": list(one.words), "ner_tags": list(one.tags)} for n, one in enumerate(TAGGED[:COUNT])]


def spans(number: int) -> dict[str, Any]:
    """Return a sentence as a text with character spans."""
    one = TAGGED[number]
    starts = [sum(len(word) + 1 for word in one.words[:at]) for at in range(len(one.words))]
    found = [[starts[at], starts[at] + len(one.words[at]), tag[2:]] for at, tag in enumerate(one.tags) if tag != "O"]
    return {"text": " ".join(one.words), "label": found}


def columns(path: Path, line: str, head: str = "", between: str = "") -> list[str]:
    """Write tagged sentences in columns, a word a line."""
    sentences = ["\n".join(line.format(n=n + 1, w=w, t=t) for n, (w, t) in enumerate(zip(x.words, x.tags, strict=True)))
                 for x in TAGGED[:COUNT]]  # fmt: skip
    path.write_text(head + f"\n\n{between}".join(sentences) + "\n")
    return [str(path)]


def parallel(folder: Path, first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Write two files of parallel lines."""
    for name, lines in (("a.txt", first), ("b.txt", second)):
        (folder / name).write_text("\n".join(lines) + "\n")
    return [str(folder / "a.txt"), str(folder / "b.txt")]


CASES: dict[str, tuple[str, Write, tuple[str, ...]]] = {
    "conll": ("ner", lambda d: columns(d / "a.conll", "{w}\t{t}"), ()),
    "conll, from the end": ("ner", lambda d: columns(d / "a.conll", "{w} NN {t}"), ("--tag-column", "-1")),
    "germeval": ("ner", lambda d: columns(d / "a.tsv", "{n}\t{w}\t{t}\tO", "# source\n", "# source\n"), ()),
    "word a row": ("ner", lambda d: columns(d / "a.csv", '{n},"{w}",{t}', "nr,word,tag\n"), ()),
    "lists": ("ner", lambda d: table(d / "a.jsonl", LISTS), ()),
    "lists in parquet": ("ner", lambda d: table(d / "a.parquet", LISTS), ()),
    "spans": ("ner", lambda d: table(d / "a.jsonl", [spans(n) for n in range(COUNT)]), ()),
    "sentence a row": (
        "ner",
        lambda d: table(d / "a.csv", [{"s": " ".join(x["tokens"]), "tags": " ".join(x["ner_tags"])} for x in LISTS]),
        (),
    ),
    "csv": ("sentiment", lambda d: table(d / "a.csv", LABELS), ()),
    "tsv": ("sentiment", lambda d: table(d / "a.tsv", LABELS, "\t"), ()),
    "other names": (
        "sentiment",
        lambda d: table(d / "a.csv", [{"stars": x["label"], "review": x["text"]} for x in LABELS], ";"),
        ("--text", "review", "--label", "stars"),
    ),
    "no header": (
        "sentiment",
        lambda d: table(d / "a.csv", [{"l": x["label"], "t": x["text"]} for x in LABELS], header=False),
        (),
    ),
    "json": ("sentiment", lambda d: table(d / "a.json", LABELS), ()),
    "parquet": ("sentiment", lambda d: table(d / "a.parquet", LABELS), ()),
    "fasttext": (
        "sentiment",
        lambda d: [str(_lines(d / "a.txt", [f"__label__{x['label']} {x['text']}" for x in LABELS]))],
        (),
    ),
    "pairs": (
        "translation",
        lambda d: table(d / "a.tsv", PAIR, "\t"),
        ("--beams", "1", "--tokenizer", "characters"),
    ),
    "nested pairs": (
        "summarization",
        lambda d: table(d / "a.jsonl", [{"translation": {"en": x["source"], "de": x["target"]}} for x in PAIR]),
        ("--source", "translation.en", "--target", "translation.de", "--beams", "1", "--max-target", "6"),
    ),
    "documents": (
        "language_modeling",
        lambda d: table(d / "a.csv", [{"text": one.text} for one in DOCUMENTS]),
        ("--context", "16", "--max-new-tokens", "4"),
    ),
    "pictures": ("image_classification", lambda d: pictures(d), ("--patch-size", "4", "--stem", "patch")),
}


def _lines(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def pictures(folder: Path) -> list[str]:
    """Write pictures and the table that names them."""
    (folder / "img").mkdir()
    rows = []
    for number, (pixels, label) in enumerate(zip(IMAGES.pixels[:40], IMAGES.labels, strict=False)):
        Image.fromarray(pixels[..., 0]).save(folder / "img" / f"{number}.png")
        rows.append({"path": f"img/{number}.png", "label": label})
    return table(folder / "a.csv", rows)


@pytest.mark.parametrize("name", CASES)
def test_a_round_trip(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What predict writes has the rows of its input in their order, and evaluate reads the answers as the truth."""
    task, write, options = CASES[name]
    source = write(tmp_path)
    run = str(tmp_path / "run")
    training = ("--steps", "30", "--no-crf") if task == "ner" else ("--steps", "8")
    assert main(["train", task, "--train", *source, "--out", run, *training, *options, *SMALL]) == 0
    before = Path(source[0])
    out = tmp_path / f"out{before.suffix}"
    assert main(["predict", run, "--file", str(before), "--out", str(out)]) == 0
    capsys.readouterr()
    assert main(["predict", run, "--file", str(before), "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert main(["evaluate", run, str(out), "--json", "--skip-bad-rows"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["count"] == sum(one.get("output") != "" for one in answers)
    if task in ("ner", "sentiment", "image_classification"):
        assert told["figures"]["accuracy" if task != "ner" else "token_accuracy"] == 1
    if task == "ner":
        assert [list(one.words) for one in read_tagged(out).examples] == [list(one.words) for one in TAGGED[:COUNT]]
        assert [list(one.tags) for one in read_tagged(out).examples] == [one["tags"] for one in answers]
    elif out.suffix in (".csv", ".tsv") and name != "no header":
        written, read = _rows(out), _rows(before)
        changed = {"label", "stars", "target", "text" if task == "language_modeling" else ""}
        assert [{k: row[k] for k in read[0] if k not in changed} for row in written] == (
            [{k: row[k] for k in read[0] if k not in changed} for row in read]
        )


def _rows(path: Path) -> list[dict[str, str]]:
    text = path.read_text()
    separator = max(",;\t", key=text.split("\n")[0].count)
    return list(csv.DictReader(io.StringIO(text), delimiter=separator))
