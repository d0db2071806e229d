"""A device that answers no question: the host that asks for a number of it, or copies and waits, is refused.

Its tensors are PyTorch's meta tensors, so shapes, dtypes and devices are real and no GPU is needed. The mode stands
where dispatch modes stand and is not seen by `regard._tracing`: what runs is what runs in an eager call on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = "meta"
_ASKS = {
    "aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "aten::equal", "aten::nonzero",
    "aten::masked_select", "aten::_unique2", "aten::unique_dim", "aten::repeat_interleave.Tensor", "aten::bincount",
}  # fmt: skip


class WaitsError(RuntimeError):
    """The host waited for the device."""


class _Refusing(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.name()
        tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)]
        told = kwargs.get("output_size") is not None
        if name in _ASKS and not told and any(x.device.type == DEVICE for x in tensors):
            raise WaitsError(f"{name} reads numbers of the device")
        if name in ("aten::_to_copy", "aten::copy_"):
            _check_copy(name, args, kwargs)
        return func(*args, **kwargs)


def _check_copy(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if name == "aten::copy_":
        target, source = args[0].device.type, args[1].device.type
        waits = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
    else:
        source = args[0].device.type
        target = torch.device(kwargs.get("device") or source).type
        waits = not kwargs.get("non_blocking")
    if source != target and DEVICE in (source, target) and (waits or source == DEVICE):
        raise WaitsError(f"{name} from {source} to {target} waits for the device")


@contextmanager
def no_waiting() -> Iterator[None]:
    """Refuse, inside the block, whatever makes the host wait for the device."""
    torch._C._push_on_torch_dispatch_stack(_Refusing())
    try:
        yield
    finally:
        torch._C._pop_torch_dispatch_stack(None)
