"""Models whose calls are caught, and what is compared: a step as it is and while somebody watches."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import regard
from regard.recorder import Recording

Found = TypeVar("Found")


class Calls(nn.Module):
    """A model whose forward pass is a function, around parts that it may call."""

    def __init__(self, function: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *given: Any) -> Any:
        return self.function(*given)


class Marked(Tensor):
    """A tensor of somebody's own."""


class Operations(TorchDispatchMode):
    """Notes the operations that run, with their arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[tuple[str, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ran.append((func.__name__, args))
        return func(*args, **(kwargs or {}))


class HandMadeAttention(Calls):
    """The same under a name by which a module that computes attention itself is found."""


def plain_and_watched(model: nn.Module, step: Callable[[], Found], **settings: Any) -> tuple[Found, Found, Recording]:
    """Take a step of a model as it is, and again from the same seed while it is watched."""
    found = []
    for around in (nullcontext(Recording()), regard.watch(model, **settings)):
        torch.manual_seed(3)
        with around as recording:
            found.append(step())
    return found[0], found[1], recording


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    """Return what a loss leaves in the parameters of a model."""
    model.zero_grad()
    loss.backward()
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def distance(found: Tensor, expected: Tensor) -> float:
    """Return ‖found − expected‖ / ‖expected‖; NaN never passes a comparison."""
    found, expected = found.double(), expected.double()
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))
