"""Checks of single argument values, with uniform messages: the name, the given value, the rule.

A size may be any integer (Python's, NumPy's, a 0-dimensional integer tensor) and is returned as Python's; `True` and
"3" are not accepted. The symbolic numbers of torch's compiler and tracer are passed through.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import types
from collections.abc import Collection, Mapping, Sequence, Set
from numbers import Real
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor

from ._tracing import quiet
from .errors import ArgumentError, ArgumentTypeError, DeviceError, DtypeError, ShapeError, nearest

LARGEST = 2**31 - 1
"""The largest size: rows and keys are counted in 32 bits."""
_UNBOUNDED = 2**62
_INTEGERS = (
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64,
)  # fmt: skip
_T = TypeVar("_T")


def described(given: object) -> str:
    """Return a value as shown in an error: numbers and short texts as they are, else its type.

    >>> described(-1), described(torch.zeros(2, 3)), described([])
    ('-1', 'a float32 tensor of shape (2, 3)', '[]')
    """
    if isinstance(given, Tensor):
        return f"a {str(given.dtype).removeprefix('torch.')} tensor of shape {tuple(given.shape)}"
    if isinstance(given, np.ndarray):
        return f"a NumPy array of {given.dtype} of shape {given.shape}"
    if given is None or isinstance(given, bool | Real | complex | str | bytes | list | tuple | dict | np.generic):
        text = repr(given)
        return text if len(text) <= 80 else f"{text[:60]}… (a {type(given).__name__})"
    return f"a {getattr(given, '__name__', 'function')}" if callable(given) else f"a {type(given).__name__}"


def whole(name: str, given: Any, low: int | None = None, high: int | None = None) -> int:
    """Return a whole number, `low <= given <= high`. Raises `ArgumentTypeError`, `ArgumentError`.

    >>> whole("heads", np.int8(3)), whole("heads", torch.tensor(3))
    (3, 3)
    """
    # Under torch.jit.trace and in exporters, a size is a tensor.
    if isinstance(given, Tensor) and torch.jit.is_tracing():  # type: ignore[no-untyped-call, attr-defined]
        return given  # type: ignore[return-value]
    if type(given) is not int and not isinstance(given, torch.SymInt):
        boolean = isinstance(given, bool | np.bool_) or getattr(given, "dtype", None) in (torch.bool, np.bool_)
        if boolean or getattr(given, "ndim", 0) != 0 or not hasattr(given, "__index__"):
            raise ArgumentTypeError(f"{name} is {described(given)}; it must be {_whole_rule(low, high)}.")
        try:
            given = operator.index(given)
        except (TypeError, RuntimeError):  # for fractions, and for tensors without data
            raise ArgumentTypeError(f"{name} is {described(given)}; it must be {_whole_rule(low, high)}.") from None
    if (low is not None and given < low) or (high is not None and given > high):
        raise ArgumentError(f"{name} is {given}; it must be {_whole_rule(low, high)}.")
    found: int = given
    return found


def size(name: str, given: Any, low: int = 1) -> int:
    """Return a size, `low` or more. Raises `ArgumentTypeError`, `ArgumentError`."""
    found = whole(name, given, low)
    if type(found) is int and found > LARGEST:
        raise ArgumentError(f"{name} is {found}; sizes end at {LARGEST}.")
    return found


def _whole_rule(low: int | None, high: int | None) -> str:
    rule = "a whole number" + ("" if low is None else f" >= {low}")
    return rule if high is None else f"{rule}{'' if low is None else ' and'} <= {high}"


def number(
    name: str,
    given: Any,
    low: float = -float("inf"),
    high: float = float("inf"),
    *,
    rule: str | None = None,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return a finite number between `low` and `high`, each inclusive unless it is open.

    A tensor is refused, since it would silently lose its gradient. Raises `ArgumentTypeError`, `ArgumentError`.
    """
    rule = rule or _number_rule(low, high, open_low, open_high)
    if type(given) not in (int, float) and not isinstance(given, torch.SymFloat | torch.SymInt):
        if isinstance(given, bool | np.bool_) or not isinstance(given, Real):
            learnt = " A factor that is learnt is multiplied into the query." if isinstance(given, Tensor) else ""
            raise ArgumentTypeError(f"{name} is {described(given)}; it must be {rule}.{learnt}")
        given = float(given)
    elif type(given) is int and abs(given) > 2**53:  # torch accepts integers of at most 64 bits
        given = float(given) if abs(given) < 2**1000 else math.copysign(math.inf, given)
    above = low < given if open_low else low <= given
    below = given < high if open_high else given <= high
    if not (above and below and -float("inf") < given < float("inf")):
        raise ArgumentError(f"{name} is {described(given)}; it must be {rule}.")
    found: float = given
    return found


def _number_rule(low: float, high: float, open_low: bool, open_high: bool) -> str:
    parts = []
    if low > -float("inf"):
        parts.append(f"{'>' if open_low else '>='} {low:g}")
    if high < float("inf"):
        parts.append(f"{'<' if open_high else '<='} {high:g}")
    return "a finite number" + (f" {' and '.join(parts)}" if parts else "")


def probability(name: str, given: Any) -> float:
    """Return a probability in [0, 1). Raises `ArgumentTypeError`, `ArgumentError`."""
    return number(name, given, 0, 1, rule="a probability in [0, 1), 0 for none", open_high=True)


def flag(name: str, given: Any, rule: str = "True or False") -> bool:
    """Return True or False; 1 and 0 are accepted too. Raises `ArgumentTypeError` for other truthy or falsy values."""
    if isinstance(given, bool):
        return given
    single = isinstance(given, np.bool_) or (isinstance(given, Tensor) and given.dtype == torch.bool and not given.ndim)
    if not single and not (type(given) is int and given in (0, 1)):
        raise ArgumentTypeError(f"{name} is {described(given)}; it must be {rule}.")
    return bool(given)


def choice(name: str, given: _T, choices: Collection[Any]) -> _T:
    """Return one of `choices`, all strings. Raises `ArgumentError` with the nearest one."""
    if not isinstance(given, str) or given not in choices:
        listed = ", ".join(map(repr, choices))
        error = ArgumentError if isinstance(given, str) else ArgumentTypeError
        hint = nearest(given, choices) if isinstance(given, str) else ""
        raise error(f"{name} is {described(given)}.{hint} It must be one of {listed}.")
    return given


def instance(name: str, given: Any, kinds: type[_T] | tuple[type[_T], ...], rule: str) -> _T:
    """Return a value if it is an instance of a class. Raises `ArgumentTypeError`."""
    if not isinstance(given, kinds):
        raise ArgumentTypeError(f"{name} is {described(given)}; it must be {rule}.")
    return given


def tensor(name: str, given: Any) -> Tensor:
    """Return a tensor. Raises `DtypeError`."""
    if not isinstance(given, Tensor):
        raise DtypeError(f"{name} is {described(given)}; give a torch.Tensor (torch.from_numpy for NumPy).")
    return given


def listed(name: str, given: Any) -> list[Any]:
    """Return the items of a list, tuple, array or column. Raises `ArgumentTypeError`, also for a string."""
    plain = hasattr(given, "__len__") and hasattr(given, "__iter__") and getattr(given, "ndim", 1) > 0
    if not plain or isinstance(given, str | bytes | Mapping | Set | type):
        one = " is one string;" if isinstance(given, str | bytes) else f" is {described(given)};"
        raise ArgumentTypeError(f"{name}{one} give a list.")
    return list(given)


def floating(name: str, given: Any) -> Tensor:
    """Return a tensor of floating numbers. Raises `DtypeError`."""
    if not tensor(name, given).is_floating_point():
        raise DtypeError(f"{name} is {described(given)}; it must be floating, so convert it with .float().")
    found: Tensor = given
    return found


def device_of(name: str, given: Any) -> torch.device:
    """Return a `torch.device` from its name or index. Raises `DeviceError`."""
    try:
        device = torch.device(given)
    except (RuntimeError, TypeError, ValueError):
        raise DeviceError(
            f"{name} is {described(given)}, which is no device; give 'cpu', 'cuda:0', or a torch.device."
        ) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"{name} is {str(device)!r}; PyTorch finds {torch.cuda.device_count()} GPUs here.")
    return device


def onto(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Return a tensor on a device; the host does not wait where it only sends."""
    if tensor.device.type != "cpu":
        return tensor.to(device)
    # What comes from ordinary memory is read before CUDA returns, so it may change or be freed at once.
    return tensor.to(device, non_blocking=torch.device(device).type in ("cuda", "meta"))


def integers(name: str, given: Any, ranks: Collection[int], rule: str, *, wide: bool = True) -> Tensor:
    """Return whole numbers as an int64 tensor: from a tensor or array of any integer dtype, a number or lists.

    Numbers beyond 64 bits mean "unlimited" and become ±2⁶²; unless `wide`, they are refused (a uint64
    keeps its bits). Raises `DtypeError`, `ShapeError`, `ArgumentTypeError`; `rule` says what is expected.
    """
    found = _integer_tensor(name, given, rule, wide)
    if found.dtype not in _INTEGERS:
        raise (DtypeError if isinstance(given, Tensor) else ArgumentTypeError)(
            f"{name} is {described(given)}; the rule is {rule}."
        )
    if found.ndim not in ranks:
        raise ShapeError(f"{name} has shape {tuple(found.shape)}; the rule is {rule}.")
    numbers = found.to(torch.int64)
    return torch.where(numbers < 0, _UNBOUNDED, numbers) if wide and found.dtype == torch.uint64 else numbers


def _integer_tensor(name: str, given: Any, rule: str, wide: bool) -> Tensor:
    if isinstance(given, Tensor):
        return given
    if isinstance(given, str | bytes | bool | None | dict | set):
        raise ArgumentTypeError(f"{name} is {described(given)}; the rule is {rule}.")
    if isinstance(given, Sequence) and not given:  # torch would convert an empty list to a float tensor
        return torch.empty(0, dtype=torch.int64, device="cpu")
    try:
        with quiet():
            return torch.as_tensor(given, device="cpu")
    except (TypeError, ValueError, RuntimeError, OverflowError):
        numbers = _numpy_integers(given, wide)
        if numbers is None:
            raise ArgumentTypeError(f"{name} is {described(given)}; the rule is {rule}.") from None
        return torch.from_numpy(numbers)


def _numpy_integers(given: Any, wide: bool) -> np.ndarray[Any, Any] | None:
    """Return integers that torch cannot read: any byte order, and if `wide` any size, within ±2⁶²; else None."""
    try:
        every = np.asarray(given)
        if every.dtype.kind in "iu":
            return every.astype(f"={every.dtype.kind}{every.dtype.itemsize}")
        if not wide:
            return None
        every = np.asarray(given, dtype=object)
        within = [max(-_UNBOUNDED, min(_UNBOUNDED, whole("number", one))) for one in every.reshape(-1)]
    except (ValueError, TypeError):
        return None
    return np.array(within, np.int64).reshape(every.shape)


def check_fields(settings: Any) -> None:
    """Check each field of a frozen dataclass by its annotation, and convert it; ranges are checked by the class.

    Integers become Python's, lists become tuples. Raises `ArgumentTypeError`, `ArgumentError`.
    """
    for name, hint in _hints(settings.__class__).items():
        object.__setattr__(settings, name, _of_kind(name, getattr(settings, name), hint))


def check_sizes(settings: Any, *names: str, low: int = 1) -> None:
    """Raise `ArgumentError` unless these fields are `low` or more, or None."""
    for name in names:
        if getattr(settings, name) is not None:
            size(name, getattr(settings, name), low)


def check_shares(settings: Any, *names: str, whole: bool = False) -> None:
    """Raise `ArgumentError` unless these fields are probabilities in [0, 1), `whole` ones included, or None."""
    for name in names:
        given = getattr(settings, name)
        if given is not None and whole:
            number(name, given, 0, 1)
        elif given is not None:
            probability(name, given)


@functools.cache
def _hints(settings: type[Any]) -> dict[str, Any]:
    every = get_type_hints(settings)
    return {field.name: every[field.name] for field in dataclasses.fields(settings)}


def _of_kind(name: str, given: Any, hint: Any) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        if given is None and len(kinds) < len(get_args(hint)):
            return None
        literals = [value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]
        if literals and len(literals) >= len(kinds):
            return choice(name, given, literals)
        if isinstance(given, str) and given in literals:
            return given
        rest = [kind for kind in kinds if get_origin(kind) is not Literal]
        return _of_kind(name, given, rest[0]) if len(rest) == 1 else given
    if origin is Literal:
        return choice(name, given, get_args(hint))
    if origin is tuple:
        return _tuple(name, given, get_args(hint))
    plain = {int: whole, float: _any_number, bool: flag, str: _text}.get(hint)
    if plain is not None:
        return plain(name, given)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return instance(name, given, hint, f"a {hint.__name__}")
    return given


def _tuple(name: str, given: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(given, tuple | list):
        raise ArgumentTypeError(f"{name} is {described(given)}; it must be a list.")
    if kinds[-1] is Ellipsis:
        return tuple(_of_kind(f"{name}[{place}]", one, kinds[0]) for place, one in enumerate(given))
    if len(given) != len(kinds):
        raise ArgumentError(f"{name} is {described(given)}; it must be {len(kinds)} values.")
    return tuple(
        _of_kind(f"{name}[{place}]", one, kind) for place, (one, kind) in enumerate(zip(given, kinds, strict=True))
    )


def _any_number(name: str, given: Any) -> float:
    return given if isinstance(given, float) and given in (float("inf"), -float("inf")) else number(name, given)


def _text(name: str, given: Any) -> str:
    return instance(name, given, str, "a string")
