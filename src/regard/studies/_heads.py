"""What the heads of a trained model do, and how much the loss rises without each."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._values import check_sizes
from ..errors import ArgumentError, DataError
from ..models import LanguageModel, LanguageModelConfig
from ._ablation import Ablation, attention_layers, mean_outputs, without_head
from ._fit import Training
from ._head_scores import KINDS, head_scores, kind_of, rank_correlation
from ._head_texts import Texts, code_windows, loss_of, of_folder, padded, trained_model
from ._heads_picture import draw
from ._study import Progress, Study, StudySettings, Table, part, settings_for, silent

LOOKS = ("sharpness", "largest")
"""How important a head looks in a picture: 1 - entropy relative to uniform, and its largest weight."""


@dataclass(frozen=True)
class HeadsSettings(StudySettings):
    """Settings of the study of heads."""

    model: str | None = None
    """Folder of a trained language model (`regard train language-modeling --out FOLDER`); trained here unless given."""
    ablation: Ablation = "mean"
    """What takes the place of a head's output: its mean over all tokens, or zero."""
    length: int = 96
    """Tokens of a window."""
    windows: int | None = None
    """Number of held-out windows for scores and ablation; 64 or 256 unless given."""
    num_layers: int | None = None
    """Layers of the model trained here; 2 or 3 unless given."""
    num_heads: int | None = None
    """Heads of each layer; 4 or 8 unless given."""
    embed_dim: int = 128
    """Width of the model trained here."""
    steps: int | None = None
    """Steps of training; 250 or 2,500 unless given."""
    files: int | None = None
    """Files of code to train on; 60 or 240 unless given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "windows", "num_layers", "num_heads", "embed_dim", "steps", "files")
        if self.ablation not in ("mean", "zero"):
            raise ArgumentError(f"ablation is {self.ablation!r}; it is 'mean' or 'zero'.")
        if self.length < 16:
            raise ArgumentError(f"length is {self.length}; give windows of 16 tokens or more.")


def heads(settings: HeadsSettings | None = None, *, progress: Progress = silent) -> Study:
    """Score every head of a causal language model, then remove each and measure what that costs.

    The model is trained here on the standard library's own code, or loaded. Heads are measured on held-out code, and
    (duplicate, induction) on repeated sequences of random tokens, where only copying helps. The output of each head is
    replaced by its mean, one head at a time, and the loss of held-out code measured again.

    Args:
        settings: see `HeadsSettings`.
        progress: called with the share done, and a description.

    Returns a `Study`; its table has a row for each head.

    Raises:
        DataError, ModelFileError, MissingExtraError: the folder holds no model, or no held-out text is long enough.

    Heads are removed one at a time: one whose loss costs little may have a substitute that does the same, so costs do
    not add up.

    Source: Olsson et al. 2022, arXiv:2209.11895; Michel et al. 2019, arXiv:1905.10650, for taking heads out; Jain and
    Wallace 2019, arXiv:1902.10186, on why a picture alone proves little.
    """
    settings = settings_for(settings, HeadsSettings, progress)
    model, texts = _model(settings, part(progress, 0.0, 0.7))
    count = settings.windows or settings.pick(64, 256)
    test = sorted(texts.test[:: max(1, len(texts.test) // count)][:count], key=len, reverse=True)
    if not test:
        raise DataError(f"No held-out window has {settings.length} tokens; give a smaller length.")
    data = look(model, test, settings.ablation, _repeated(texts, settings), part(progress, 0.7, 1.0))
    tokens = test[0].tolist()
    data |= {
        "description": texts.description, "baseline": texts.baseline, "windows": len(test),
        "trained_here": settings.model is None, "words": [texts.words[token] for token in tokens[:24]],
    }  # fmt: skip
    return Study(
        "heads", "What do the heads of a trained model do, and are those that look important important?",
        dataclasses.asdict(settings), (_table(data),), _reading(data), data, draw,
    )  # fmt: skip


def _model(settings: HeadsSettings, progress: Progress) -> tuple[LanguageModel, Texts]:
    if settings.model is not None:
        return of_folder(Path(settings.model), settings.length)
    texts = code_windows(settings.files or settings.pick(60, 240), settings.length, settings.seed)
    config = LanguageModelConfig(
        vocab_size=len(texts.words), embed_dim=settings.embed_dim, dropout=0.0,
        num_layers=settings.num_layers or settings.pick(2, 3), num_heads=settings.num_heads or settings.pick(4, 8),
    )  # fmt: skip
    training = Training(settings.steps or settings.pick(250, 2_500), lr=3e-3, tokens=2048)
    return trained_model(texts, config, training, settings.seed, progress), texts


def look(
    model: LanguageModel,
    test: Sequence[Tensor],
    ablation: Ablation,
    twice: tuple[Tensor, Tensor],
    progress: Progress = silent,
) -> dict[str, Any]:
    """Return the scores of every head, the cost of losing it, and the first window's weights.

    `twice` are repeated sequences, as tokens and lengths.
    """
    code = padded(test)
    scores, shown = _scores(model, code, twice)
    layers = attention_layers(model)
    means = mean_outputs(model, [code]) if ablation == "mean" else None
    whole = {"code": loss_of(model, *code), "twice": loss_of(model, *twice, start=twice[0].shape[1] // 2 + 1)}
    for done, row in enumerate(scores):
        progress(done / len(scores), f"without head {row['head']} of layer {row['layer']}")
        put = None if means is None else means[row["layer"]][row["head"]]
        with without_head(layers[row["layer"]], row["head"], put):
            row["rise"] = loss_of(model, *code) - whole["code"]
            row["rise_twice"] = loss_of(model, *twice, start=twice[0].shape[1] // 2 + 1) - whole["twice"]
    rises = [row["rise"] for row in scores]
    correlation = {name: rank_correlation([row[name] for row in scores], rises) for name in (*LOOKS, *KINDS)}
    return {
        "heads": scores, "loss": whole, "ablation": ablation, "correlation": correlation, "shown": shown,
    }  # fmt: skip


def _repeated(texts: Texts, settings: HeadsSettings, count: int = 32) -> tuple[Tensor, Tensor]:
    """Return repeated sequences of random tokens, as tokens and lengths."""
    generator = torch.Generator().manual_seed(settings.seed)
    once = torch.rand(count, len(texts.fresh), generator=generator).argsort(-1) + texts.fresh.start
    tokens = once[:, : settings.length // 2].repeat(1, 2)
    return tokens, torch.full((count,), tokens.shape[1])


@torch.no_grad()
def _scores(
    model: LanguageModel, code: tuple[Tensor, Tensor], twice: tuple[Tensor, Tensor]
) -> tuple[list[dict[str, Any]], list[list[list[float]]]]:
    """Return a row of scores for each head, and each head's weights of the start of the first window."""
    _, of_code = model(*code, need_weights=True)
    _, of_twice = model(*twice, need_weights=True)
    found, shown = [], []
    for layer, (name, weights) in enumerate(of_code.items()):
        dense = weights.dense()
        here, there = head_scores(dense, *code), head_scores(of_twice[name].dense(), *twice)
        for head in range(dense.shape[1]):
            row = {what: float(values[head]) for what, values in here.items()}
            row |= {what: float(there[what][head]) for what in ("duplicate", "induction")}
            row |= {"on_code": float(here["induction"][head]), "sharpness": 1.0 - row["entropy"]}
            found.append({"layer": layer, "head": head, "kind": kind_of(row), **row})
            shown.append(dense[0, head, :24, :24].tolist())
    return found, shown


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['layer']}.{row['head']}"


def _table(data: Mapping[str, Any]) -> Table:
    shown = (*KINDS, "entropy", "largest", "distance", "rise", "rise_twice")
    rows = tuple((_name(row), row["kind"], *(row[name] for name in shown)) for row in data["heads"])
    return Table(
        f"Heads by layer.head; rise: of the loss (nats) on held-out code, and on repeated tokens, with the head's "
        f"output replaced by {'its mean' if data['ablation'] == 'mean' else 'zero'}",
        ("head", "kind", *shown), rows,
    )  # fmt: skip


def _reading(data: Mapping[str, Any]) -> tuple[str, ...]:
    rows = data["heads"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(row["kind"] for row in rows).most_common())
    dear, cheap = max(rows, key=lambda row: row["rise"]), min(rows, key=lambda row: row["rise"])
    copier = max(rows, key=lambda row: row["induction"])
    baseline = "" if data["baseline"] is None else f" (a bigram model {data['baseline']:.3f})"
    sharp = max(rows, key=lambda row: row["sharpness"])
    place = sorted(rows, key=lambda row: -row["rise"]).index(sharp) + 1
    return (
        f"The model's loss on held-out code is {data['loss']['code']:.3f} nats a token{baseline}. Of {len(rows)} "
        f"heads: {kinds}.",
        f"Without head {_name(dear)} ({dear['kind']}) the loss rises most, by {dear['rise']:.3f}; without "
        f"{_name(cheap)} ({cheap['kind']}) by {cheap['rise']:+.3f}.",
        f"The strongest induction score on repeated tokens is {copier['induction']:.2f}, of head {_name(copier)}; "
        f"without it the loss on the repetition changes by {copier['rise_twice']:+.3f} from "
        f"{data['loss']['twice']:.3f}.",
        f"The head with the sharpest picture, {_name(sharp)} ({sharp['kind']}), is number {place} of {len(rows)} in "
        f"what its loss costs.",
        _on_correlation(data),
    )


def _on_correlation(data: Mapping[str, Any]) -> str:
    found, count = data["correlation"], len(data["heads"])
    said = ", ".join(
        f"{text} {'not defined' if found[name] is None else f'{found[name]:+.2f}'}"
        for name, text in zip(LOOKS, ("sharpness (1 - entropy)", "largest weight"), strict=True)
    )
    chance = 1.96 / (count - 1) ** 0.5 if count > 1 else 1.0
    strong = [found[name] for name in LOOKS if found[name] is not None and abs(found[name]) > chance]
    if not strong:
        verdict = "so here a look at the weights does not tell which heads matter"
    elif min(strong) < 0:
        verdict = "so here the heads that look sharper matter less"
    else:
        verdict = "so here the heads that look sharper matter more"
    return (
        f"Rank correlation of how important a head looks with what its loss costs, over {count} heads: {said}; "
        f"unrelated quantities stay within ±{chance:.2f} 19 times in 20, "
        f"{verdict}."
    )
