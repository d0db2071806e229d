"""Positional encodings compared: pictures, similarity by distance, lengths beyond the trained one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import biases, corpora
from .._values import check_sizes
from ..errors import ArgumentError
from ..layers import LearnedEncoding, RelativeBias
from ..models import LanguageModel, LanguageModelConfig
from ..positions import rotary, sinusoidal
from ._fit import Examples, Training, fit
from ._positions_picture import draw
from ._study import Cell, Progress, Study, StudySettings, Table, mean, part, settings_for, silent

KINDS = ("sinusoidal", "learned", "rotary", "alibi", "relative", "none")
HEADS = 4
TIMES = (1, 2, 4)
"""Lengths at which models are evaluated, as multiples of the trained one."""


@dataclass(frozen=True)
class PositionsSettings(StudySettings):
    """Settings of the study of positions."""

    length: int | None = None
    """Tokens of a training sequence; 32 or 64 unless given."""
    steps: int | None = None
    """Steps of training; 150 or 600 unless given."""
    runs: int | None = None
    """Number of trainings of each kind, with different seeds; 1 or 2 unless given."""
    embed_dim: int = 64
    """Width of the models, which have 4 heads and 2 layers."""
    files: int | None = None
    """Files of code to train on; 32 or 120 unless given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "steps", "runs", "embed_dim", "files")
        if self.length is not None and self.length < 4:
            raise ArgumentError(f"length is {self.length}; give 4 tokens or more.")


def positions(settings: PositionsSettings | None = None, *, progress: Progress = silent) -> Study:
    """Compare sinusoidal, learned, rotary, ALiBi and relative positions, and none.

    Small causal language models learn the bytes of Python code (`corpora.code_text`: real code, whole packages held
    out) in short sequences, one model for each kind of positions. Then they predict the same held-out bytes from a
    context once, twice and four times as long. In addition: a picture of each kind, and the similarity of two positions
    by their distance (for learned ones after training). Tables of learned positions are built for the longest context;
    their vectors beyond the trained length are never trained.

    Args:
        settings: see `PositionsSettings`.
        progress: called with the share done, and a description.

    Returns a `Study`; its tables are the loss by length, and the similarity by distance.

    Source: Vaswani et al. 2017, section 3.5; Su et al. 2021, arXiv:2104.09864; Press et al. 2022, arXiv:2108.12409,
    for ALiBi and for the experiment; Raffel et al. 2020, arXiv:1910.10683, for the relative bias.
    """
    settings = settings_for(settings, PositionsSettings, progress)
    length = settings.length or settings.pick(32, 64)
    split = corpora.code_text(limit=settings.files or settings.pick(32, 120))
    train, test = (_bytes([document.text for document in part]) for part in (split.train, split.test))
    cells = [(kind, run) for run in range(settings.runs or settings.pick(1, 2)) for kind in KINDS]
    found: list[dict[str, Any]] = []
    models: dict[str, LanguageModel] = {}
    for place, (kind, run) in enumerate(cells):
        told = part(progress, place / len(cells), (place + 1) / len(cells))
        model, figures = _one(kind, settings.seed + run, length, train, test, settings, told)
        found.append({"kind": kind, **figures})
        models.setdefault(kind, model)
    data = {
        "length": length, "runs": found, "pictures": _pictures(models, length), "description": split.description,
        "similarity": _similarity(models, length),
    }  # fmt: skip
    return Study(
        "positions", "What do encodings of positions look like, and what happens beyond the trained length?",
        dataclasses.asdict(settings), _tables(data), _reading(data), data, draw,
    )  # fmt: skip


def _bytes(texts: list[str]) -> Tensor:
    return torch.from_numpy(np.frombuffer("\n".join(texts).encode(), dtype=np.uint8).astype(np.int64))


def _windows(text: Tensor, starts: NDArray[np.int64], length: int) -> tuple[Tensor, Tensor]:
    """Return windows of text, and the next byte of each of their bytes."""
    rows = torch.from_numpy(starts)[:, None] + torch.arange(length + 1)
    found = text[rows]
    return found[:, :-1], found[:, 1:]


def _one(
    kind: str, seed: int, length: int, train: Tensor, test: Tensor, settings: PositionsSettings, progress: Progress
) -> tuple[LanguageModel, dict[str, Any]]:
    """Return a trained model, its held-out loss at each length and how much it attends to each distance."""
    longest = TIMES[-1] * length
    config: Any = {"embed_dim": settings.embed_dim, "num_heads": HEADS, "num_layers": 2, "positions": kind}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LanguageModel(LanguageModelConfig(vocab_size=256, dropout=0.0, max_length=longest, **config))
    examples = Examples(
        [length] * 4096,
        lambda indices, random: _windows(train, random.integers(0, len(train) - length - 1, len(indices)), length),
        _loss,
        lambda model: {"loss": _judge(model, test, length, 1)},
    )
    steps = settings.steps or settings.pick(150, 600)
    course = fit(model, examples, Training(steps, lr=4e-3), seed, progress, f"{kind} positions, seed {seed}")
    losses = [_judge(model, test, length, times) for times in TIMES]
    return model, {"seed": seed, "losses": losses, "training": course.losses, "attends": _attends(model, test, length)}


def _loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    tokens, following = batch
    total = nn.functional.cross_entropy(model(tokens).flatten(0, 1), following.flatten(), reduction="sum")
    return total, torch.tensor(following.numel())


def _ends(test: Tensor, length: int, count: int) -> NDArray[np.int64]:
    """Return the ends of the judged segments, evenly spaced, each with room for the longest context before it."""
    return np.linspace(TIMES[-1] * length, len(test) - 1, count).astype(np.int64)


@torch.no_grad()
def _judge(model: nn.Module, test: Tensor, length: int, times: int) -> float:
    """Return the loss of the last half of `length` bytes of each segment: the same bytes for every context."""
    total, count, longer = 0.0, 0, times * length
    for ends in np.array_split(_ends(test, length, 256), 8):
        tokens, following = _windows(test, ends - longer, longer)
        last = slice(-(length // 2), None)
        logits = model(tokens)[:, last].flatten(0, 1)
        total += float(nn.functional.cross_entropy(logits, following[:, last].flatten(), reduction="sum"))
        count += logits.shape[0]
    return total / count


@torch.no_grad()
def _attends(model: LanguageModel, test: Tensor, length: int) -> list[float]:
    """Return the mean weight at each distance back, of the queries in the last half, over layers and heads."""
    tokens, _ = _windows(test, _ends(test, length, 32) - length, length)
    _, found = model.eval()(tokens, need_weights=True)
    dense = torch.stack([weights.dense().mean((0, 1)) for weights in found.values()]).mean(0)  # (L, L)
    half = length // 2
    return [round(float(dense.diagonal(-back)[half - back :].mean()), 5) for back in range(half)]


def _pictures(models: Mapping[str, LanguageModel], length: int) -> dict[str, list[list[float]]]:
    """Return a table of numbers for each kind, one row a position (for biases by distance, one row a head)."""
    places, width = torch.arange(TIMES[-1] * length), models["sinusoidal"].config.embed_dim
    tables = {
        "sinusoidal": sinusoidal(places, width),
        "learned": _learned(models["learned"]),
        "rotary": rotary(places, width // HEADS)[0],
        "alibi": biases.ALiBi(HEADS).vector(1, len(places), "cpu").flip(-1),
        "relative": _relative(models["relative"]).vector(1, len(places), "cpu").flip(-1),
    }
    return {name: [[round(x, 4) for x in row] for row in table.tolist()] for name, table in tables.items()}


def _learned(model: LanguageModel) -> Tensor:
    table = next(module for module in model.modules() if isinstance(module, LearnedEncoding)).weight
    return table.detach()


def _relative(model: LanguageModel) -> biases.PositionBias:
    with torch.no_grad():
        first = next(module for module in model.modules() if isinstance(module, RelativeBias))
        return biases.T5Bias(first.weight.detach(), first.bidirectional, first.max_distance)


def _similarity(models: Mapping[str, LanguageModel], length: int) -> dict[str, list[float]]:
    """Return the similarity of two positions by distance, up to the trained length: 1 at distance 0.

    For added tables: the cosine of two rows (mean over the trained positions). For rotary: the mean product of a unit
    vector with itself, rotated by the distance. For biases: e to the bias, mean over heads.
    """
    places = torch.arange(length)
    tables = {
        "sinusoidal": sinusoidal(places, models["sinusoidal"].config.embed_dim),
        "learned": _learned(models["learned"])[:length],
    }
    found = {}
    for name, table in tables.items():
        unit = nn.functional.normalize(table, dim=-1)
        found[name] = [float((unit @ unit.T).diagonal(back).mean()) for back in range(length)]
    found["rotary"] = rotary(places, models["rotary"].config.embed_dim // HEADS)[0].mean(-1).tolist()
    given = {"alibi": biases.ALiBi(HEADS), "relative": _relative(models["relative"])}
    for name, bias in given.items():
        factors = bias.vector(1, length, "cpu").flip(-1).exp()
        found[name] = (factors / factors[:, :1]).mean(0).tolist()
    return {name: [round(value, 5) for value in values] for name, values in found.items()}


def _by_kind(data: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the mean loss at each length by kind."""
    runs = {kind: [run["losses"] for run in data["runs"] if run["kind"] == kind] for kind in KINDS}
    return {kind: [mean(each) for each in zip(*losses, strict=True)] for kind, losses in runs.items()}


def _tables(data: Mapping[str, Any]) -> tuple[Table, ...]:
    length, losses = data["length"], _by_kind(data)
    count = len(data["runs"]) // len(KINDS)
    rows: list[tuple[Cell, ...]] = [(kind, *figures, figures[-1] - figures[0]) for kind, figures in losses.items()]
    names = tuple(f"{times}×: {times * length} tokens" for times in TIMES)
    first = Table(
        f"Loss of the same held-out bytes, nats, by the length of the context; trained on {length} tokens, {count} "
        f"seed{'s' if count > 1 else ''}",
        ("positions", *names, f"change to {TIMES[-1]}×"), tuple(rows),
    )  # fmt: skip
    steps = [1 << power for power in range(length.bit_length()) if 1 << power < length]
    similar = data["similarity"].items()
    second = Table(
        "Similarity of two positions by their distance, 1 at distance 0",
        ("positions", *map(str, steps)), tuple((kind, *(values[step] for step in steps)) for kind, values in similar),
    )  # fmt: skip
    return first, second


def _reading(data: Mapping[str, Any]) -> tuple[str, ...]:
    losses, length = _by_kind(data), data["length"]
    best = min(losses, key=lambda kind: losses[kind][0])
    change = {kind: figures[-1] - figures[0] for kind, figures in losses.items()}
    order = sorted(change, key=lambda kind: change[kind])
    said = ", ".join(f"{kind} {change[kind]:+.3f}" for kind in order)
    low = {kind: min(range(len(values)), key=values.__getitem__) for kind, values in data["similarity"].items()}
    near = max(order, key=lambda kind: _attended(data, kind)[1])
    return (
        f"At the trained length of {length} tokens {best} positions predict best, {losses[best][0]:.3f} nats a byte; "
        f"without positions it is {losses['none'][0]:.3f}.",
        f"With {TIMES[-1]} times the context the loss of the same bytes changes by: {said}.",
        f"The best at {TIMES[-1] * length} tokens is {min(losses, key=lambda kind: losses[kind][-1])} with "
        f"{min(figures[-1] for figures in losses.values()):.3f}.",
        f"Sinusoidal similarity falls to {min(data['similarity']['sinusoidal']):.2f} at distance {low['sinusoidal']}, "
        f"rotary to {min(data['similarity']['rotary']):.2f} at {low['rotary']}; learned positions are between "
        f"{min(data['similarity']['learned']):.2f} and {max(data['similarity']['learned'][1:]):.2f} alike.",
        f"The trained models give the token before {', '.join(_shares(data))} of their attention; most with {near}.",
    )


def _attended(data: Mapping[str, Any], kind: str) -> list[float]:
    """Return the mean weight at each distance back, over seeds."""
    return [mean(each) for each in zip(*(run["attends"] for run in data["runs"] if run["kind"] == kind), strict=True)]


def _shares(data: Mapping[str, Any]) -> list[str]:
    return [f"{_attended(data, kind)[1]:.3f} ({kind})" for kind in KINDS]
