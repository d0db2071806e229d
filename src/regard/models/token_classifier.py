"""A label for every token: named entities, parts of speech."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._values import check_sizes, described, floating, instance, tensor
from ..errors import ArgumentError, DtypeError, ShapeError
from ..layers import Encoder, Projection, Weights
from ..layers.stack import output_and_weights
from ._config import TextConfig
from ._lengths import check_lengths, padding_mask, real
from ._pretrained import PretrainedModel
from ._start import start_head, start_stack
from .conditional_field import ConditionalField, viterbi
from .embedding import CharacterFeatures, TokenEmbedding, check_ids
from .repeats import RepeatFeatures, word_keys

IGNORED = -100
"""The label of a token without one: padding, or a later subword."""


@dataclass(frozen=True, kw_only=True)
class TokenClassifierConfig(TextConfig):
    """Settings of a `TokenClassifier`."""

    num_labels: int
    """How many labels there are; ids are 0 to `num_labels` - 1."""
    tags: tuple[str, ...] = ()
    """Names of the labels in IOB2, in the order of their ids; if given, no forbidden sequence is predicted."""
    char_vocab_size: int = 0
    """Size of the alphabet, counting id 0 for "no letter"; 0: words are not given letter by letter."""
    char_dim: int = 32
    """Width of a letter's embedding."""
    char_channels: int = 96
    """Channels of the convolution over three letters."""
    repeats: bool = False
    """Mark each word by the position of its first mention (`RepeatFeatures`), so that attention finds the others; words
    are equal if their letters are, or their ids in a model without letters."""
    crf: bool = False
    """Score neighbouring labels together (conditional random field) instead of each label alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "num_labels", "char_dim", "char_channels")
        check_sizes(self, "char_vocab_size", low=0)
        if self.tags and len(self.tags) != self.num_labels:
            raise ArgumentError(
                f"tags has {len(self.tags)} names and num_labels is {self.num_labels}; give a name for each, or none."
            )


class TokenClassifier(PretrainedModel[TokenClassifierConfig]):
    """A pre-norm encoder with a linear map to labels, over words (with their letters) or subwords.

    Shapes: `tokens` int64 `(B, L)` to logits `(B, L, num_labels)`.

    `loss` and `decode` take the logits, and apply the CRF if there is one.

    Source: Vaswani et al. 2017 for the encoder; Devlin et al. 2019 (BERT), section 4.1, for the linear map.

    >>> model = TokenClassifier(TokenClassifierConfig(vocab_size=9, num_labels=3, embed_dim=16)).eval()
    >>> logits = model(torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([3, 2]))
    >>> logits.shape, model.decode(logits, torch.tensor([3, 2]))[1, 2].item()
    (torch.Size([2, 3, 3]), -100)
    """

    config_class = TokenClassifierConfig

    def __init__(self, config: TokenClassifierConfig) -> None:
        super().__init__()
        self.config = instance("config", config, TokenClassifierConfig, "a TokenClassifierConfig")
        self.embedding = TokenEmbedding(config)
        self.characters: CharacterFeatures | None = None
        if config.char_vocab_size:
            self.characters = CharacterFeatures(
                config.char_vocab_size, config.embed_dim, char_dim=config.char_dim, channels=config.char_channels
            )
        self.repeats = RepeatFeatures(config.embed_dim) if config.repeats else None
        self.encoder = Encoder(config.encoder_layer(), config.num_layers)
        start_stack(self.encoder, config.stochastic_depth)
        self.head = Projection(config.embed_dim, config.num_labels)
        start_head(self.head)
        self.field = ConditionalField(config.num_labels, config.tags) if config.crf else None

    def forward(
        self,
        tokens: Tensor,
        lengths: Tensor | None = None,
        *,
        characters: Tensor | None = None,
        need_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Weights]:
        """Return the logits; with `need_weights=True` also the weights of every layer by name.

        Args:
            tokens: int64 `(B, L)`, padded on the right.
            lengths: int64 `(B,)`, how many are real; None: all. Logits of padding are meaningless.
            characters: int64 `(B, L, W)`, the letters of each word, 0 = none; required if `char_vocab_size > 0`.

        Raises:
            ShapeError, DtypeError, ArgumentError: see each message.
        """
        check_ids("tokens", tokens, self.config.vocab_size, 2)
        lengths = check_lengths(lengths, tokens)
        x = self.embedding(tokens, more=self._besides(tokens, characters))
        encoded = self.encoder(x, mask=padding_mask(lengths), need_weights=need_weights)
        x, weights = output_and_weights(encoded, need_weights, "encoder")
        logits: Tensor = self.head(x)
        return (logits, weights) if need_weights else logits

    def _besides(self, tokens: Tensor, characters: Tensor | None) -> Tensor | None:
        """Return the features that are added to the vectors of the words."""
        more = self._of_letters(tokens, characters)
        if self.repeats is None:
            return more
        marks: Tensor = self.repeats(tokens if characters is None else word_keys(characters))
        return marks if more is None else more + marks

    def _of_letters(self, tokens: Tensor, characters: Tensor | None) -> Tensor | None:
        if self.characters is None:
            if characters is not None:
                raise ArgumentError("characters were given to a model with char_vocab_size=0; leave them out.")
            return None
        if characters is None:
            raise ArgumentError(
                f"The model was built with char_vocab_size={self.config.char_vocab_size} and was given no characters; "
                "give the letters of each word, (B, L, W)."
            )
        if characters.shape[:2] != tokens.shape:
            raise ShapeError(
                f"characters has shape {tuple(characters.shape)} and tokens {tuple(tokens.shape)}; the rule is "
                "(B, L, W) and (B, L)."
            )
        found: Tensor = self.characters(characters)
        return found

    def loss(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of the losses and the number of labels.

        `labels` int64 `(B, L)`; -100 where there is none. The CRF skips these positions: labels on both sides of a gap
        count as neighbours. Computes in float32.
        """
        self._check_logits(logits)
        if tensor("labels", labels).is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise DtypeError(f"labels is {labels.dtype}; give int64, -100 where there is no label.")
        if labels.shape != logits.shape[:2]:
            raise ShapeError(f"labels has shape {tuple(labels.shape)}; the rule is (B, L) = {tuple(logits.shape[:2])}.")
        kept = labels != IGNORED
        if self.field is not None:
            order, counts = _together(kept)
            total = self.field.loss(_picked(logits, order), labels.gather(1, order), counts)
        else:
            total = F.cross_entropy(
                logits.float().flatten(0, 1), labels.flatten(), reduction="sum", ignore_index=IGNORED
            )
        return total, kept.sum()

    @torch.no_grad()
    def decode(self, logits: Tensor, lengths: Tensor | None = None, *, labelled: Tensor | None = None) -> Tensor:
        """Return the predicted labels, int64 `(B, L)`, -100 where there is none.

        Args:
            logits: what the model returned.
            lengths: as in `forward`.
            labelled: bool `(B, L)`, which tokens carry a label (the first part of each word); all unless given.

        With a CRF the best sequence; else, if the config names the tags, the best sequence that IOB2 allows; else
        the best label of each token.
        """
        batch, longest, _ = self._check_logits(logits).shape
        if labelled is not None and (tensor("labelled", labelled).dtype != torch.bool or labelled.ndim != 2):
            raise DtypeError(f"labelled is {described(labelled)}; the rule is bool (B, L).")
        if labelled is not None and labelled.shape != (batch, longest):
            raise ShapeError(f"labelled has shape {tuple(labelled.shape)}; the rule is (B, L) = {(batch, longest)}.")
        kept = torch.ones(batch, longest, dtype=torch.bool, device=logits.device) if labelled is None else labelled
        lengths = check_lengths(lengths, logits)
        if lengths is not None:
            kept = kept & real(lengths, longest)
        best = self._best(logits, kept) if longest else logits.argmax(-1)
        return best.masked_fill(~kept, IGNORED)

    def transitions(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the scores of a first label `(T,)`, of a pair `(T, T)` (before, after) and of a last label `(T,)`.

        Those of the CRF; without one 0, and very low where IOB2 forbids a sequence of the config's tags.
        """
        if self.field is not None:
            return self.field.transitions()
        field = ConditionalField(self.config.num_labels, self.config.tags)
        return field.to(self.head.weight.device).transitions()

    def _check_logits(self, logits: Tensor) -> Tensor:
        if floating("logits", logits).ndim != 3 or logits.shape[2] != self.config.num_labels:
            raise ShapeError(
                f"logits has shape {tuple(logits.shape)}; the rule is (B, L, num_labels) with "
                f"num_labels={self.config.num_labels}."
            )
        return logits

    def _best(self, logits: Tensor, kept: Tensor) -> Tensor:
        if self.field is None and not self.config.tags:
            return logits.argmax(-1)
        order, counts = _together(kept)
        found = viterbi(_picked(logits, order).float(), *self.transitions(), counts.clamp(min=1))
        return torch.empty_like(found).scatter_(1, order, found)


def _together(kept: Tensor) -> tuple[Tensor, Tensor]:
    """Return the order that moves the kept tokens to the front of each row, and their number."""
    return (~kept).to(torch.uint8).argsort(dim=1, stable=True), kept.sum(1)


def _picked(logits: Tensor, order: Tensor) -> Tensor:
    picked: Any = logits.gather(1, order[..., None].expand_as(logits))
    found: Tensor = picked
    return found
