"""regard: attention for transformers, with the speed of a fused kernel and a view of the weights."""

from . import biases, errors, layers, masks, positions
from ._attention import Explanation, attention, explain
from .backends import reference, use_backend
from .layers import MultiHeadAttention, Transformer
from .linear import linear_attention
from .recorder import Recording, load, watch
from .viewer import view
from .weights import AttentionWeights

__all__ = [
    "AttentionWeights",
    "Explanation",
    "MultiHeadAttention",
    "Recording",
    "Transformer",
    "attention",
    "biases",
    "errors",
    "explain",
    "layers",
    "linear_attention",
    "load",
    "masks",
    "positions",
    "reference",
    "use_backend",
    "view",
    "watch",
]

__version__ = "0.1.0"
