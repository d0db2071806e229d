"""Saving and restoring a run's weights and optimizer state as named tensors, sharded or not."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save as save_together

from .checkpoint import Checkpoint, CheckpointError, write_tensors

MODEL, OPTIMIZER = "model.", "optimizer."


def save(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, sharded: bool, first: bool) -> None:
    """Write the weights and the optimizer's state; every process of a sharded run takes part.

    A sharded run writes through torch's distributed checkpoints, each process its own shard, as
    safetensors and JSON.
    """
    if sharded:
        writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
        try:
            save_together({**weights(model), **optimizer_state(model, optimizer)}, storage_writer=writer)
        except CheckpointException as error:
            raise CheckpointError(f"The checkpoint could not be written to {folder}: {_reason(error)}.") from error
    elif first:
        write_tensors(folder, {**weights(model), **optimizer_state(model, optimizer)})


def restore(
    checkpoint: Checkpoint, model: nn.Module, optimizer: torch.optim.Optimizer | None, *, sharded: bool
) -> None:
    """Load the state of a checkpoint into a model, and into its optimizer if there is one.

    Raises:
        CheckpointError: it belongs to another model, or only one of checkpoint and run is sharded.
    """
    if checkpoint.state["sharded"] != sharded:
        was, now = ("sharded", "is not") if checkpoint.state["sharded"] else ("not sharded", "is")
        raise CheckpointError(f"{checkpoint.path} is of a run that was {was}; this one {now}. Go on as it was begun.")
    wanted = weights(model) if optimizer is None else {**weights(model), **optimizer_state(model, optimizer)}
    if sharded:
        try:
            load(wanted, storage_reader=HuggingFaceStorageReader(str(checkpoint.path)))  # in place
        except CheckpointException as error:
            raise CheckpointError(
                f"{checkpoint.path} does not fit this model: {_reason(error)}. Train in another folder, or with the "
                "model that this one was begun with."
            ) from error
        return
    found = {name: tensor for name, tensor in checkpoint.tensors().items() if optimizer or name.startswith(MODEL)}
    _check_same(checkpoint.path, found, wanted)
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(found[name])


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights and buffers of a model, each once even where layers share it."""
    seen: set[int] = set()
    named = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            named[MODEL + name] = tensor.detach()
    return named


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return AdamW's state of each weight; before the first step it is initialised with zeros."""
    named = {}
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        state = optimizer.state[weight]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=weight.device)
            state["exp_avg"] = torch.zeros_like(weight.detach())
            state["exp_avg_sq"] = torch.zeros_like(weight.detach())
        named.update({f"{OPTIMIZER}{name}.{part}": tensor for part, tensor in state.items()})
    return named


def full_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return every weight, unsharded, on the CPU; every process of a sharded run takes part."""
    tensors = {name.removeprefix(MODEL): tensor for name, tensor in weights(model).items()}
    return {
        name: (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).cpu().clone()
        for name, tensor in tensors.items()
    }


def load_weights(model: nn.Module, named: dict[str, Tensor]) -> None:
    """Load the weights that `full_weights` returned into a model."""
    with torch.no_grad():
        for name, tensor in weights(model).items():
            tensor.copy_(named[name.removeprefix(MODEL)])


def _reason(error: CheckpointException) -> str:
    """Return the errors of the processes, a short line each."""
    return "; ".join(f"process {rank}: {str(failure[0])[:300]}" for rank, failure in sorted(error.failures.items()))


def _check_same(path: Path, found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    different = sorted(set(found) ^ set(wanted)) or sorted(
        name for name in wanted if found[name].shape != wanted[name].shape
    )
    if different:
        there, here = (_shape(tensors.get(different[0])) for tensors in (found, wanted))
        others = f", and {len(different) - 1} others do not fit either" if len(different) > 1 else ""
        raise CheckpointError(
            f"{path} is of another model: {different[0]} is {there} there and {here} here{others}. "
            "Train in another folder, or with the model that this one was begun with."
        )


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"
