"""regard: attention for transformers, with the speed of a fused kernel and a view of the weights."""

from . import biases, errors, masks
from ._attention import Explanation, attention, explain
from .backends import reference, use_backend
from .linear import linear_attention
from .weights import AttentionWeights

__all__ = [
    "AttentionWeights",
    "Explanation",
    "attention",
    "biases",
    "errors",
    "explain",
    "linear_attention",
    "masks",
    "reference",
    "use_backend",
]

__version__ = "0.1.0"
