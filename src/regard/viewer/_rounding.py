"""Weights as single bytes, for a page that would not hold them otherwise: their cube roots in equal steps.

A step is about a fixed share of a colour bar for large weights and a fixed share of the weight for small ones, so both
scales of the page stay true. Codes compress to four to six bits. The page reads them through a table of 256 numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._cells import MASKED, NOT_RECORDED

LEVELS = (250, 225, 200, 180, 160, 145, 130, 115, 100)
"""How many steps there may be, the finest first."""

_POWER = 3
_MASKED, _NOT_RECORDED, _NAN, _INFINITE = 255, 254, 253, 252


@dataclass(frozen=True)
class Rounding:
    """Bytes for numbers from 0 to `top`; 0 stays 0, and nothing else becomes 0."""

    levels: int
    top: float = 1.0

    def codes(self, numbers: Tensor) -> NDArray[np.uint8]:
        """Return the byte of each number; `MASKED` is a code, as in `Cells`."""
        if numbers.numel() == 0:
            return np.zeros(tuple(numbers.shape), np.uint8)
        lowest, highest = (float(end) for end in numbers.aminmax())
        if lowest == highest and numbers.numel() > 1:  # of a causal mask half of the tiles
            return np.broadcast_to(self.codes(numbers.flatten()[:1]), numbers.shape)
        steps = numbers.clamp(min=0.0).div_(self.top).pow_(1 / _POWER).mul_(self.levels).add_(0.5)
        found = steps.clamp_(1.0, self.levels + 0.5).nan_to_num_(0.0).to(torch.uint8)
        if not lowest > 0.0 or not highest < torch.inf:
            for special, code in ((0.0, 0), (MASKED, _MASKED), (NOT_RECORDED, _NOT_RECORDED), (torch.inf, _INFINITE)):
                found.masked_fill_(numbers == special, code)
            found.masked_fill_(numbers.isnan(), _NAN)
        return np.asarray(found.cpu().numpy())

    def table(self) -> NDArray[np.float32]:
        """Return the number of each byte, float32 `(256,)`: the middle of what is rounded to it."""
        bounds = self._bounds()
        table = np.full(256, NOT_RECORDED, np.float32)
        table[: self.levels + 1] = (bounds[:-1] + bounds[1:]) / 2
        table[0], table[self.levels] = 0.0, self.top
        table[[_MASKED, _NOT_RECORDED, _NAN, _INFINITE]] = MASKED, NOT_RECORDED, np.nan, np.inf
        return table

    def error(self, number: float) -> float:
        """Return the most that a number is off; it grows with the number."""
        bounds = self._bounds()
        code = min(int(np.searchsorted(bounds, number, "right")) - 1, self.levels)
        # The largest numbers become `top` itself, the upper end of their step.
        return float(bounds[code + 1] - bounds[code]) / (1 if code == self.levels else 2)

    def _bounds(self) -> NDArray[np.float64]:
        """Return the ends of the steps, `levels + 2` numbers."""
        ends = (np.arange(self.levels + 2) - 0.5).clip(0, self.levels) / self.levels
        ends[1] = 0.0  # only 0 has code 0
        return np.asarray(ends**_POWER * self.top)
