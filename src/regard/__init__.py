"""regard: attention for transformers, with the speed of a fused kernel and a view of the weights."""

from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING as _CHECKED
from typing import Any as _Any

if _CHECKED:
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

# Where each name is: imported when it is first asked for, so that `regard --help` need not wait for PyTorch.
_ROOMS = {
    "_attention": ("Explanation", "attention", "explain"),
    "backends": ("reference", "use_backend"),
    "layers": ("MultiHeadAttention", "Transformer"),
    "linear": ("linear_attention",),
    "recorder": ("Recording", "load", "watch"),
    "viewer": ("view",),
    "weights": ("AttentionWeights",),
}
_ROOM = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> _Any:
    """Import a name when it is first asked for, or a room: `regard.tasks`, `regard.models`, ..."""
    if name in _ROOM:
        found = globals()[name] = getattr(_import_module(f"{__name__}.{_ROOM[name]}"), name)
        return found
    room = f"{__name__}.{name}"
    if name.startswith("_") or _find_spec(room) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _import_module(room)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
