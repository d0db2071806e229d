"""Tokens as vectors: an embedding table, added positions, and features of a word's letters."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import positions
from .._mask_parts import readable
from .._values import floating, instance, integers, size, tensor
from ..errors import ArgumentError, DtypeError, ShapeError
from ..layers import Dropout, LearnedEncoding, Projection, SinusoidalEncoding
from ._config import TextConfig
from ._start import STD
from .repeats import word_keys


def check_ids(name: str, ids: Tensor, size: int, ndim: int) -> None:
    """Raise an error that explains what is wrong with token ids; values are checked on the CPU only."""
    if tensor(name, ids).dtype not in (torch.int64, torch.int32):
        raise DtypeError(f"{name} is {ids.dtype}; give token ids as int64.")
    if ids.ndim != ndim:
        rule = "(B, L)" if ndim == 2 else "(B, L, W)"
        raise ShapeError(f"{name} has shape {tuple(ids.shape)}; the rule is {rule}.")
    if readable(ids):
        low, high = (int(edge) for edge in ids.aminmax())
        if low < 0 or high >= size:
            raise ArgumentError(f"{name} holds the id {low if low < 0 else high}; ids are 0 to {size - 1}.")


class TokenEmbedding(nn.Module):
    """A vector per token, plus one per position where positions are added, then dropout.

    Shapes: int64 `(B, L)` to `(B, L, embed_dim)`.

    Vectors are initialised with standard deviation 0.02. With sinusoidal positions, whose table has 0.7, they start
    with `1/√embed_dim` and are multiplied by `√embed_dim`, as in Vaswani et al. 2017, section 3.4.
    """

    def __init__(self, config: TextConfig, vocab_size: int | None = None) -> None:
        super().__init__()
        instance("config", config, TextConfig, "a TextConfig, such as a LanguageModelConfig")
        self.vocab_size = config.vocab_size if vocab_size is None else size("vocab_size", vocab_size)
        self.embed_dim = config.embed_dim
        self.weight = nn.Parameter(torch.empty(self.vocab_size, config.embed_dim))
        self.encoding: LearnedEncoding | SinusoidalEncoding | None = None
        if config.positions == "learned" and config.max_length is not None:
            self.encoding = LearnedEncoding(config.max_length, config.embed_dim)
        elif config.positions == "sinusoidal":
            self.encoding = SinusoidalEncoding(config.embed_dim)
        self.factor = math.sqrt(config.embed_dim) if config.positions == "sinusoidal" else 1.0
        self.dropout = Dropout(config.dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        nn.init.normal_(self.weight, std=STD if self.factor == 1.0 else 1.0 / self.factor)

    def forward(
        self, tokens: Tensor, *, offset: int = 0, padding: Tensor | None = None, more: Tensor | None = None
    ) -> Tensor:
        """Return the vectors.

        Args:
            offset: position of the first token, for decoding step by step.
            padding: int64 `(B,)`, the number of padding tokens before the first real one; positions count from the
                first real one.
            more: `(B, L, embed_dim)`, added to the vectors of the tokens.
        """
        check_ids("tokens", tokens, self.vocab_size, 2)
        offset = size("offset", offset, 0)
        if padding is not None:
            padding = integers("padding", padding, (1,), "int64 (B,), tokens of padding before each sequence")
        x = F.embedding(tokens, self.weight)
        if self.factor != 1.0:
            x = x * self.factor
        if more is not None:
            if floating("more", more).shape != x.shape:
                raise ShapeError(
                    f"more has shape {tuple(more.shape)}; the rule is (B, L, embed_dim) = {tuple(x.shape)}."
                )
            x = x + more
        if self.encoding is not None:
            x = self.encoding(x, offset) if padding is None else x + self._shifted(x, offset, padding)
        embedded: Tensor = self.dropout(x)
        return embedded

    def _shifted(self, x: Tensor, offset: int, padding: Tensor) -> Tensor:  # (B, L, embed_dim)
        places = torch.arange(offset, offset + x.shape[1], device=x.device)
        places = (places - padding[:, None]).clamp(min=0)
        if isinstance(self.encoding, LearnedEncoding):
            return F.embedding(places, self.encoding.weight)
        return positions.sinusoidal(places, self.embed_dim).to(x.dtype)

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"vocab_size={self.vocab_size}, embed_dim={self.embed_dim}"


class CharacterFeatures(nn.Module):
    """A vector from the letters of a word: embeddings, a convolution over three letters, max-pooling.

    Shapes: int64 `(B, L, W)`, letters of each word, 0 = no letter, on the right, to `(B, L, embed_dim)`. A word
    without letters gives the bias of the last map alone.

    A word that occurs again in the batch is computed once (not while compiling): in running text that is a quarter
    of the work or less. Cost: distinct words · W · 3 · char_dim · channels.

    Source: Ma and Hovy 2016, arXiv:1603.01354, section 2.1.

    >>> features = CharacterFeatures(30, 8)
    >>> words = torch.tensor([[[3, 1, 0], [3, 1, 0], [2, 2, 2]]])
    >>> out = features(words)
    >>> out.shape, bool((out[0, 0] == out[0, 1]).all())
    (torch.Size([1, 3, 8]), True)
    """

    def __init__(self, char_vocab_size: int, embed_dim: int, *, char_dim: int = 32, channels: int = 96) -> None:
        super().__init__()
        self.char_vocab_size = char_vocab_size = size("char_vocab_size", char_vocab_size)
        embed_dim, char_dim = size("embed_dim", embed_dim), size("char_dim", char_dim)
        channels = size("channels", channels)
        self.embedding = nn.Embedding(char_vocab_size, char_dim, padding_idx=0)
        self.convolution = nn.Conv1d(char_dim, channels, 3, padding=1)
        self.output = Projection(channels, embed_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise letters with unit deviation; the result starts with about the scale of the token vectors."""
        nn.init.normal_(self.embedding.weight)
        with torch.no_grad():
            self.embedding.weight[0].zero_()
        self.convolution.reset_parameters()
        nn.init.normal_(self.output.weight, std=STD / math.sqrt(self.output.in_features))
        nn.init.zeros_(self.output.bias)

    def forward(self, characters: Tensor) -> Tensor:
        """Return the features of each word."""
        check_ids("characters", characters, self.char_vocab_size, 3)
        rows = characters.flatten(0, 1)  # (words, W)
        distinct, back = _distinct(rows)
        letters = self.embedding(distinct).transpose(1, 2)  # (distinct, char_dim, W)
        found = F.relu(self.convolution(letters)).masked_fill((distinct == 0)[:, None], 0.0).amax(-1)
        words: Tensor = self.output(found)
        if back is not None:
            words = words.index_select(0, back)
        return words.view(*characters.shape[:2], -1)


def _distinct(rows: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the distinct rows, and the index of each row among them; all rows and None if that saves nothing."""
    if not readable(rows) or len(rows) < 64:
        return rows, None
    # Two rows could have one key by chance, so rows are compared.
    sums, back = word_keys(rows).unique(return_inverse=True)
    first = torch.empty_like(sums).scatter_(0, back, torch.arange(len(rows)))
    distinct = rows[first]
    return (distinct, back) if torch.equal(distinct[back], rows) else (rows, None)
