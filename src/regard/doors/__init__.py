"""The doors: functions through which attention is called, whose calls are caught, and their listeners.

`F.scaled_dot_product_attention`, `F.multi_head_attention_forward`, `regard.attention`, and softmax in a module that is
named after attention. A call becomes arguments of `regard.attention`, or says in one sentence why not, and passes
through every listener, innermost block first.
"""

from ._call import Call, Given, Result, Run
from ._checkpointing import join, runs_again
from ._doors import NAMES, Listener
from ._mask_reader import MaskReader
from ._model import ModelListener
from ._multi_head import NAME as MULTI_HEAD
from ._nested import FAST_PATHS, has_nested, padded
from ._returned import Frame, found_in, weights_of_softmax, why_nothing
from ._scaled_dot_product import NAME as SCALED_DOT_PRODUCT
from ._scaled_dot_product import ScaledDotProduct

__all__ = [
    "FAST_PATHS",
    "MULTI_HEAD",
    "NAMES",
    "SCALED_DOT_PRODUCT",
    "Call",
    "Frame",
    "Given",
    "Listener",
    "MaskReader",
    "ModelListener",
    "Result",
    "Run",
    "ScaledDotProduct",
    "found_in",
    "has_nested",
    "join",
    "padded",
    "runs_again",
    "weights_of_softmax",
    "why_nothing",
]
