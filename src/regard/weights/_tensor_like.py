"""What lets a lazy matrix stand where code expects a Tensor: the operation runs on the whole matrix, if that fits.

`torch.stack(attentions)`, `weights.mean(1)`, `weights - target` build the matrix with `dense()`, within its bound, and
give plain tensors. What would write into the matrix is refused: it is stored nowhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ..errors import ArgumentError, TooLargeError, nearest

if TYPE_CHECKING:
    import numpy as np

# What is known of a matrix without a single entry.
_FORM = frozenset(
    "size dim ndimension numel nelement element_size itemsize nbytes layout stride is_contiguous is_floating_point "
    "is_complex is_signed is_sparse is_quantized is_nested".split()
)
_DEVICES = frozenset({"is_cpu", "is_cuda", "is_mps", "is_xpu", "is_meta"})
# Of the graph that a tensor of its own would stand in.
_GRAPH = frozenset(
    "backward grad grad_fn is_leaf retain_grad retains_grad register_hook data_ptr storage untyped_storage".split()
)


def _operator(name: str) -> Callable[[TensorLike, Any], Any]:
    operation = getattr(Tensor, name)

    def run(self: TensorLike, other: Any) -> Any:
        if not isinstance(other, Tensor | TensorLike | bool | int | float) and not hasattr(other, "__array__"):
            return NotImplemented
        if not isinstance(other, Tensor | TensorLike | bool | int | float):
            other = torch.as_tensor(other, device=self.device)
        return _run(operation, (self, other), {})

    run.__name__, run.__doc__ = name, f"Run `{name}` on the whole matrix."
    return run


class TensorLike(ABC):
    """A matrix that is computed when it is read, with the interface of a Tensor."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Sizes of the matrix."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Dtype of its entries."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the answers lie."""

    @abstractmethod
    def detach(self) -> Any:
        """Return the matrix without its graph, still lazy."""

    @abstractmethod
    def __getitem__(self, index: Any) -> Tensor:
        """Return a part of it."""

    @abstractmethod
    def dense(self, *, max_bytes: int | None = None) -> Tensor:
        """Return the whole matrix."""

    @abstractmethod
    def moved(self, device: torch.device | str) -> Any:
        """Return the matrix on another device, still lazy."""

    def to(
        self,
        *given: torch.device | str | int | torch.dtype | Tensor | bool,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        non_blocking: bool = False,
        copy: bool = False,
    ) -> Any:
        """Return the weights on another device, still lazy; with another dtype the whole matrix as a tensor.

        Takes what `Tensor.to` takes. Copies O(n) to another device; refuses like `dense` where the dtype changes.
        """
        for one in given:
            if isinstance(one, Tensor | TensorLike):
                device, dtype = one.device, one.dtype
            elif isinstance(one, torch.dtype):
                dtype = one
            elif not isinstance(one, bool):  # bools say non_blocking and copy
                device = one
        place = self.device if device is None else torch.device(device)
        if dtype is not None and dtype != self.dtype:
            return _whole(self, "to").to(place, dtype)
        return self.moved(place)

    @property
    def data(self) -> Any:
        """The weights without gradient, still lazy."""
        return self.detach()

    def cpu(self) -> Any:
        """Return the weights on the CPU, still lazy."""
        return self.to("cpu")

    def cuda(self, device: torch.device | str | int | None = None, non_blocking: bool = False) -> Any:
        """Return the weights on a GPU, still lazy."""
        return self.to("cuda" if device is None else device)

    def float(self) -> Any:
        """Return the weights in float32: still lazy where they are that."""
        return self.to(torch.float32)

    def double(self) -> Any:
        """Return the weights in float64: still lazy where they are that."""
        return self.to(torch.float64)

    def numpy(self, *, force: bool = False) -> np.ndarray[Any, Any]:
        """Return the whole matrix as a NumPy array, without gradient; refuses like `dense`."""
        with torch.no_grad():
            array: np.ndarray[Any, Any] = self.dense().cpu().numpy(force=force)
        return array

    def __array__(self, dtype: np.typing.DTypeLike | None = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Return the whole matrix to NumPy; refuses like `dense`."""
        if copy is False:
            raise ValueError("attention weights are not stored, so NumPy cannot have them without a copy.")
        return self.numpy() if dtype is None else self.numpy().astype(dtype, copy=False)

    def __iter__(self) -> Iterator[Tensor]:
        """Go through the first dimension; each part is computed when it comes."""
        return (self[place] for place in range(self.shape[0]))

    def __getattr__(self, name: str) -> Any:
        """Return the method or attribute that a Tensor of this shape has under a name that weights do not have."""
        kind = type(self).__name__
        if name.startswith("_") or not hasattr(Tensor, name):
            known = [word for word in (*dir(type(self)), *dir(Tensor)) if not word.startswith("_")]
            raise AttributeError(f"{kind} has no attribute {name!r}.{nearest(name, known)}")
        if name in _FORM:
            return getattr(torch.empty(self.shape, dtype=self.dtype, device="meta"), name)
        if name in _DEVICES:
            return self.device.type == name.removeprefix("is_")
        if name in _GRAPH or name.endswith("_"):
            raise AttributeError(
                f"{kind} has no attribute {name!r}: the matrix is not stored, it is computed when it is read. "
                f"Take it as a tensor first: whole = weights.dense(), then whole.{name}."
            )
        found = getattr(Tensor, name)
        if not callable(found):
            return getattr(_whole(self, name), name)

        def method(*args: Any, **settings: Any) -> Any:
            return _run(found, (self, *args), settings)

        method.__name__, method.__doc__ = name, f"Run `Tensor.{name}` on the whole matrix."
        return method

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        """Refuse: there is nothing to write to."""
        _refuse_writing("an entry")

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of PyTorch on the whole matrix."""
        return _run(function, args, kwargs or {})

    def __dlpack__(self, *, stream: Any = None) -> Any:
        """Hand the whole matrix to another library, without gradient."""
        return _whole(self, "dlpack").detach().__dlpack__(stream=stream)

    def __dlpack_device__(self) -> Any:
        """Say where the matrix would lie."""
        return torch.empty(0, device=self.device).__dlpack_device__()

    def __array_function__(self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a function of NumPy on the whole matrix."""
        given = tree_map(lambda one: one.numpy() if isinstance(one, TensorLike) else one, (args, kwargs))
        return function(*given[0], **given[1])

    def __neg__(self) -> Tensor:
        """Return the whole matrix, negative."""
        return -_whole(self, "-")

    def __abs__(self) -> Tensor:
        """Return the whole matrix, which is what it is: weights are not negative, value-weighted ones neither."""
        return _whole(self, "abs").abs()

    __hash__ = object.__hash__
    __eq__, __ne__ = _operator("__eq__"), _operator("__ne__")
    __lt__, __le__ = _operator("__lt__"), _operator("__le__")
    __gt__, __ge__ = _operator("__gt__"), _operator("__ge__")
    __add__, __radd__ = _operator("__add__"), _operator("__radd__")
    __sub__, __rsub__ = _operator("__sub__"), _operator("__rsub__")
    __mul__, __rmul__ = _operator("__mul__"), _operator("__rmul__")
    __truediv__, __rtruediv__ = _operator("__truediv__"), _operator("__rtruediv__")
    __floordiv__, __mod__ = _operator("__floordiv__"), _operator("__mod__")
    __pow__, __rpow__ = _operator("__pow__"), _operator("__rpow__")


def _run(function: Any, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
    """Run a function on whole matrices, unless it would write to one."""
    name = str(getattr(function, "__name__", function))
    target = (
        args[0] if args and (name == "__setitem__" or name.startswith("__i") or name.strip("_") + "_" == name) else None
    )
    if isinstance(target, TensorLike) or isinstance(settings.get("out"), TensorLike):
        _refuse_writing(f"what {name} gives")
    given = tree_map(lambda one: _whole(one, name) if isinstance(one, TensorLike) else one, (args, settings))
    return function(*given[0], **given[1])


def _whole(weights: TensorLike, name: str) -> Tensor:
    try:
        return weights.dense()
    except TooLargeError as error:
        raise TooLargeError(f"{name.strip('_')} takes the whole matrix as a tensor. {error}") from error


def _refuse_writing(what: str) -> NoReturn:
    raise ArgumentError(
        f"{what} was to be written into attention weights, which are computed when they are read and never "
        "stored. Take them as a tensor first, whole = weights.dense(), and write to that."
    )
