"""Encoder and decoder with cross-attention, for translation and summaries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .._values import check_sizes, floating, instance, number, size, whole
from ..errors import ArgumentError, ShapeError
from ..layers import Decoder, DecoderLayer, Encoder, Projection, Weights, linear
from ..layers.stack import output_and_weights
from ._beam import Hypothesis, Search, Step, beam_search, greedy_search
from ._config import TextConfig
from ._lengths import check_lengths, padding_mask, real
from ._pretrained import PretrainedModel
from ._start import start_head, start_stack
from .copying import Copying
from .embedding import TokenEmbedding, check_ids
from .token_loss import token_loss


@dataclass(frozen=True, kw_only=True)
class SequenceToSequenceConfig(TextConfig):
    """Settings of a `SequenceToSequence`; `vocab_size` is that of the target."""

    source_vocab_size: int | None = None
    """Size of the source's own vocabulary; None: source and target share one."""
    num_decoder_layers: int | None = None
    """Layers of the decoder; `num_layers` unless given."""
    tie_embeddings: bool = True
    """Whether the output map shares its weight with the target's embeddings (Press and Wolf 2017, arXiv:1608.05859)."""
    copying: bool = False
    """Whether the decoder may copy tokens of the source (`Copying`); source and target then share a vocabulary."""
    bos_id: int = 1
    """The token that every target begins with; it is the decoder's first input."""
    eos_id: int = 2
    """The token that ends a target."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "source_vocab_size", "num_decoder_layers")
        if self.copying and self.source_vocab_size is not None:
            raise ArgumentError(
                f"copying is True and source_vocab_size {self.source_vocab_size}: a token of the source means "
                "something else in the target. Leave source_vocab_size at None, which shares one vocabulary."
            )
        for name in ("bos_id", "eos_id"):
            whole(name, getattr(self, name), 0, self.vocab_size - 1)

    def decoder_layer(self) -> DecoderLayer:
        """Return a decoder layer, of which the stack holds copies."""
        return DecoderLayer(
            self.embed_dim, self.num_heads, self.ffn_dim, activation=self.activation, norm=self.norm, norm_first=True,
            dropout=self.dropout, attention_dropout=self.attention_dropout, position=self.position(causal=True),
        )  # fmt: skip


class SequenceToSequence(PretrainedModel[SequenceToSequenceConfig]):
    """Pre-norm encoder and decoder with cross-attention.

    Shapes: `source` int64 `(B, S)`, `target` int64 `(B, T)` to logits `(B, T, vocab_size)`; with `copying` these are
    log-probabilities. In training `target` begins with `bos_id`, and the logits at position `i` are of token `i + 1`.

    Source: Vaswani et al. 2017, arXiv:1706.03762.

    >>> model = SequenceToSequence(SequenceToSequenceConfig(vocab_size=9, embed_dim=16))
    >>> model(torch.tensor([[3, 4, 5]]), torch.tensor([[1, 6]])).shape
    torch.Size([1, 2, 9])
    >>> [len(one.tokens) <= 4 for one in model.generate(torch.tensor([[3, 4, 5]]), max_length=4, beams=2)]
    [True]
    """

    config_class = SequenceToSequenceConfig

    def __init__(self, config: SequenceToSequenceConfig) -> None:
        super().__init__()
        self.config = instance("config", config, SequenceToSequenceConfig, "a SequenceToSequenceConfig")
        shared = config.source_vocab_size is None
        self.embedding = TokenEmbedding(config)
        self.source_embedding = None if shared else TokenEmbedding(config, config.source_vocab_size)
        self.encoder = Encoder(config.encoder_layer(), config.num_layers)
        layers = config.num_layers if config.num_decoder_layers is None else config.num_decoder_layers
        self.decoder = Decoder(config.decoder_layer(), layers)
        for stack in (self.encoder, self.decoder):
            start_stack(stack, config.stochastic_depth)
        self.head = None if config.tie_embeddings else Projection(config.embed_dim, config.vocab_size, bias=False)
        if self.head is not None:
            start_head(self.head)
        self.copying = Copying(config.embed_dim) if config.copying else None

    def forward(
        self,
        source: Tensor,
        target: Tensor,
        source_lengths: Tensor | None = None,
        target_lengths: Tensor | None = None,
        *,
        need_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Weights]:
        """Return the logits; with `need_weights=True` also the weights of every layer of both stacks by name.

        Args:
            source: int64 `(B, S)`, padded on the right.
            target: int64 `(B, T)`, padded on the right; attention to it is causal.
            source_lengths, target_lengths: int64 `(B,)`, how many are real; None: all.

        Raises `ShapeError`, `DtypeError`, `ArgumentError`.
        """
        x, memory, weights = self._states(source, target, source_lengths, target_lengths, need_weights=need_weights)
        logits = self._logits(x)
        if self.copying is not None:
            hidden = padding_mask(check_lengths(source_lengths, source, "source_lengths"))
            logits, weights["copying"] = self.copying(x, self.copying.keys(memory), source, logits, hidden)
        return (logits, weights) if need_weights else logits

    def loss(
        self,
        source: Tensor,
        target: Tensor,
        source_lengths: Tensor | None = None,
        target_lengths: Tensor | None = None,
        *,
        label_smoothing: float = 0.0,
        guide: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy of every token of the targets but `bos_id`, in nats, summed, and their number.

        Arguments as in `forward`; `target` holds the whole targets, from `bos_id` to `eos_id`, and so do
        `target_lengths`. The scores of the vocabulary are never stored (`token_loss`).

        Args:
            guide: floating `(B, T - 1, S)`, guided alignment: which tokens of the source each token but `bos_id`
                translates, shares of sum 1, or 0 everywhere where that is not known. What the first head of the
                last cross-attention is from them (the Kullback-Leibler divergence, nats) is added to the loss.

        Source: Chen et al. 2016, arXiv:1607.01628, section 3, for guided alignment.
        """
        check_ids("target", target, self.config.vocab_size, 2)
        if guide is not None:
            rule = (len(target), target.shape[1] - 1, source.shape[-1])
            if tuple(floating("guide", guide).shape) != rule:
                raise ShapeError(f"guide has shape {tuple(guide.shape)}; the rule is (B, T - 1, S), here {rule}.")
        lengths = check_lengths(target_lengths, target, "target_lengths")
        left = None if lengths is None else lengths - 1
        told = slice(None) if left is None else real(left, target.shape[1] - 1)
        wanted = target[:, 1:][told].flatten()
        x, memory, weights = self._states(source, target[:, :-1], source_lengths, left, need_weights=guide is not None)
        copied = None
        if self.copying is not None:
            hidden = padding_mask(check_lengths(source_lengths, source, "source_lengths"))
            gate, chance = self.copying.chances(x, self.copying.keys(memory), source, target[:, 1:], hidden)
            copied = gate[told].flatten(), chance[told].flatten()
        weight = self.embedding.weight if self.head is None else self.head.weight
        total = token_loss(x[told].flatten(0, -2), weight, wanted, label_smoothing=label_smoothing, copied=copied)
        if guide is not None:
            last = weights[f"decoder.layers.{len(self.decoder.layers) - 1}.cross_attention"]
            total = total + _divergence(guide, last.dense()[:, 0])[told].sum()
        return total, torch.tensor(len(wanted))

    def _states(
        self,
        source: Tensor,
        target: Tensor,
        source_lengths: Tensor | None,
        target_lengths: Tensor | None,
        *,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor, Weights]:
        """Return the decoder's states `(B, T, embed_dim)`, the memory, and the weights of both stacks if asked for."""
        check_ids("source", source, self.config.source_vocab_size or self.config.vocab_size, 2)
        check_ids("target", target, self.config.vocab_size, 2)
        source_lengths = check_lengths(source_lengths, source, "source_lengths")
        target_lengths = check_lengths(target_lengths, target, "target_lengths")
        hidden = padding_mask(source_lengths)
        encoded = self.encoder(self._embed_source(source), mask=hidden, need_weights=need_weights)
        memory, weights = output_and_weights(encoded, need_weights, "encoder")
        decoded = self.decoder(
            self.embedding(target), memory, mask=padding_mask(target_lengths), memory_mask=hidden,
            need_weights=need_weights,
        )  # fmt: skip
        x, found = output_and_weights(decoded, need_weights, "decoder")
        return x, memory, weights | found

    def encode(self, source: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return what the encoder makes of a source, `(B, S)` to `(B, S, embed_dim)`; arguments as in `forward`."""
        memory: Tensor = self.encoder(self._embed_source(source), mask=padding_mask(lengths))
        return memory

    def decode(self, target: Tensor, memory: Tensor, source: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the logits for a target, `(B, T, vocab_size)`, from `encode(source, lengths)`, as `forward` does."""
        hidden = padding_mask(lengths)
        x: Tensor = self.decoder(self.embedding(target), memory, memory_mask=hidden)
        logits = self._logits(x)
        return logits if self.copying is None else self.copying(x, self.copying.keys(memory), source, logits, hidden)[0]

    @torch.no_grad()
    def generate(
        self,
        source: Tensor,
        source_lengths: Tensor | None = None,
        *,
        max_length: int,
        beams: int = 1,
        length_penalty: float = 0.6,
        no_repeat_ngram_size: int = 0,
    ) -> list[Hypothesis]:
        """Return the best target found for each source, without `bos_id` and `eos_id`, and its score.

        Args:
            source: int64 `(B, S)`, padded on the right.
            source_lengths: int64 `(B,)`, how many are real; None: all.
            max_length: most tokens of a target, its end included.
            beams: how many unfinished targets are kept; 1 is greedy.
            length_penalty: exponent of Wu et al. 2016 (arXiv:1609.08144, equation 14); 0 prefers short targets, more
                prefers longer ones.
            no_repeat_ngram_size: no n-gram of this many tokens occurs twice in one target; 0: no restriction.

        The encoder runs once; keys and values are kept, and sources that are done leave the batch. Runs in evaluation
        mode, without gradients. Raises `ShapeError`, `DtypeError`, `ArgumentError`.
        """
        check_ids("source", source, self.config.source_vocab_size or self.config.vocab_size, 2)
        max_length, beams = size("max_length", max_length, 0), size("beams", beams)
        length_penalty = number("length_penalty", length_penalty, -100, 100)
        no_repeat_ngram_size = size("no_repeat_ngram_size", no_repeat_ngram_size, 0)
        longest = self.config.max_length if self.config.positions == "learned" else None
        if longest is not None and max_length > longest:
            raise ArgumentError(f"max_length is {max_length} and the model knows positions for {longest}; lower it.")
        search = Search(self.config.bos_id, self.config.eos_id, max_length, length_penalty, no_repeat_ngram_size)
        was_training = self.training
        self.eval()
        try:
            step = self._stepper(source, source_lengths, beams)
            if beams == 1:
                return greedy_search(step, len(source), search, source.device)
            return beam_search(step, len(source), beams, search, source.device)
        finally:
            self.train(was_training)

    def _stepper(self, source: Tensor, lengths: Tensor | None, beams: int) -> Step:
        """Return the step function of a search, with its caches."""
        lengths = check_lengths(lengths, source, "source_lengths")
        memory = self.encode(source, lengths).repeat_interleave(beams, 0)
        lengths = None if lengths is None else lengths.repeat_interleave(beams, 0)
        hidden = padding_mask(lengths)
        cache = self.decoder.new_cache()
        copying = self.copying
        source = source.repeat_interleave(beams, 0)
        keys = None if copying is None else copying.keys(memory)

        def step(tokens: Tensor, rows: Tensor | None) -> Tensor:
            nonlocal memory, lengths, hidden, source, keys
            if rows is not None and len(rows) == len(memory):
                for layer in cache.layers:  # beams move within a source only, so cross-attention stays
                    layer.self_attention.reorder(rows)
            elif rows is not None:
                cache.reorder(rows)
                memory, source = memory[rows], source[rows]
                keys = None if keys is None else keys[rows]
                lengths = None if lengths is None else lengths[rows]
                hidden = padding_mask(lengths)
            x: Any = self.embedding(tokens[:, None], offset=len(cache))
            x = self.decoder(x, memory, memory_mask=hidden, cache=cache)
            logits = self._logits(x)
            if copying is not None and keys is not None:
                logits, _ = copying(x, keys, source, logits, hidden)
            return logits[:, 0].float().log_softmax(-1)

        return step

    def _embed_source(self, source: Tensor) -> Tensor:
        embedding = self.embedding if self.source_embedding is None else self.source_embedding
        embedded: Tensor = embedding(source)
        return embedded

    def _logits(self, x: Tensor) -> Tensor:
        if self.head is None:
            return linear(x, self.embedding.weight)
        logits: Tensor = self.head(x)
        return logits


def _divergence(guide: Tensor, weights: Tensor) -> Tensor:
    """Return the divergence of weights from where they should look, both `(B, T, S)`, to `(B, T)`, in nats."""
    seen = weights.float().clamp(min=torch.finfo(torch.float32).tiny)
    divergence: Tensor = torch.special.xlogy(guide, guide) - guide * seen.log()
    return divergence.sum(-1)
