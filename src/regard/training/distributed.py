"""Several processes that train one model: what torchrun tells each, and what they tell each other."""

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

# How long a process waits for another: the first one evaluates alone, which may take hours. A process that is gone is
# noticed at once by torchrun, which ends the others.
PATIENCE = timedelta(days=1)


class FirstProcessError(RegardError, RuntimeError):
    """The first process met an error in work that it does for all."""


class Group:
    """The processes of a run; a run of one process is a group of one."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.size = dist.get_world_size() if dist.is_initialized() else 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and tells listeners."""
        return self.rank == 0

    def gathered(self, figures: list[float]) -> Tensor:
        """Return the figures of every process: (size, figures), float64."""
        mine = torch.tensor(figures, dtype=torch.float64)
        if self.size == 1:
            return mine[None]
        mine = mine.to(self.device)
        rows = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(rows, mine)
        return torch.stack(rows).cpu()

    def told(self, thing: Any) -> Any:
        """Return to every process what the first one has: plain values, paths and dataclasses of them."""
        if self.size == 1:
            return thing
        box = [thing]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def first_does(self, work: Callable[[], Result]) -> Result:
        """Do something in the first process alone; return to all what it returned (as for `told`).

        Raises:
            FirstProcessError: in the other processes, where the first one raises its own error; so none waits for ever.
        """
        if self.size == 1:
            return work()
        answer: Any = None
        failure: Exception | None = None
        if self.first:
            try:
                answer = work()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is raised again when all know of it
                failure = error
        said = None if failure is None else f"{type(failure).__name__}: {failure}"
        answer, said = self.told((answer, said))
        if failure is not None:
            raise failure
        if said is not None:
            raise FirstProcessError(f"The first process could not go on, so this one ends as well: {said}")
        return answer  # type: ignore[no-any-return]

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the first one's values of some tensors, in place."""
        if self.size > 1:
            for tensor in tensors:
                here = tensor.to(self.device)
                dist.broadcast(here, src=0)
                if here is not tensor:
                    tensor.copy_(here)

    def wait(self) -> None:
        """Return when every process is here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def group(device: str) -> Iterator[Group]:
    """Join the processes that torchrun started; alone where it started none.

    Raises:
        DeviceError: a GPU was asked for and there is none.
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
    # Processes that part and join again may take each other's old addresses and wait for ever, so they stay together
    # until the program ends, and it may train again.
    atexit.register(_part)
    yield Group(place)


def _part() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


class WithLoss(nn.Module):
    """A model and its loss as one forward pass, as DDP and FSDP ask for."""

    def __init__(self, model: nn.Module, loss: Callable[[nn.Module, Any], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Return the sum of the losses of a batch, and of how many tokens."""
        return self._loss(self.model, batch)


class Wrapped:
    """The model as training calls it: alone, copied to each process (DDP), or shared out (FSDP2)."""

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
        # Sharding changes a model for good, so a copy is trained and the weights are handed back.
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
        """Return the context of one pass: gradients travel between processes in the last one only."""
        if isinstance(self._reduces, DistributedDataParallel) and not last:
            return self._reduces.no_sync()
        if isinstance(self._reduces, FSDPModule):
            self._reduces.set_requires_gradient_sync(last)
        return nullcontext()


def _units(model: nn.Module) -> list[nn.Module]:
    """Return what FSDP2 gathers at a time: each layer of each stack."""
    return [layer for module in model.modules() if isinstance(module, nn.ModuleList) for layer in module]
