"""Positional encodings, and patches of an image as tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import biases, positions
from .._tracing import sizes
from .._values import flag, floating, number, probability, size
from ..errors import ArgumentError, ShapeError
from .dropout import Dropout
from .tokens import check_tokens


class SinusoidalEncoding(nn.Module):
    """Add the sinusoidal table to embeddings, then dropout (Vaswani et al. 2017, section 3.5). Nothing is learnt.

    Shapes: `x` `(..., L, embed_dim)` to the same. `offset` is the position of the first token, for decoding step by
    step (`len(cache)`). The length is not limited.

    >>> x = torch.zeros(1, 4, 6)
    >>> encode = SinusoidalEncoding(6)
    >>> bool((encode(x)[:, 3:] == encode(x[:, 3:], offset=3)).all())
    True
    """

    def __init__(self, embed_dim: int, *, base: float = 10_000.0, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed_dim = size("embed_dim", embed_dim)
        self.base = number("base", base, 0, open_low=True)
        self.dropout = Dropout(probability("dropout", dropout))

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Return `dropout(x + table[offset : offset + L])` in the dtype of `x`."""
        check_tokens(self, "x", x, "embed_dim", self.embed_dim)
        offset = size("offset", offset, 0)
        table = positions.sinusoidal_table(offset, x, self.embed_dim, self.base)
        added: Tensor = self.dropout(x + table.to(x.dtype))
        return added

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"embed_dim={self.embed_dim}, base={self.base}"


class LearnedEncoding(nn.Module):
    """Add a learnt vector per position to embeddings, then dropout. Starts normal with deviation 0.02.

    Shapes: `x` `(..., L, embed_dim)` to the same, with `offset + L <= max_length`; else `ShapeError`.

    >>> encode = LearnedEncoding(10, 4)
    >>> bool((encode(torch.zeros(1, 3, 4), offset=2)[0] == encode.weight[2:5]).all())
    True
    """

    def __init__(self, max_length: int, embed_dim: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size("max_length", max_length), size("embed_dim", embed_dim)))
        self.dropout = Dropout(probability("dropout", dropout))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Return `dropout(x + weight[offset : offset + L])`."""
        max_length, embed_dim = sizes(self.weight)
        check_tokens(self, "x", x, "embed_dim", embed_dim)
        offset = size("offset", offset, 0)
        if offset + sizes(x)[-2] > max_length:
            raise ShapeError(
                f"LearnedEncoding knows max_length={max_length} positions and was given x of shape {tuple(x.shape)} "
                f"from offset {offset}. Cut the sequence, or build it with a larger max_length."
            )
        added: Tensor = self.dropout(x + self.weight[offset : offset + x.shape[-2]])
        return added

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"max_length={self.weight.shape[0]}, embed_dim={self.weight.shape[1]}"


class Rotary(nn.Module):
    """Rotary encoding of queries and keys, as `position=` of an attention layer. Nothing is learnt.

    Shapes: `x` `(..., L, head_dim)` to the same.

    Args:
        dim: how many features of each head are turned, even; all of them unless given.
        base: 10,000 in the paper; larger ones suit longer contexts.
        interleaved: pairs are features `2i, 2i + 1` (the paper) or, by default, `i, i + dim / 2` (Hugging Face).

    Source: Su et al. 2021, arXiv:2104.09864.

    Only the distance between query and key counts:

    >>> rotary = Rotary()
    >>> q, k = torch.randn(2, 1, 8)
    >>> near, far = (rotary(q, at + 3) @ rotary(k, at).mT for at in (0, 500))
    >>> bool(torch.allclose(near, far, atol=1e-4))
    True
    """

    def __init__(self, dim: int | None = None, *, base: float = 10_000.0, interleaved: bool = False) -> None:
        super().__init__()
        self.dim = None if dim is None else size("dim", dim, 2)
        if self.dim is not None and self.dim % 2:
            raise ArgumentError(f"dim is {dim}; Rotary turns features in pairs, so give an even number.")
        self.base = number("base", base, 0, open_low=True)
        self.interleaved = flag("interleaved", interleaved)

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Turn `x` by the angles of the positions `offset … offset + L - 1`."""
        check_tokens(self, "x", x)
        offset = size("offset", offset, 0)
        features = sizes(x)[-1]
        dim = features if self.dim is None else self.dim
        if dim % 2 or dim > features or dim == 0:
            raise ShapeError(f"x has {features} features, and {dim} of them cannot be turned in pairs; see dim.")
        cos, sin = positions.rotary_table(offset, x, dim, self.base)
        return positions.rotate(x, cos, sin, interleaved=self.interleaved)

    def extra_repr(self) -> str:
        """Show the settings."""
        return f"dim={self.dim}, base={self.base}, interleaved={self.interleaved}"


class ALiBi(nn.Module):
    """ALiBi as `position=` of an attention layer: each head's scores fall with distance. Nothing is learnt.

    Calling it gives the `regard.biases.ALiBi` of the heads. Source: Press et al. 2022, arXiv:2108.12409.

    >>> ALiBi(4)().vector(2, 2, "cpu").shape
    torch.Size([4, 3])
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.num_heads = size("num_heads", num_heads)
        self.register_buffer("slopes", biases.alibi_slopes(self.num_heads), persistent=False)

    def forward(self) -> biases.PositionBias:
        """Return the bias, for `regard.attention(bias=...)`."""
        return biases.ALiBi(self.get_buffer("slopes"))

    def extra_repr(self) -> str:
        """Show the number of heads."""
        return f"num_heads={self.num_heads}"


class RelativeBias(nn.Module):
    """T5's learnt bias per head and bucket of distance, as `position=` of an attention layer. Starts at 0.

    Each layer of a stack learns its own table; assign one module to several layers to share it, as T5 does. Its
    `weight` is `(num_buckets, num_heads)`, as in a T5 checkpoint. Without `bidirectional` all buckets serve the past.

    Source: Raffel et al. 2020, arXiv:1910.10683, section 2.1.

    >>> bias = RelativeBias(2)
    >>> bool((bias().vector(3, 3, "cpu") == 0).all())
    True
    """

    def __init__(
        self, num_heads: int, *, num_buckets: int = 32, max_distance: int = 128, bidirectional: bool = True
    ) -> None:
        super().__init__()
        num_heads, num_buckets = size("num_heads", num_heads), size("num_buckets", num_buckets)
        max_distance, bidirectional = size("max_distance", max_distance), flag("bidirectional", bidirectional)
        exact = num_buckets // (4 if bidirectional else 2)
        if exact < 1 or max_distance <= exact:
            raise ArgumentError(
                f"RelativeBias was given num_buckets={num_buckets} and max_distance={max_distance}; it needs at least "
                f"{4 if bidirectional else 2} buckets, and a distance beyond the {exact} that have a bucket each."
            )
        self.max_distance = max_distance
        self.bidirectional = bidirectional
        self.weight = nn.Parameter(torch.empty(num_buckets, num_heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the table to 0: no preference for any distance."""
        nn.init.zeros_(self.weight)

    def forward(self) -> biases.PositionBias:
        """Return the bias, for `regard.attention(bias=...)`; gradients flow into `weight`."""
        return biases.T5Bias(self.weight, self.bidirectional, self.max_distance)

    def extra_repr(self) -> str:
        """Show the sizes."""
        num_buckets, num_heads = self.weight.shape
        return f"num_heads={num_heads}, num_buckets={num_buckets}, bidirectional={self.bidirectional}"


class PatchEmbedding(nn.Module):
    """Cut images into square patches and project each to a token (Dosovitskiy et al. 2021, arXiv:2010.11929).

    Shapes: `images` `(B, in_channels, height, width)` to `(B, N, embed_dim)`, `N = height / p · width / p` patches,
    row by row from the top left. `ShapeError` if a side is no multiple of `patch_size`. Xavier uniform, bias 0.

    >>> PatchEmbedding(32, 4, in_channels=1)(torch.zeros(2, 1, 8, 12)).shape
    torch.Size([2, 6, 32])
    """

    def __init__(self, embed_dim: int, patch_size: int, *, in_channels: int = 3, bias: bool = True) -> None:
        super().__init__()
        self.patch_size = size("patch_size", patch_size)
        self.projection = nn.Conv2d(
            size("in_channels", in_channels), size("embed_dim", embed_dim), self.patch_size, stride=self.patch_size,
            bias=flag("bias", bias),
        )  # fmt: skip
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the projection anew, as a linear map of a whole patch."""
        nn.init.xavier_uniform_(self.projection.weight.view(self.projection.out_channels, -1))
        if self.projection.bias is not None:
            nn.init.zeros_(self.projection.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return the patches as tokens."""
        channels = self.projection.in_channels
        if (
            floating("images", images).ndim != 4
            or sizes(images)[1] != channels
            or any(side % self.patch_size for side in sizes(images)[2:])
        ):
            raise ShapeError(
                f"PatchEmbedding was given images of shape {tuple(images.shape)}; the rule is (B, in_channels, height, "
                f"width) with in_channels={channels} and sides that are multiples of patch_size={self.patch_size}. "
                "Resize or pad the images."
            )
        tokens: Tensor = self.projection(images).flatten(2).transpose(1, 2)
        return tokens
