"""A decoder-only transformer that predicts the next token, and generation with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from .. import masks
from .._values import flag, instance, size, whole
from ..errors import ArgumentError
from ..layers import Encoder, Projection, StackCache, Weights, linear
from ..layers.stack import output_and_weights
from ..masks import Mask
from ._config import TextConfig
from ._lengths import check_lengths, padding_mask
from ._pretrained import PretrainedModel
from ._start import start_head, start_stack
from .embedding import TokenEmbedding, check_ids
from .sampling import Sampling

_ENDLESS = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig(TextConfig):
    """Settings of a `LanguageModel`."""

    tie_embeddings: bool = True
    """Whether the output map shares its weight with the embeddings (Press and Wolf 2017, arXiv:1608.05859)."""


class LanguageModel(PretrainedModel[LanguageModelConfig]):
    """Pre-norm layers of causal self-attention between an embedding and a map to the vocabulary.

    Shapes: `tokens` int64 `(B, L)` to logits `(B, L, vocab_size)`: those at position `i` are of token `i + 1`.

    Source: Radford et al. 2019 (GPT-2).

    >>> model = LanguageModel(LanguageModelConfig(vocab_size=9, embed_dim=16)).eval()
    >>> logits, weights = model(torch.tensor([[1, 2, 3]]), need_weights=True)
    >>> logits.shape, list(weights)[0]
    (torch.Size([1, 3, 9]), 'decoder.layers.0.self_attention')
    """

    config_class = LanguageModelConfig

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.config = instance("config", config, LanguageModelConfig, "a LanguageModelConfig")
        self.embedding = TokenEmbedding(config)
        self.decoder = Encoder(config.encoder_layer(causal=True), config.num_layers)
        start_stack(self.decoder, config.stochastic_depth)
        self.head = None if config.tie_embeddings else Projection(config.embed_dim, config.vocab_size, bias=False)
        if self.head is not None:
            start_head(self.head)

    def new_cache(self, max_length: int | None = None) -> StackCache:
        """Return an empty cache of keys and values, for decoding step by step."""
        return self.decoder.new_cache(max_length)

    def forward(
        self,
        tokens: Tensor,
        lengths: Tensor | None = None,
        *,
        cache: StackCache | None = None,
        need_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Weights]:
        """Return the logits; with `need_weights=True` also the weights of every layer by name.

        Args:
            tokens: int64 `(B, L)`, padded on the right; with a cache only the new ones.
            lengths: int64 `(B,)`, how many are real; None: all. Logits of padding are meaningless.
            cache: from `new_cache()`; it grows by these tokens, so none of them may be padding.

        Raises `ShapeError`, `DtypeError`, `ArgumentError`.
        """
        if cache is not None and lengths is not None:
            raise ArgumentError(
                "lengths were given with a cache, where padding would come to lie between tokens; give real tokens "
                "alone, or use generate(), which takes prompts of different lengths."
            )
        if cache is not None:
            instance("cache", cache, StackCache, "a StackCache, from new_cache()")
        check_ids("tokens", tokens, self.config.vocab_size, 2)
        mask = padding_mask(check_lengths(lengths, tokens))
        x = self.embedding(tokens, offset=0 if cache is None else len(cache))
        decoded = self.decoder(x, mask=mask, causal=True, need_weights=need_weights, cache=cache)
        x, weights = output_and_weights(decoded, need_weights, "decoder")
        logits = self._logits(x)
        return (logits, weights) if need_weights else logits

    def generate(
        self,
        tokens: Tensor,
        *,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop_id: int | None = None,
        generator: torch.Generator | None = None,
        lengths: Tensor | None = None,
        use_cache: bool = True,
        blend: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> list[Tensor]:
        """Continue prompts; return the new tokens of each, int64 `(at most max_new_tokens,)`, without `stop_id`.

        Args:
            tokens: int64 `(B, L)`, padded on the right; the prompts.
            max_new_tokens: most tokens to add.
            temperature, top_k, top_p: see `Sampling`; temperature 0 is greedy.
            stop_id: a token that ends a sequence.
            generator: source of the random numbers; torch's default generator unless given.
            lengths: int64 `(B,)` from 1 on, how many tokens of each prompt are real; None: all.
            use_cache: keep keys and values, so that each token costs one step; without, every step recomputes all.
            blend: takes all tokens so far, int64 `(B, L)`, padding on the left, and the logits of the next one
                `(B, vocab_size)`; returns the logits to draw from.

        Each prompt is continued as if it were alone in the batch (up to rounding). Runs in evaluation mode, without
        gradients. Raises `ArgumentError`, `ShapeError`.

        >>> model = LanguageModel(LanguageModelConfig(vocab_size=9, embed_dim=16))
        >>> [len(new) for new in model.generate(torch.tensor([[1, 2]]), max_new_tokens=4)]
        [4]
        """
        steps = list(
            self.stream(
                tokens, max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p,
                stop_id=stop_id, generator=generator, lengths=lengths, use_cache=use_cache, blend=blend,
            )
        )  # fmt: skip
        rows = torch.stack(steps, 1) if steps else tokens.new_empty(len(tokens), 0)
        if stop_id is None:
            return list(rows)
        return [row[: int((row == stop_id).to(torch.uint8).cumsum(0).eq(0).sum())] for row in rows]

    @torch.no_grad()
    def stream(
        self,
        tokens: Tensor,
        *,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop_id: int | None = None,
        generator: torch.Generator | None = None,
        lengths: Tensor | None = None,
        use_cache: bool = True,
        blend: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Iterator[Tensor]:
        """Yield the tokens that `generate` would return, step by step, one of each sequence: int64 `(B,)`.

        A sequence that has ended keeps yielding `stop_id`; the stream ends when all have ended.
        """
        sampling = Sampling(temperature, top_k, top_p, generator)
        max_new_tokens = size("max_new_tokens", max_new_tokens, 0)
        stop_id = None if stop_id is None else whole("stop_id", stop_id, 0, self.config.vocab_size - 1)
        use_cache = flag("use_cache", use_cache)
        if blend is not None:
            instance("blend", blend, cast("type[object]", Callable), "a function of tokens and logits")
        check_ids("tokens", tokens, self.config.vocab_size, 2)
        self._check_room(tokens, max_new_tokens)
        tokens, padding = _padded_left(tokens, check_lengths(lengths, tokens))
        cache = self.new_cache() if use_cache else None
        ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
        given = every = tokens
        was_training = self.training
        self.eval()
        try:
            for _ in range(max_new_tokens):
                logits = self._last(given, padding, cache)
                new = sampling.draw(logits if blend is None else blend(every, logits))
                if stop_id is not None:
                    new = new.masked_fill(ended, stop_id)
                    ended |= new == stop_id
                yield new
                if bool(ended.all()):
                    return
                every = torch.cat((every, new[:, None]), 1)
                given = new[:, None] if cache is not None else every
        finally:
            self.train(was_training)

    def _check_room(self, tokens: Tensor, more: int) -> None:
        if tokens.ndim == 2 and tokens.shape[1] == 0:
            raise ArgumentError("A prompt has no token; begin each with at least one.")
        longest = self.config.max_length if self.config.positions == "learned" else None
        if longest is not None and tokens.shape[-1] + more - 1 > longest:
            raise ArgumentError(
                f"The prompts have {tokens.shape[-1]} tokens and max_new_tokens is {more}; the model knows positions "
                f"for max_length={longest}. Shorten one."
            )

    def _last(self, tokens: Tensor, padding: Tensor | None, cache: StackCache | None) -> Tensor:  # (B, vocab_size)
        mask: Mask | None = None
        if padding is not None:
            mask = masks.spans(padding[:, None], torch.full_like(padding, _ENDLESS)[:, None])
        x: Any = self.embedding(tokens, offset=0 if cache is None else len(cache), padding=padding)
        x = self.decoder(x, mask=mask, causal=True, cache=cache)
        return self._logits(x[:, -1])

    def _logits(self, x: Tensor) -> Tensor:
        if self.head is None:
            return linear(x, self.embedding.weight)
        logits: Tensor = self.head(x)
        return logits


def _padded_left(tokens: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Move padding from the right to the left, so that new tokens can be appended; return how much there is."""
    if lengths is None:
        return tokens, None
    if int(lengths.min()) < 1:
        raise ArgumentError("A prompt has length 0; begin each with at least one token.")
    padding = tokens.shape[1] - lengths
    places = torch.arange(tokens.shape[1], device=tokens.device) - padding[:, None]
    return tokens.gather(1, places % tokens.shape[1]), padding
