"""The base of every stack of layers: copies of one layer, residuals, caches, and the names of the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, Self, TypeVar

from torch import Tensor, nn

from .._values import flag, instance, size
from ..errors import ArgumentError
from ..weights import AttentionWeights
from .cache import LayerCache, StackCache

Weights = dict[str, AttentionWeights]
"""The weights of each attention module, by its name relative to the module that returned them."""


class _Layer(Protocol):
    norm_first: bool

    @property
    def dropout(self) -> nn.Module: ...


def enter(layer: _Layer, x: Tensor, norm: nn.Module) -> Tensor:
    """Return the input of one half of a layer: normalised if the layer is pre-norm."""
    return norm(x) if layer.norm_first else x


def leave(layer: _Layer, x: Tensor, result: Tensor, norm: nn.Module) -> Tensor:
    """Return the output of one half of a layer: dropout, residual, then normalised if the layer is post-norm."""
    x = x + layer.dropout(result)
    return x if layer.norm_first else norm(x)


LayerT = TypeVar("LayerT", bound=nn.Module)


class LayerStack(nn.Module, Generic[LayerT]):
    """A sequence of copies of one layer, with an optional final normalisation."""

    layers: nn.ModuleList
    norm: nn.Module | None

    def __init__(self, layer: LayerT, num_layers: int, *, final_norm: bool | None = None) -> None:
        super().__init__()
        instance("layer", layer, nn.Module, "an EncoderLayer or DecoderLayer, the pattern of every layer")
        num_layers = size("num_layers", num_layers, 0)
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(num_layers))
        wanted = bool(layer.norm_first) if final_norm is None else flag("final_norm", final_norm)
        self.norm = copy.deepcopy(layer.get_submodule("feed_forward_norm")) if wanted else None
        self.reset_parameters()

    @classmethod
    def of_layers(cls, layers: Iterable[LayerT], norm: nn.Module | None = None) -> Self:
        """Build a stack of existing layers, which may differ, without copying them; `norm` normalises the result."""
        stack = cls.__new__(cls)
        nn.Module.__init__(stack)
        stack.layers = nn.ModuleList(layers)
        stack.norm = norm
        return stack

    def reset_parameters(self) -> None:
        """Re-initialise every parameter by its module's own `reset_parameters`."""
        for module in self.modules():
            reset = getattr(module, "reset_parameters", None)
            if reset is not None and module is not self:
                reset()

    def run_layers(
        self, x: Tensor, cache: StackCache | None, need_weights: bool, run: Callable[[Any, Tensor, Any], Any]
    ) -> Tensor | tuple[Tensor, Weights]:
        """Run all layers by `run(layer, x, its cache)`, and the final normalisation; with weights where wanted."""
        weights: Weights = {}
        for index, layer in enumerate(self.layers):
            result = run(layer, x, self.layer_cache(cache, index))
            x, found = output_and_weights(result, need_weights, f"layers.{index}")
            weights |= found
        if self.norm is not None:
            x = self.norm(x)
        return (x, weights) if need_weights else x

    def new_cache(self, max_length: int | None = None) -> StackCache:
        """Return an empty cache for decoding step by step; `max_length` reserves room for so many tokens."""
        return StackCache(len(self.layers), max_length)

    def layer_cache(self, cache: StackCache | None, index: int) -> LayerCache | None:
        """Return the cache of one layer."""
        if cache is None:
            return None
        if len(instance("cache", cache, StackCache, "a StackCache, from new_cache()").layers) != len(self.layers):
            raise ArgumentError(
                f"The cache was made for {len(cache.layers)} layers and this stack has {len(self.layers)}; "
                "use the stack's own new_cache()."
            )
        return cache.layers[index]


def output_and_weights(result: Any, need_weights: bool, prefix: str) -> tuple[Any, Weights]:
    """Return what a submodule returned as its output and its weights, named by its name; none unless asked for."""
    output, weights = result if need_weights else (result, {})
    return output, {f"{prefix}.{name}": matrix for name, matrix in weights.items()}
