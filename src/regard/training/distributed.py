"""Several processes that train one model: joining the group of torchrun, and exchanging values."""

from __future__ import annotations

import atexit
import copy
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from ..errors import ArgumentError, DeviceError, RegardError

Result = TypeVar("Result")

# Timeout of collectives: the first process evaluates alone while the others wait, which may take hours. torchrun
# notices at once when a process has died, and ends the others.
PATIENCE = timedelta(days=1)


class FirstProcessError(RegardError, RuntimeError):
    """Work that the first process does for all of them failed."""


class Group:
    """The processes of a run; a run of one process is a group of one."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.size = dist.get_world_size() if dist.is_initialized() else 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes files and calls listeners."""
        return self.rank == 0

    def all_gather(self, figures: list[float]) -> Tensor:
        """All-gather: return the figures of every process, `(size, figures)`, float64."""
        mine = torch.tensor(figures, dtype=torch.float64)
        if self.size == 1:
            return mine[None]
        mine = mine.to(self.device)
        rows = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(rows, mine)
        return torch.stack(rows).cpu()

    def broadcast(self, thing: Any) -> Any:
        """Broadcast an object from the first process: plain values, paths and dataclasses of them."""
        if self.size == 1:
            return thing
        box = [thing]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def first_does(self, work: Callable[[], Result]) -> Result:
        """Run a function in the first process only; return its result in every process (by `broadcast`).

        Raises:
            FirstProcessError: in the other processes, if it fails (the first raises the error itself); so none hangs.
        """
        if self.size == 1:
            return work()
        answer: Any = None
        failure: Exception | None = None
        if self.first:
            try:
                answer = work()
            except Exception as error:  # noqa: BLE001 - raised again below, once every process knows
                failure = error
        said = None if failure is None else f"{type(failure).__name__}: {failure}"
        answer, said = self.broadcast((answer, said))
        if failure is not None:
            raise failure
        if said is not None:
            raise FirstProcessError(f"The first process could not go on, so this one ends as well: {said}")
        return answer  # type: ignore[no-any-return]

    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Broadcast tensors from the first process, in place."""
        if self.size > 1:
            for tensor in tensors:
                here = tensor.to(self.device)
                dist.broadcast(here, src=0)
                if here is not tensor:
                    tensor.copy_(here)


@contextmanager
def group(device: str) -> Iterator[Group]:
    """Join the processes that torchrun started, if any; without torchrun, a group of one.

    Raises:
        DeviceError: a GPU was requested and there is none.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("The device is 'cuda' and PyTorch finds no GPU; leave the device on 'auto' or take 'cpu'.")
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if on_gpu:
        torch.cuda.set_device(local)
    place = torch.device("cuda", local) if on_gpu else torch.device("cpu")
    started = dist.is_torchelastic_launched() or int(os.environ.get("WORLD_SIZE", "1")) > 1
    if not started or dist.is_initialized():
        yield Group(place)
        return
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
    # The group is kept until the program ends, also for a second training: processes that leave and join again may read
    # each other's old address and hang.
    atexit.register(_part)
    yield Group(place)


def half_precision(precision: str, device: torch.device) -> bool:
    """Return whether a run computes in bf16: if told to, or by "auto" where the device does so natively."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(bool(able.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _part() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


class WithLoss(nn.Module):
    """A model and its loss as one module, because DDP and FSDP hook into `forward`."""

    def __init__(self, model: nn.Module, loss: Callable[[nn.Module, Any], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Return the sum of the losses of a batch, and the number of tokens."""
        return self._loss(self.model, batch)


class Wrapped:
    """The model as training calls it: alone, replicated in each process (DDP), or sharded (FSDP2)."""

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[nn.Module, Any], tuple[Tensor, Tensor]],
        processes: Group,
        *,
        shard: bool,
        compiled: bool,
    ) -> None:
        self.sharded = shard
        if shard and not dist.is_initialized():
            raise ArgumentError("shard=True shares the model out over processes; start them with torchrun.")
        # Sharding changes a model irreversibly, so a copy is trained and its weights are copied back.
        self.model = copy.deepcopy(model) if shard else model
        self.model.to(processes.device)
        called: nn.Module = WithLoss(self.model, loss)
        if shard:
            for unit in _units(self.model):
                fully_shard(unit)
            fully_shard(called)
        elif processes.size > 1:
            called = DistributedDataParallel(
                called, device_ids=[processes.device.index] if processes.device.type == "cuda" else None
            )
        self._reduces = called
        self.call: Callable[[Any], tuple[Tensor, Tensor]] = torch.compile(called) if compiled else called

    def gathers(self, last: bool) -> AbstractContextManager[None]:
        """Return the context of one pass: gradients are reduced between processes in the last pass of a step only."""
        if isinstance(self._reduces, DistributedDataParallel) and not last:
            return self._reduces.no_sync()
        if isinstance(self._reduces, FSDPModule):
            self._reduces.set_requires_gradient_sync(last)
        return nullcontext()


def _units(model: nn.Module) -> list[nn.Module]:
    """Return the modules that FSDP2 shards as units: each layer of each stack, inner ones first.

    A stack that is never called as a whole, but layer by layer, is what FSDP2 needs; stacks inside of a layer belong
    to the layer.
    """
    stacks = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    return [
        layer
        for name, module in stacks.items()
        if not any(name.startswith(f"{other}.") for other in stacks)
        for layer in module
    ]
