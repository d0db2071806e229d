"""Ask seqeval and rouge-score, and write inputs and answers: `make oracles`. Run where both are installed."""

import json
import random
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rouge_score.rouge_scorer import RougeScorer
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2

TAGS = ["O", "B-x", "I-x", "B-y", "I-y", "E-x", "S-y"]
IOB2_TAGS = TAGS[:5]
WORDS = "the cats running ran quickly houses house on of running's".split()
PIECES = ["The", "model's", "F1", "(0.93)", "état", "—", "state-of-the-art", "Ünder", "x²", "\n", "results,", "we"]
CHANCE = random.Random(0)


def tagged(tags: list[str]) -> tuple[list[list[str]], list[list[str]]]:
    """Draw true tags of one to five sentences, and found ones that are right in three of four places or so."""
    true = [CHANCE.choices(tags, k=CHANCE.randint(1, 9)) for _ in range(CHANCE.randint(1, 5))]
    right = CHANCE.choice((0.0, 0.7, 0.95))
    found = [[tag if CHANCE.random() < right else CHANCE.choice(tags) for tag in line] for line in true]
    return true, found


def about_entities() -> dict[str, Any]:
    """Return what seqeval's default mode says, whatever the tags."""
    true, found = tagged(TAGS)
    return {
        "true": true,
        "found": found,
        "entities": [get_entities(tags) for tags in true],
        "precision": precision_score(true, found, zero_division=0),
        "recall": recall_score(true, found, zero_division=0),
        "f1": f1_score(true, found, zero_division=0),
        "macro_f1": f1_score(true, found, average="macro", zero_division=0),
    }


def about_strict() -> dict[str, Any]:
    """Return what its strict mode says under IOB2."""
    true, found = tagged(IOB2_TAGS)
    return {"true": true, "found": found, "f1": f1_score(true, found, mode="strict", scheme=IOB2, zero_division=0)}


def about_summaries(pieces: list[str], most: int) -> dict[str, Any]:
    """Return ROUGE-1, 2 and L of one pair of texts, without stems and with."""
    true, found = (" ".join(CHANCE.choices(pieces, k=CHANCE.randint(0, most))) for _ in range(2))
    scores = {}
    for name, stem in (("plain", False), ("stemmed", True)):
        score = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=stem).score(true, found)
        scores[name] = [score[kind].fmeasure for kind in ("rouge1", "rouge2", "rougeL")]
    return {"true": true, "found": found, **scores}


def main() -> None:
    """Write the file that is named."""
    warnings.simplefilter("ignore")
    answers = {
        "versions": {name: version(name) for name in ("seqeval", "rouge_score", "nltk", "numpy", "scikit-learn")},
        "entities": [about_entities() for _ in range(250)],
        "strict": [about_strict() for _ in range(250)],
        "summaries": [about_summaries(WORDS, 12) for _ in range(200)]
        + [about_summaries(PIECES, 20) for _ in range(50)],
    }
    lines = [
        f'"{kind}": ' + (json.dumps(rows) if kind == "versions" else "[\n" + ",\n".join(map(_line, rows)) + "\n]")
        for kind, rows in answers.items()
    ]
    Path(sys.argv[1]).write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=float)


if __name__ == "__main__":
    main()
