"""Summaries and translations by a pretrained encoder-decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..._values import check_shares, check_sizes, number
from ...corpora import TextPair
from ...models.token_classifier import IGNORED
from ...training import TrainingSettings
from .._batches import by_length, padded
from .._remarks import cut_note
from .._task import Attention, MakeBatch
from ..summarization import Summarization
from ..translation import Translation
from ._fine_tuned import FineTunedTexts
from ._languages import prefix_of, start_of
from ._models import named_weights
from ._settings import FineTuning, recipe
from ._windows import longest


@dataclass(frozen=True, kw_only=True)
class FineTunedPairsSettings(FineTuning):
    """A target text for a source text, from a pretrained encoder-decoder."""

    max_target: int = 128
    """Most tokens of a target, in training and when writing."""
    source_language: str | None = None
    """Language of the sources, as the model calls it: `en`, `en_XX`; needed by mBART, and by T5 for its prefix."""
    target_language: str | None = None
    """Language of the targets, as the model calls it; None: that of the sources."""
    prefix: str | None = None
    """Words before each source that the model expects; None: those it is known for (T5, Marian)."""
    beams: int = 4
    """Beams of the search; 1 is greedy."""
    length_penalty: float = 0.6
    """Exponent of the length penalty that divides a hypothesis's score; 0 favours short ones."""
    no_repeat_ngram_size: int = 0
    """No n-gram of this many tokens is written twice in one target; 0: no restriction."""
    label_smoothing: float = 0.1
    """Label smoothing: the share of the target's probability that is spread over all tokens."""
    dev_limit: int = 200
    """Development examples that each evaluation during training writes targets for; the search is slow."""
    training: TrainingSettings = field(default_factory=recipe(epochs=3, tokens_per_step=2048, patience=2))
    """How to train."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "max_target", "beams")
        check_sizes(self, "no_repeat_ngram_size", "dev_limit", low=0)
        check_shares(self, "label_smoothing")
        number("length_penalty", self.length_penalty, -100, 100)


@dataclass(frozen=True, kw_only=True)
class FineTunedSummarizationSettings(FineTunedPairsSettings):
    """Summaries from a pretrained encoder-decoder."""

    max_target: int = 64
    """Most tokens of a summary, in training and when writing."""
    no_repeat_ngram_size: int = 3
    """No n-gram of this many tokens is written twice in one summary; 0: no restriction."""


@dataclass(frozen=True, kw_only=True)
class FineTunedTranslationSettings(FineTunedPairsSettings):
    """Translations from a pretrained encoder-decoder."""

    max_length: int = 128
    """Longest source in tokens, special ones included."""


class FineTunedPairs(FineTunedTexts):
    """A pretrained encoder reads the source; its decoder writes the target."""

    head: ClassVar[str] = "AutoModelForSeq2SeqLM"
    _prefix: str
    _begin: dict[str, int]

    def _build(self) -> nn.Module:
        model = super()._build()
        self._set_languages(model)
        return model

    def _load_model(self, folder: Path) -> nn.Module:
        model = super()._load_model(folder)
        self._set_languages(model)
        return model

    def _set_languages(self, model: nn.Module) -> None:
        """Set languages and prefix; what generation begins with is saved with the model."""
        settings, config = self.settings, cast(Any, model.config)
        source = settings.source_language
        target = settings.target_language or source
        self._begin = start_of(self.tokenizer_, source, target)
        usual = prefix_of(self.name, self.tokenizer_, config, source, target)
        self._prefix = usual if settings.prefix is None else settings.prefix
        for name, value in self._begin.items():
            setattr(model.generation_config, name, value)
            if name == "decoder_start_token_id":
                config.decoder_start_token_id = value

    def _sources(self, model: nn.Module, texts: Sequence[str]) -> list[list[int]]:
        most = longest(self.tokenizer_, model.config, self.settings.max_length)
        given = [self._prefix + text for text in texts]
        rows: list[list[int]] = self.tokenizer_(given, truncation=True, max_length=most)["input_ids"] if given else []
        return [row or [self.tokenizer_.pad_token_id] for row in rows]

    def _note(self, examples: Sequence[TextPair]) -> str:
        if not hasattr(self, "model_"):
            return ""
        most = longest(self.tokenizer_, self.model_.config, self.settings.max_length)
        sources = self.tokenizer_([self._prefix + one.source for one in examples], verbose=False)["input_ids"]
        targets = self.tokenizer_(text_target=[one.target for one in examples], verbose=False)["input_ids"]
        sides = (
            cut_note(map(len, sources), most, "sources"),
            cut_note(map(len, targets), self.settings.max_target, "targets", "--max-target"),
        )
        return " ".join(side for side in sides if side)

    def _encode(self, examples: Sequence[TextPair]) -> tuple[list[int], MakeBatch]:
        sources = self._sources(self.model_, [example.source for example in examples])
        targets = self.tokenizer_(
            text_target=[example.target for example in examples], truncation=True, max_length=self.settings.max_target
        )["input_ids"]

        def batch(indices: NDArray[np.int64], random: np.random.Generator) -> tuple[dict[str, Tensor], Tensor]:
            labels, _ = padded([targets[i] for i in indices], IGNORED)
            return self._stacked([sources[i] for i in indices]), labels

        return [len(s) + len(t) for s, t in zip(sources, targets, strict=True)], batch

    def _loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        inputs, labels = batch
        scores = model(**inputs, labels=labels, use_cache=False).logits.float()
        loss = F.cross_entropy(
            scores.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum",
            label_smoothing=self.settings.label_smoothing,
        )  # fmt: skip
        return loss, (labels != IGNORED).sum()

    @torch.no_grad()
    def _answers(self, model: nn.Module, inputs: Sequence[Any]) -> list[str]:
        rows = self._sources(model, inputs)
        written = [""] * len(rows)
        groups = by_length([len(row) for row in rows], at_once=8192 // self.settings.beams)
        for group in self._going(groups, len(rows)):
            made = self._written(model, [rows[i] for i in group])
            for i, text in zip(group, self.tokenizer_.batch_decode(made, skip_special_tokens=True), strict=True):
                written[i] = text.strip() if inputs[i].strip() else ""  # of nothing, nothing is written
        return written

    def _written(self, model: nn.Module, rows: Sequence[Sequence[int]]) -> Tensor:
        """Return the targets that the search finds, (B, L), with the token that begins them."""
        settings = self.settings
        made: Tensor = model.generate(  # type: ignore[operator]
            **self._stacked(rows, model), **self._begin, max_new_tokens=settings.max_target, min_length=0,
            num_beams=settings.beams, do_sample=False, length_penalty=settings.length_penalty,
            no_repeat_ngram_size=settings.no_repeat_ngram_size,
        )  # fmt: skip
        return made

    def _attention(self, model: nn.Module, one: Any) -> Attention:
        rows = self._sources(model, [one])
        target = self._written(model, rows)
        output = model(**self._stacked(rows, model), decoder_input_ids=target, output_attentions=True, use_cache=False)
        weights = named_weights(output, "encoder_attentions", "decoder_attentions", "cross_attentions")
        return Attention(weights, self._names(target[0].tolist()), self._names(rows[0]))

    def _names(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Return the text of each token; special tokens have their names."""
        names = self.tokenizer_.convert_ids_to_tokens(list(ids))
        return tuple(str(name).lstrip("▁Ġ") or "▁" for name in names)

    def _state(self) -> dict[str, Any]:
        return {"bounds": cast(Any, self)._kept_bounds()}

    def _restore(self, state: dict[str, Any]) -> None:
        """Restore what the choice needs; the tokenizer comes with the model."""
        cast(Any, self).bounds_ = dict(state.get("bounds", ()))


class FineTunedSummarization(FineTunedPairs, Summarization, of=Summarization):
    """Writes a summary of each text by a pretrained encoder-decoder: T5, BART, mBART, ..."""

    Settings = FineTunedSummarizationSettings  # type: ignore[assignment]


class FineTunedTranslation(FineTunedPairs, Translation, of=Translation):
    """Writes a translation of each text by a pretrained encoder-decoder: Marian, mBART, M2M100, T5, ..."""

    Settings = FineTunedTranslationSettings  # type: ignore[assignment]
