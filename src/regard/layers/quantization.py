"""A warning for `torch.ao.quantization`, which silently skips subclasses of the modules that it replaces."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

from torch import nn

_PROPAGATES = "propagate_qconfig_"
_THEIRS = ("torch.", "typing_extensions")


def tell_if_passed_over(part: nn.Module, configuration: object) -> None:
    """Warn that modules of the class of `part`, to which torch.ao assigns a `qconfig`, will not be quantised.

    Warns once a model, for its first such module. `quantize_dynamic`, `prepare` and `prepare_qat` all lead here.
    """
    frame: FrameType | None = sys._getframe(1)
    level, meant = 2, configuration is not None
    while frame is not None and frame.f_code.co_name != _PROPAGATES:
        frame, level = frame.f_back, level + 1
    if frame is not None:
        root, asked = frame.f_locals["module"], frame.f_locals["qconfig_dict"] or {}
        if part is not next(module for module in root.modules() if type(module) is type(part)):
            return
        meant = meant or nn.Linear in asked or any(isinstance(name, str) for name in asked)
        while frame is not None and frame.f_globals.get("__name__", "").startswith(_THEIRS):
            frame, level = frame.f_back, level + 1
    if meant:
        warnings.warn(
            f"torch.ao.quantization exchanges nn.Linear itself and no subclass: every {type(part).__name__} of regard "
            "in this model stays in floating point. Quantise with torchao, which takes them: "
            "torchao.quantization.quantize_(model, Int8WeightOnlyConfig()).",
            UserWarning,
            stacklevel=level,
        )
