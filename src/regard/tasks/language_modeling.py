"""Language modelling: predicting the next token."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from .._values import check_shares, check_sizes, number
from ..corpora import Document
from ..errors import ArgumentError
from ..models import LanguageModel, LanguageModelConfig
from ..models.sampling import Sampling
from ..training import Batches, Budget, Evaluation, Optimizer, TrainingSettings
from ._batches import which_aside
from ._choice import Choice, choose
from ._evaluation import Evaluation as TaskEvaluation
from ._task import Attention, Goal, MakeBatch, Positions, Task, TaskSettings
from .baselines import Baseline, WittenBell
from .metrics import likelihood_scores
from .tokenizers import EOS, Kind, Tokenizer, train_tokenizer

# If the share comes to fewer whole documents than this, the end of each document is set aside instead.
WHOLE = 2


def _cut(text: str, share: float) -> int:
    """Return the end of a share of a text, moved back to the nearest line end, else to the nearest space."""
    place = int(share * len(text))
    least = place - len(text) // 20
    return next((at + 1 for at in (text.rfind(end, least, place) for end in "\n ") if at >= 0), place)


@dataclass(frozen=True)
class LanguageModelingSettings(TaskSettings):
    """Size of the model, tokenizer, and sampling."""

    embed_dim: int = 192
    """Width of the model."""
    num_heads: int = 6
    """Attention heads of each layer."""
    num_layers: int = 6
    """Decoder layers."""
    dropout: float = 0.1
    """Dropout of the layers, a probability."""
    positions: Positions | Literal["learned"] = "rotary"
    """The kind of positional encoding."""
    tokenizer: Kind = "characters"
    """The kind of tokenizer."""
    vocab_size: int = 8000
    """Largest size of the vocabulary."""
    context: int = 256
    """Length of the context in tokens."""
    dev_limit: int = 20_000
    """Tokens of the development text that an evaluation judges, spread evenly over it, each with its whole context; a
    test text is judged whole. 0: all."""
    max_new_tokens: int = 200
    """Tokens that `predict` adds to each prompt."""
    temperature: float = 0.8
    """Temperature of the sampling in `predict`; 0 is greedy."""
    top_k: int | None = None
    """Top-k: `predict` draws among this many most likely tokens."""
    top_p: float | None = 0.95
    """Top-p: `predict` draws among the most likely tokens whose probabilities sum to this."""
    training: TrainingSettings = field(
        default_factory=lambda: TrainingSettings(
            optimizer=Optimizer(lr=2e-3, weight_decay=0.1),
            batches=Batches(tokens_per_step=8192),
            budget=Budget(epochs=10),
            evaluation=Evaluation(patience=4),
        )
    )
    """How to train."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "embed_dim", "num_heads", "vocab_size", "context", "top_k")
        check_sizes(self, "num_layers", "max_new_tokens", "dev_limit", low=0)
        check_shares(self, "dropout")
        number("temperature", self.temperature, 0)
        if self.top_p is not None:
            number("top_p", self.top_p, 0, 1, open_low=True)


class LanguageModeling(Task[Sequence[Document], str]):
    """Learns to predict the next token; `predict` continues texts.

    All documents are concatenated, with an end token after each; training reads windows that start at
    other places in every epoch. With few documents (one file, say) the last part of each is set aside
    for development, otherwise whole documents are.
    """

    name: ClassVar[str] = "language_modeling"
    headline: ClassVar[str] = "nats_per_token"
    figures: ClassVar[Mapping[str, Goal]] = dict.fromkeys(("nats_per_token", "perplexity", "bits_per_byte"), "min")
    Settings = LanguageModelingSettings
    takes: ClassVar[str] = "a list of texts to continue"
    mixes: ClassVar[bool] = True

    def set_aside(self, examples: Sequence[Document], part: str = "dev") -> tuple[list[Document], list[Document]]:
        """Split documents by a digest of their text; with few different ones, set aside the end of each."""
        share = self.settings.dev_share
        texts = [one.text.encode("utf-8", errors="backslashreplace") for one in examples]
        if share * len(set(texts)) >= WHOLE:
            aside = which_aside(texts, share, part)
            kept = [one for one, is_aside in zip(examples, aside, strict=True) if not is_aside]
            return kept, [one for one, is_aside in zip(examples, aside, strict=True) if is_aside]
        begun, ended = [], {}
        for one in examples:
            place = _cut(one.text, 1 - share)
            begun.append(Document(one.name, one.text[:place]))
            ended[one.text] = Document(one.name, one.text[place:])
        kept, rest = ([one for one in some if one.text.strip()] for some in (begun, ended.values()))
        if not kept or not rest:
            raise ArgumentError(
                f"The text is too short to set {share:.0%} of it aside for {part}: {sum(map(len, texts))} bytes. "
                f"Give more of it, or a text for {part} (--{part})."
            )
        return kept, rest

    def _learn(self, examples: Sequence[Document]) -> None:
        texts = (example.text for example in examples)
        kind, size = self.settings.tokenizer, self.settings.vocab_size
        self.tokenizer_ = self._known("tokenizer_", lambda: train_tokenizer(kind, texts, vocab_size=size))

    def _build(self) -> nn.Module:
        settings = self.settings
        return LanguageModel(
            LanguageModelConfig(
                vocab_size=self.tokenizer_.vocab_size,
                embed_dim=settings.embed_dim,
                num_heads=settings.num_heads,
                num_layers=settings.num_layers,
                dropout=settings.dropout,
                positions=settings.positions,
                max_length=settings.context,
            )
        )

    def _load_model(self, folder: Path) -> nn.Module:
        return LanguageModel.from_pretrained(folder)

    def _row(self, examples: Sequence[Document]) -> NDArray[np.int64]:
        """Return the tokens of all documents, with an end token after each."""
        rows = (self.tokenizer_.encode_row(one.text) for one in examples)
        return np.concatenate([part for row in rows for part in (row, [self._end])])

    @property
    def _end(self) -> int:
        """The token after each document."""
        return EOS

    @property
    def _context(self) -> int:
        """Most tokens that the model reads at once."""
        return int(self.settings.context)

    def _logits(self, model: nn.Module, tokens: Tensor) -> Tensor:
        """Return the scores of the next token at each place, (B, L) to (B, L, vocabulary)."""
        scores: Tensor = model(tokens)
        return scores

    def _encode(self, examples: Sequence[Document]) -> tuple[list[int], MakeBatch]:
        row = self._row(examples)
        # At most half of a short text, so that windows can start at different places.
        context = min(self._context, len(row) // 2)
        windows = max(1, (len(row) - 1) // context)
        last = len(row) - context - 1

        def batch(indices: NDArray[np.int64], random: np.random.Generator) -> Tensor:
            starts = np.minimum(indices * context + random.integers(0, context, len(indices)), last)
            return torch.from_numpy(row[starts[:, None] + np.arange(context + 1)])

        return [context] * windows, batch

    def _loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        scores = self._logits(model, batch[:, :-1])
        targets = batch[:, 1:]
        loss = F.cross_entropy(scores.flatten(0, 1).float(), targets.flatten(), reduction="sum")
        return loss, torch.tensor(targets.numel())

    def _answers(self, model: nn.Module, inputs: Sequence[Any]) -> list[str]:
        return self._used(inputs, 1.0)

    @torch.no_grad()
    def _used(self, inputs: Sequence[Any], share: float) -> list[str]:
        generator = torch.Generator().manual_seed(self.settings.training.batches.seed)
        singly = self._going(([text] for text in inputs), len(inputs))
        if share == 0:
            return [self._continued_by_counts(text, generator) for (text,) in singly]
        return [self._continued(self._fitted(), text, generator, share) for (text,) in singly]

    def _continued_by_counts(self, text: str, generator: torch.Generator) -> str:
        """Continue a text by the n-gram model alone."""
        settings, history = self.settings, self.tokenizer_.encode(text) or [self._end]
        sampling = Sampling(settings.temperature, settings.top_k, settings.top_p, generator)
        begun = len(history)
        while len(history) < begun + settings.max_new_tokens:
            new = int(sampling.draw(self._counted([history]).log())[0])
            if new == self._end:
                break
            history.append(new)
        return text + self.tokenizer_.decode(history[begun:])

    def _counted(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """Return what the n-gram model expects after each history, float32 (B, vocabulary)."""
        baseline: Any = self.baseline_
        return torch.from_numpy(np.stack([baseline.chances(one) for one in histories])).float()

    def _continued(self, model: nn.Module, text: str, generator: torch.Generator, share: float = 1.0) -> str:
        def blend(tokens: Tensor, logits: Tensor) -> Tensor:
            expected = self._counted(tokens.tolist()).to(logits.device)
            return (share * logits.float().softmax(-1) + (1 - share) * expected).log()

        prompt = self.tokenizer_.encode(text) or [self._end]
        tokens = model.generate(  # type: ignore[operator]
            torch.tensor([prompt[-self._context :]]),
            max_new_tokens=self.settings.max_new_tokens,
            temperature=self.settings.temperature,
            top_k=self.settings.top_k,
            top_p=self.settings.top_p,
            stop_id=self._end,
            generator=generator,
            blend=blend if share < 1 else None,
        )
        return text + self.tokenizer_.decode(tokens[0].tolist())

    def _attention(self, model: nn.Module, one: Any) -> Attention:
        numbers = (self.tokenizer_.encode(one) or [self._end])[-self._context :]
        tokens = torch.tensor([numbers], device=next(model.parameters()).device)
        _, weights = model(tokens, need_weights=True)
        return Attention(weights, tuple(self.tokenizer_.decode([number]) or "<end>" for number in numbers))

    def evaluate(
        self, examples: Sequence[Document], train_examples: Sequence[Document] | None = None
    ) -> TaskEvaluation:
        """Compare with the baseline, as every task does; of the development text a part is judged (`dev_limit`)."""
        found = super().evaluate(examples, train_examples)
        most = self._most(examples)
        whole = len(self._row(examples)) - 1 if most else 0
        judged = len(self._judged(whole + 1, most)) if most else 0
        if judged == whole:
            return found
        note = f"judged on {judged:,} of {whole:,} tokens, spread evenly (--dev-limit)"
        return dataclasses.replace(found, note="; ".join(filter(None, (found.note, note))))

    def _judge(self, model: nn.Module, examples: Sequence[Document]) -> dict[str, float]:
        row, most = self._row(examples), self._most(examples)
        losses = self._losses(model, row, most)
        return self._scores(float(losses.sum()), len(losses), row, examples)

    @torch.no_grad()
    def _losses(self, model: nn.Module, row: NDArray[np.int64], most: int) -> NDArray[np.float64]:
        """Return the loss of each judged token of a row."""
        found, done, total = [], 0, len(self._judged(len(row), most))
        for tokens, new in self._windows(row, most):
            found.append(self._nats(model, tokens, new).double().cpu().numpy().ravel())
            done += new * len(tokens)
            self._tell(done, total)
        return np.concatenate(found) if found else np.zeros(0)

    def _measured(self, examples: Sequence[Document], share: float) -> dict[str, float]:
        return self._mixtures(examples, (share,), self.baseline_)[share]

    def _mixtures(
        self, examples: Sequence[Document], shares: Sequence[float], baseline: Baseline | None
    ) -> dict[float, dict[str, float]]:
        """Return the figures of each mixture of probabilities; each of the two models reads the text once."""
        row, most = self._row(examples), self._most(examples)
        judged = self._judged(len(row), most)
        ours = theirs = np.zeros(len(judged))
        if any(shares):
            ours = self._losses(self._fitted(), row, most)
        if isinstance(baseline, WittenBell) and any(share < 1 for share in shares):
            theirs = baseline.losses(row)[judged]
            self._tell(len(judged), len(judged))
        found = {}
        for share in shares:
            with np.errstate(divide="ignore"):
                told = np.logaddexp(np.log(share) - ours, np.log(1 - share) - theirs)
            found[share] = self._scores(float(-told.sum()), len(judged), row, examples)
        return found

    def _ngrams(self, examples: Sequence[Document]) -> WittenBell:
        return WittenBell.fit(self._row(examples), vocab_size=self.tokenizer_.vocab_size)

    def _fit_baseline(self, train_examples: Sequence[Document]) -> Baseline | None:
        return self._ngrams(train_examples)

    def _settle(self, dev_examples: Sequence[Document]) -> None:
        shares = self._shares()
        self.choice_ = Choice(shares[0])
        if len(shares) > 1:
            self.choice_ = choose(self._mixtures(dev_examples, shares, self.baseline_), self.watched, self.goal)

    def _most(self, examples: Sequence[Document]) -> int:
        """Return how many tokens of these are judged at most; 0: all."""
        return self.settings.dev_limit if examples is getattr(self, "dev_", None) else 0

    def _starts(self, size: int, most: int) -> tuple[int, int, NDArray[np.int64], bool]:
        """Return the context, the step between windows, where they start, and whether those are a sample of all."""
        context = min(self._context, size - 1)
        step = max(1, context // 2)
        starts = np.arange(step, size - context, step)
        count = max(1, most // step)
        if not most or len(starts) <= count or size - 1 <= most:
            return context, step, starts, False
        return context, step, starts[np.arange(count) * len(starts) // count], True

    def _judged(self, size: int, most: int) -> NDArray[np.int64]:
        """Return the indices of the judged ones among the `size - 1` tokens after the first."""
        context, step, starts, sampled = self._starts(size, most)
        return (starts[:, None] + np.arange(context - step, context)).ravel() if sampled else np.arange(size - 1)

    def _windows(self, row: NDArray[np.int64], most: int = 0, at_once: int = 16) -> Iterator[tuple[Tensor, int]]:
        """Cut a row into windows that overlap by half, so that every judged token has a context.

        Yields batches (B, context + 1), and how many of the last tokens of each window are judged.
        """
        context, step, starts, sampled = self._starts(len(row), most)
        if not sampled:
            yield torch.from_numpy(row[None, : context + 1]), context
        for some in np.split(starts, range(at_once, len(starts), at_once)):
            if len(some):
                yield torch.from_numpy(row[some[:, None] + np.arange(context + 1)]), step
        judged = context + step * len(starts)
        if not sampled and judged < len(row) - 1:
            yield torch.from_numpy(row[None, -context - 1 :]), len(row) - 1 - judged

    def _nats(self, model: nn.Module, tokens: Tensor, new: int) -> Tensor:
        """Return the losses of the last `new` tokens of each window, in order."""
        tokens = tokens.to(next(model.parameters()).device)
        scores = self._logits(model, tokens[:, :-1])[:, -new:].float()
        return F.cross_entropy(scores.flatten(0, 1), tokens[:, 1:][:, -new:].flatten(), reduction="none")

    def _scores(
        self, nats: float, judged: int, row: NDArray[np.int64], examples: Sequence[Document]
    ) -> dict[str, float]:
        size = sum(len(one.text.encode()) for one in examples) * judged / max(1, len(row) - 1)
        return likelihood_scores(nats, judged, size).figures()

    def _baseline(
        self, train_examples: Sequence[Document] | None, examples: Sequence[Document]
    ) -> tuple[str, dict[str, float]]:
        baseline = self.baseline_
        if baseline is None and train_examples is not None:  # one that is not saved
            baseline = self._ngrams(train_examples)
        return ("", {}) if baseline is None else (baseline.name, self._mixtures(examples, (0.0,), baseline)[0.0])

    def _state(self) -> dict[str, Any]:
        return {"tokenizer": self.tokenizer_.to_dict()}

    def _restore(self, state: dict[str, Any]) -> None:
        self.tokenizer_ = Tokenizer.from_dict(state["tokenizer"])
