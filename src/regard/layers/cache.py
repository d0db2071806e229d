"""Keys and values that decoding has already computed, kept so that each step costs one token."""

from __future__ import annotations

import torch
from torch import Tensor

from .._mask_parts import readable
from .._values import integers, size, tensor
from ..errors import ArgumentError, ShapeError


class KeyValueCache:
    """Keys and values of one attention layer, `(B, G, length, E)`, that grow as decoding goes on.

    Self-attention appends to it at each call; cross-attention fills it at its first call and reads it after.
    `max_length` reserves room at the first call and forbids more; without it the room doubles when it is full.
    While gradients are recorded nothing is overwritten: each step then copies the cache.

    >>> cache = KeyValueCache()
    >>> token = torch.ones(1, 2, 1, 4)
    >>> for _ in range(3):
    ...     key, value = cache.append(token, token)
    >>> len(cache), key.shape
    (3, torch.Size([1, 2, 3, 4]))
    """

    def __init__(self, max_length: int | None = None) -> None:
        self.max_length = None if max_length is None else size("max_length", max_length)
        self._key: Tensor | None = None
        self._value: Tensor | None = None
        self._length = 0

    def __len__(self) -> int:
        """Tokens held."""
        return self._length

    def __repr__(self) -> str:
        """Say how full the cache is."""
        return f"KeyValueCache({self._length} tokens)"

    def read(self) -> tuple[Tensor, Tensor]:
        """Return all keys and values held; raises `ArgumentError` if there are none."""
        if self._key is None or self._value is None:
            raise ArgumentError("The cache is empty; a first call of its layer fills it.")
        return self._key[..., : self._length, :], self._value[..., : self._length, :]

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add keys and values of new tokens, `(B, G, new, E)`, and return all, in order.

        Raises `ShapeError` if they do not fit what is held, `ArgumentError` beyond `max_length`.
        """
        for name, new in (("key", key), ("value", value)):
            if tensor(name, new).ndim < 2:
                raise ShapeError(f"{name} has shape {tuple(new.shape)}; the rule is (B, G, new, E).")
        if key.shape[:-1] != value.shape[:-1]:
            raise ShapeError(
                f"key has shape {tuple(key.shape)} and value {tuple(value.shape)}; both hold the same tokens and heads."
            )
        total = self._length + key.shape[-2]
        if self.max_length is not None and total > self.max_length:
            raise ArgumentError(
                f"The cache was made for max_length={self.max_length} tokens and would hold {total}. "
                "Call reset() for a new sequence, or make it longer."
            )
        # Check both before either is changed.
        held = self._extended(self._key, key, total), self._extended(self._value, value, total)
        self._key, self._value = held
        self._length = total
        return self.read()

    def reset(self) -> None:
        """Forget everything."""
        self._key = self._value = None
        self._length = 0

    def reorder(self, index: Tensor) -> None:
        """Keep batch row `index[i]` as row `i`, for beam search: int64 `(new B,)`, rows may repeat or go."""
        index = integers("index", index, (1,), "int64 (new B,), rows of the batch")
        rows = self._key.shape[0] if self._key is not None and readable(index) else None
        if rows is not None and not 0 <= int(index.min()) <= int(index.max()) < rows:
            raise ArgumentError(f"index holds {index.tolist()}; the cache has the rows 0 to {rows - 1}.")
        if self._key is not None and self._value is not None:
            self._key = self._key.index_select(0, index)
            self._value = self._value.index_select(0, index)

    def _extended(self, held: Tensor | None, new: Tensor, total: int) -> Tensor:
        if held is not None and (held.shape[:-2] != new.shape[:-2] or held.shape[-1] != new.shape[-1]):
            raise ShapeError(
                f"The cache holds {tuple(held.shape[:-2])} batch and heads, {held.shape[-1]} wide, but was given "
                f"{tuple(new.shape)}. Call reset() before another batch, or reorder() when rows come or go."
            )
        if torch.is_grad_enabled() and (new.requires_grad or (held is not None and held.requires_grad)):
            return new if held is None else torch.cat((held[..., : self._length, :], new), -2)
        if held is None or held.shape[-2] < total or (held.is_inference() and not torch.is_inference_mode_enabled()):
            room = self.max_length or max(2 * (0 if held is None else held.shape[-2]), total)
            larger = new.new_empty((*new.shape[:-2], room, new.shape[-1]))
            if held is not None:
                larger[..., : self._length, :] = held[..., : self._length, :]
            held = larger
        held[..., self._length : total, :] = new
        return held


class LayerCache:
    """The caches of one layer: `self_attention`, and `cross_attention` which an encoder layer leaves empty.

    >>> cache = LayerCache(max_length=8)
    >>> len(cache.self_attention), cache.self_attention.max_length, cache.cross_attention.max_length
    (0, 8, None)
    """

    def __init__(self, max_length: int | None = None) -> None:
        self.self_attention = KeyValueCache(max_length)
        self.cross_attention = KeyValueCache()


class StackCache:
    """The caches of all layers of an `Encoder` or `Decoder`; made by its `new_cache()`.

    `len` counts the tokens decoded so far: the position of the next one.

    >>> cache = StackCache(3)
    >>> len(cache.layers), len(cache)
    (3, 0)
    """

    def __init__(self, num_layers: int, max_length: int | None = None) -> None:
        self.layers = tuple(LayerCache(max_length) for _ in range(size("num_layers", num_layers, 0)))

    def __len__(self) -> int:
        """Tokens decoded so far."""
        return len(self.layers[0].self_attention) if self.layers else 0

    def __repr__(self) -> str:
        """Say how full the caches are."""
        return f"StackCache({len(self.layers)} layers, {len(self)} tokens)"

    def reset(self) -> None:
        """Forget everything, the memory of cross-attention too."""
        for layer in self.layers:
            layer.self_attention.reset()
            layer.cross_attention.reset()

    def reorder(self, index: Tensor) -> None:
        """Keep batch row `index[i]` as row `i` in every layer, for beam search."""
        for layer in self.layers:
            layer.self_attention.reorder(index)
            layer.cross_attention.reorder(index)
