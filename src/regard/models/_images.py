"""Images as tokens, and positional encodings on their grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import positions
from .._tracing import plain
from ..layers import Rotary


class ConvolutionalStem(nn.Module):
    """3 x 3 convolutions, each followed by ReLU and max-pooling that halves the sides; then one token per position.

    Shapes: `(B, in_channels, height, width)` to `(B, N, embed_dim)`, row by row from the top left; each of
    `halvings` steps rounds the sides up. Channels double towards `embed_dim`.

    Source: Hassani et al. 2021 (CCT), arXiv:2104.05704, section 3.3.
    """

    def __init__(self, embed_dim: int, halvings: int, *, in_channels: int) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        before = in_channels
        for left in range(halvings - 1, -1, -1):
            after = max(embed_dim >> left, 16) if left else embed_dim
            convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            steps += [convolution, nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)]
            before = after
        self.steps = nn.Sequential(*steps)

    def forward(self, images: Tensor) -> Tensor:
        """Return the positions of the last feature map as tokens."""
        if plain():  # channels last: convolutions and pooling of small pictures take a seventh less time
            images = images.contiguous(memory_format=torch.channels_last)
        tokens: Tensor = self.steps(images).flatten(2).transpose(1, 2)
        return tokens


class GridRotary(Rotary):
    """Rotary encoding on a grid: half of each head's features are rotated by the row, half by the column.

    Extra tokens stand in front of the grid (the class token) and are not rotated. Source: Su et al. 2021 for the
    rotation; Heo et al. 2024, arXiv:2403.13298, for two axes, with the base of 100 that suits small grids.
    """

    def __init__(self, grid: tuple[int, int], *, base: float = 100.0) -> None:
        super().__init__(base=base)
        self.grid = grid

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Rotate `x` `(..., tokens, head_dim)` by rows and columns."""
        rows, columns = self.grid
        places = torch.arange(offset, offset + x.shape[-2], device=x.device) - (x.shape[-2] + offset - rows * columns)
        inside = places >= 0
        down = torch.where(inside, places // columns + 1, 0)
        across = torch.where(inside, places % columns + 1, 0)
        half = x.shape[-1] // 2
        turns = [positions.rotary(axis, half, base=self.base) for axis in (down, across)]
        cos, sin = (torch.cat(pair, -1) for pair in zip(*turns, strict=True))
        return positions.rotate(x, cos.to(x.dtype), sin.to(x.dtype), interleaved=False)


def grid_sinusoidal(rows: int, columns: int, dim: int) -> Tensor:
    """Sinusoidal encoding on a grid: half of the features encode the row, half the column; `(rows · columns, dim)`."""
    down, across = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    half = dim // 2
    tables = (positions.sinusoidal(down.flatten(), dim - half), positions.sinusoidal(across.flatten(), half))
    return torch.cat(tables, -1)
