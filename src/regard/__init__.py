"""regard: attention for transformers, with the speed of a fused kernel and a view of the weights."""

from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec
from types import ModuleType as _ModuleType

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


def __getattr__(name: str) -> _ModuleType:
    """Import a room when it is first asked for: `regard.tasks`, `regard.models`, `regard.integrations`, ..."""
    room = f"{__name__}.{name}"
    if name.startswith("_") or _find_spec(room) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _import_module(room)
