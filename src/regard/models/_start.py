"""Initialisation, and stochastic depth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers import Decoder, Encoder, FeedForward, MultiHeadAttention

STD = 0.02
"""Initial standard deviation of embeddings and output maps, as in BERT and GPT-2."""


class StochasticDepth(nn.Module):
    """Drop a residual for whole examples, in training; the others are scaled so that the mean does not change.

    Shapes: `(B, ...)` to the same. Source: Huang et al. 2016, arXiv:1603.09382.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, in training with whole examples set to 0."""
        if not self.training or self.probability == 0.0:
            return x
        kept = 1.0 - self.probability
        return x * torch.empty(len(x), *(1,) * (x.ndim - 1), device=x.device).bernoulli_(kept).div_(kept).to(x.dtype)

    def extra_repr(self) -> str:
        """Show the probability."""
        return f"probability={self.probability}"


def start_stack(stack: Encoder | Decoder, stochastic_depth: float = 0.0) -> None:
    """Scale the last map of each residual by 1 / sqrt(residuals): the initial variance does not grow with depth.

    Otherwise the maps keep their Xavier initialisation. Also sets each layer's share of `stochastic_depth`.
    Source: Radford et al. 2019 (GPT-2), section 2.3, for the scale.
    """
    last = [
        part.output if isinstance(part, MultiHeadAttention) else part.down
        for part in stack.modules()
        if isinstance(part, MultiHeadAttention | FeedForward)
    ]
    with torch.no_grad():
        for projection in last:
            projection.weight.mul_(len(last) ** -0.5)
    if stochastic_depth:
        for index, layer in enumerate(stack.layers):
            probability = stochastic_depth * (index + 1) / len(stack.layers)
            layer.dropout = nn.Sequential(layer.get_submodule("dropout"), StochasticDepth(probability))


def start_head(head: nn.Linear) -> None:
    """Initialise an output map with small weights, so that all labels start about equally likely, and bias 0."""
    nn.init.normal_(head.weight, std=STD)
    if head.bias is not None:
        nn.init.zeros_(head.bias)
