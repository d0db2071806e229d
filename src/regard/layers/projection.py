"""The one linear map that every layer uses, so that a faster product has one place to come in."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Projection"]


class Projection(nn.Linear):
    """`nn.Linear` that starts as Xavier uniform with a bias of 0, and can compute only some of its outputs.

    Several maps of the same input may share one `Projection` (query, key and value do): one product in place of
    three, and still each can be had alone.
    """

    def reset_parameters(self) -> None:
        """Draw the weight anew, Xavier uniform; set the bias to 0."""
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def rows(self, input: Tensor, start: int, stop: int | None = None) -> Tensor:
        """Return the output features `start … stop - 1` alone."""
        bias = None if self.bias is None else self.bias[start:stop]
        return F.linear(input, self.weight[start:stop], bias)
