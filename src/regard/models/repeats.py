"""Features of repeated words: every mention of a word is marked by the position of its first mention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._tracing import recorded
from .._values import integers, size
from ._start import STD


def word_keys(letters: Tensor) -> Tensor:
    """Hash each row of letters, `(..., W)` to int64 `(...)`; zeros at the end change nothing.

    Equal rows have equal keys. Unequal rows have different keys almost surely: the sums have 64 bits.
    """
    if _written_down() and letters.ndim == 3:  # onnxruntime's sums are exact up to 53 bits; O(L² · W)
        return _first_equal((letters[:, :, None] == letters[:, None]).all(-1))
    factors = torch.arange(1, 2 * letters.shape[-1], 2, dtype=torch.int64, device=letters.device)
    factors = factors * 0x1E3779B97F4A7C15 + 0x12345678
    return (letters * (factors ^ (factors >> 29))).sum(-1)


def _written_down() -> bool:
    """Return whether a tool writes the operators down for another program, which may know fewer of them."""
    return recorded() or torch.compiler.is_exporting()


def _first_equal(alike: Tensor) -> Tensor:
    """Return the first column that is True in each row: bool `(B, L, L)` to int64 `(B, L)`."""
    return alike.to(torch.int32).argmax(-1)


def first_places(keys: Tensor) -> Tensor:
    """Return the position of the first occurrence of each key in its row, int64 `(B, L)`.

    Cost: O(B · L · log L) time, O(B · L) memory.

    >>> first_places(torch.tensor([[5, 7, 5, 7, 9]])).tolist()
    [[0, 1, 0, 1, 4]]
    """
    if _written_down():  # ONNX has no running maximum; O(L²)
        return _first_equal(keys[:, :, None] == keys[:, None])
    ordered, order = keys.sort(dim=1, stable=True)
    begins = torch.arange(keys.shape[1], device=keys.device).expand_as(keys).clone()  # of each run of equal keys
    begins[:, 1:].masked_fill_(ordered[:, 1:] == ordered[:, :-1], 0)
    first = order.gather(1, begins.cummax(1).values)
    return torch.empty_like(first).scatter_(1, order, first)


class RepeatFeatures(nn.Module):
    """A learnt vector for each word of a sequence: that of the position where the word occurs first.

    All mentions of a word share a vector, and different words have different ones. So attention finds the other
    mentions by one product, also of a word that is not in the vocabulary. First mentions are marked in addition.

    Shapes: `keys` int64 `(B, L)`, equal where words are equal, to `(B, L, embed_dim)`.

    Args:
        embed_dim: width of a vector.
        places: rows of the table; position `p` uses row `p % places`.

    Cost: O(B · L · (log L + embed_dim)).

    >>> features = RepeatFeatures(8)
    >>> out = features(torch.tensor([[5, 7, 5, 7, 9]]))[0]
    >>> bool((out[0] == out[2]).all()), bool((out[0] == out[1]).any())
    (True, False)
    """

    def __init__(self, embed_dim: int, places: int = 256) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size("places", places), size("embed_dim", embed_dim)))
        self.first = nn.Parameter(torch.empty(self.weight.shape[1]))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Re-initialise the table; the mark of first mentions starts at 0."""
        nn.init.normal_(self.weight, std=STD)
        nn.init.zeros_(self.first)

    def forward(self, keys: Tensor) -> Tensor:
        """Return the vectors."""
        keys = integers("keys", keys, (2,), "integers (B, L)", wide=False)
        first = first_places(keys)
        begins = first == torch.arange(keys.shape[1], device=keys.device)
        return F.embedding(first % len(self.weight), self.weight) + begins.unsqueeze(-1) * self.first

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"embed_dim={self.weight.shape[1]}, places={self.weight.shape[0]}"
