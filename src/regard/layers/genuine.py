"""Checks before a conversion: only parameters are read, so a module must compute exactly what its class does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import FunctionType
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from ..errors import ArgumentError

# Hooks that only recompute a parameter before each call (pruning, weight and spectral norm).
_RECOMPUTED = (prune.BasePruningMethod, WeightNorm, SpectralNorm)
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_PLAIN = (nn.Parameter, Tensor)
_HELPERS = ("torch", "regard", "contextlib", "functools", "abc", "typing", "typing_extensions")


def genuine(part: Any, name: str, kinds: Iterable[type]) -> None:
    """Raise `ArgumentError` unless a module is exactly of one of these classes, unmodified, and holds real numbers.

    Args:
        part: the submodule to check.
        name: its name in the error.
        kinds: exact classes; a subclass may compute something else.

    A parameter that is parametrised, normalised or pruned counts with its current value; in training mode it is
    refused, since the copy would go on training without the reparametrisation.
    """
    kind = kind_of(part)
    if kind not in kinds:
        known = " or ".join(dict.fromkeys(one.__name__ for one in kinds))
        raise ArgumentError(
            f"{name} is a {type(part).__name__}, not exactly a {known}: it may compute something else. Put a {known} "
            "of the same function in its place, or convert the parts that are."
        )
    found = disguise(part)
    if found is not None:
        raise ArgumentError(f"{name} cannot be converted: {found}.")


def disguise(part: nn.Module) -> str | None:
    """Return what makes a module compute something else than its class and parameters imply, or None."""
    kind, name = kind_of(part), type(part).__name__
    replaced = _replaced(kind)
    if replaced is not None:
        return f"{replaced} was replaced by another function; restore it before converting"
    patched = [name for name, value in vars(part).items() if callable(value) and callable(getattr(kind, name, None))]
    if patched:
        return f"its {', '.join(patched)} was replaced on the object; delete that before converting"
    for hook in _foreign_hooks(part):
        if not isinstance(hook, _RECOMPUTED):
            return f"it has a hook ({_name_of(hook)}) that may change what it computes; remove it before converting"
        if part.training:
            return f"{_name_of(hook)} computes a parameter of it anew; remove that, or convert in eval mode"
        hook(part, ())
    if parametrize.is_parametrized(part) and part.training:
        names = ", ".join(getattr(part, "parametrizations"))  # noqa: B009 - made by torch
        return f"its {names} is parametrised; call torch.nn.utils.parametrize.remove_parametrizations, or eval()"
    for key, tensor in part.named_parameters(recurse=False):
        if type(tensor) not in _PLAIN or not tensor.is_floating_point():
            return (
                f"its {key} is a {type(tensor).__name__} of {tensor.dtype}, not a plain tensor of floating numbers; "
                f"convert the {name} before it is quantised, sharded or filled"
            )
    return None


def kind_of(part: Any) -> type:
    """Return the original class of a module, which `torch.nn.utils.parametrize` replaces by a subclass."""
    kind = type(part)
    return kind.__mro__[1] if isinstance(part, nn.Module) and parametrize.is_parametrized(part) else kind


def own_parameters(module: nn.Module) -> None:
    """Raise `ArgumentError` if two modules share a parameter: each would get its own copy."""
    seen: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        other = seen.setdefault(id(parameter), name)
        if other != name:
            raise ArgumentError(
                f"{other} and {name} are one parameter, which a conversion would part. Give each its own "
                "(copy.deepcopy of the layer) before converting."
            )


def one_mode(modules: Iterable[nn.Module]) -> None:
    """Raise `ArgumentError` if some modules with dropout are in training mode and others are not."""
    if len({module.training for module in modules}) > 1:
        raise ArgumentError(
            "Some parts with dropout are in training mode and others are not, which the converted layer could not "
            "keep. Call .train() or .eval() on the whole module before converting."
        )


def _replaced(kind: type) -> str | None:
    """Return the name of a method that was replaced by one from outside its class, or None.

    Decided by the function's globals: a patch can copy a function's name, but not its globals.
    """
    for base in kind.__mro__[: kind.__mro__.index(nn.Module)]:
        homes = {base.__module__.split(".")[0], *_HELPERS}
        for name, method in vars(base).items():
            if isinstance(method, FunctionType) and method.__globals__.get("__name__", "").split(".")[0] not in homes:
                return f"{base.__name__}.{name}"
    return None


def _foreign_hooks(part: nn.Module) -> Iterator[Callable[..., Any]]:
    """Yield the hooks of a module except those of regard and transformers, which change nothing."""
    for store in _HOOKS:
        for hook in getattr(part, store).values():
            if str(getattr(hook, "__module__", "")).split(".")[0] not in ("regard", "transformers"):
                yield hook


def _name_of(hook: object) -> str:
    return str(getattr(hook, "__qualname__", type(hook).__name__))
