"""Language modelling by a pretrained causal model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..._values import check_sizes, number
from ...corpora import Document
from ...errors import ArgumentError
from ...training import TrainingSettings
from .._task import Attention
from ..language_modeling import LanguageModeling
from ._fine_tuned import FineTunedTexts
from ._models import named_weights
from ._settings import FineTuning, recipe
from ._windows import longest


@dataclass(frozen=True, kw_only=True)
class FineTunedLanguageModelSettings(FineTuning):
    """Language modelling from a pretrained causal model."""

    max_new_tokens: int = 200
    """Tokens that `predict` adds to each prompt."""
    temperature: float = 0.8
    """Temperature of the sampling in `predict`; 0 is greedy."""
    top_k: int | None = None
    """Top-k: `predict` draws among this many most likely tokens."""
    top_p: float | None = 0.95
    """Top-p: `predict` draws among the most likely tokens whose probabilities sum to this."""
    dev_limit: int = 5_000
    """Tokens of the development text that an evaluation judges, spread evenly over it, each with its whole context; a
    test text is judged whole. 0: all."""
    training: TrainingSettings = field(default_factory=recipe(epochs=3, tokens_per_step=4096, patience=2))
    """How to train."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "top_k")
        check_sizes(self, "max_new_tokens", "dev_limit", low=0)
        number("temperature", self.temperature, 0)
        if self.top_p is not None:
            number("top_p", self.top_p, 0, 1, open_low=True)


class FineTunedLanguageModel(FineTunedTexts, LanguageModeling, of=LanguageModeling):
    """Learns to predict the next token by a pretrained causal model: GPT-2, Llama, Qwen, ...

    Windows of `max_length` tokens overlap by half in evaluation, so that every token is judged with a context.
    """

    head: ClassVar[str] = "AutoModelForCausalLM"
    Settings = FineTunedLanguageModelSettings  # type: ignore[assignment]

    def _learn(self, examples: Sequence[Document]) -> None:
        super()._learn(examples)
        self.tokenizer_ = _Tokens(self.tokenizer_)

    def _build(self) -> nn.Module:
        return self._checked_causal(super()._build())

    def _load_model(self, folder: Path) -> nn.Module:
        model = super()._load_model(folder)
        self.tokenizer_ = _Tokens(self.tokenizer_)
        return model

    @torch.no_grad()
    def _checked_causal(self, model: nn.Module) -> nn.Module:
        """Return a model whose scores do not depend on tokens to come; an encoder with a head for words does."""
        tokens = torch.tensor([[1, 2, 3], [1, 2, 4]])
        first, second = self._logits(model.eval(), tokens)[:, :2]
        if not torch.allclose(first, second, atol=1e-3):
            raise ArgumentError(
                f"{self.settings.model} holds a {type(model).__name__} that sees the tokens to come. Take a causal "
                "model: GPT-2, Llama, Qwen, ..."
            )
        return model

    @property
    def _end(self) -> int:
        end: int = self.tokenizer_.end
        return end

    @property
    def _context(self) -> int:
        config: Any = self.model_.config
        return longest(self.tokenizer_.inner, config, self.settings.max_length)

    def _logits(self, model: nn.Module, tokens: Tensor) -> Tensor:
        scores: Tensor = model(input_ids=tokens, use_cache=False).logits
        return scores

    def _shares(self) -> tuple[float, ...]:
        return (1.0,)  # with so many tokens an n-gram model has little to add, and its tables are large

    def _fit_baseline(self, train_examples: Sequence[Document]) -> None:
        return None  # not saved; its figures are shown

    def _continued(self, model: nn.Module, text: str, generator: torch.Generator, share: float = 1.0) -> str:
        settings = self.settings
        room = max(1, self._context - settings.max_new_tokens) if settings.max_new_tokens < self._context else 1
        prompt = (self.tokenizer_.encode(text) or [self._end])[-room:]
        ids = torch.tensor([prompt], device=next(model.parameters()).device)
        sampling = {"do_sample": True, "temperature": settings.temperature, "top_k": settings.top_k or 0}
        if not settings.temperature:
            sampling = {"do_sample": False}
        if not settings.max_new_tokens:
            return text
        with torch.random.fork_rng():
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            made = model.generate(  # type: ignore[operator]
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=settings.max_new_tokens,
                eos_token_id=self._end, pad_token_id=self._end, **sampling,
                **({"top_p": settings.top_p or 1.0} if settings.temperature else {}),
            )  # fmt: skip
        more: str = self.tokenizer_.decode(made[0, len(prompt) :].tolist())
        return text + more

    def _attention(self, model: nn.Module, one: Any) -> Attention:
        numbers = (self.tokenizer_.encode(one) or [self._end])[-self._context :]
        ids = torch.tensor([numbers], device=next(model.parameters()).device)
        weights = named_weights(model(input_ids=ids, output_attentions=True, use_cache=False), "attentions")
        return Attention(weights, tuple(self.tokenizer_.decode([one]) or "<end>" for one in numbers))


class _Tokens:
    """A tokenizer of transformers, as this package's own is used."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.vocab_size = len(inner)
        ends = (inner.eos_token_id, inner.sep_token_id, inner.pad_token_id)
        self.end: int = next((one for one in ends if one is not None), 0)
        self.pad_token_id = inner.pad_token_id

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without special ones."""
        ids: list[int] = self.inner(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def encode_row(self, text: str) -> NDArray[np.int64]:
        """Return the same as an array."""
        return np.array(self.encode(text), np.int64)

    def decode(self, numbers: Sequence[int]) -> str:
        """Return the text of token ids; special tokens are left out."""
        text: str = self.inner.decode(list(numbers), skip_special_tokens=True)
        return text

    def save_pretrained(self, folder: Path) -> None:
        """Write the files of transformers."""
        self.inner.save_pretrained(folder)
