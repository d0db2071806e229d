"""Whether the layers of a model are what its class and its configuration say: `to_regard` reads no more than these."""

from __future__ import annotations

from typing import Any

from torch import nn

from ...errors import ArgumentError
from ...layers.genuine import disguise, kind_of, own_parameters
from ._package import hugging_face

_ACTIVATIONS = {"act", "act_fn", "activation", "activation_fn", "intermediate_act_fn"}
_SHARED = ("torch.nn.modules.", "transformers.activations", "transformers.pytorch_utils")


def layers_of(model: Any, path: str, ours: Any, activation: str) -> nn.ModuleList:
    """Return the list of layers at `path` of a base model, all of it as transformers has it.

    Args:
        model: the base model of a family.
        path: where its layers are.
        ours: our layer for it, with the dropouts that the configuration says.
        activation: what the configuration says.

    Raises `ArgumentError` with the part that is something else.
    """
    home = type(model).__module__
    if not home.startswith("transformers.models."):
        raise ArgumentError(
            f"to_regard was given a {type(model).__name__} of {home}, whose code may compute something else than the "
            "class of transformers it is made from. Give it that class."
        )
    names = path.split(".")
    for end in range(len(names)):
        part_of(model, ".".join(names[:end]))
    layers: Any = part_of(model, path)
    for name, _ in layers.named_modules():
        part_of(model, f"{path}.{name}" if name else path)
    own_parameters(layers)
    _check_dropout(path, layers, {ours.dropout.p, ours.feed_forward.dropout.p, ours.self_attention.dropout})
    _check_activation(path, layers, activation)
    return layers  # type: ignore[no-any-return]


def part_of(model: nn.Module, path: str) -> nn.Module:
    """Return a part of a base model, or raise `ArgumentError` if it is not what the family has there."""
    part = model.get_submodule(path)
    kind, home = kind_of(part), type(model).__module__
    found = disguise(part)
    if kind.__module__ != home and not kind.__module__.startswith(_SHARED):
        found = f"it is a {kind.__name__} of {kind.__module__}, which the family does not have there"
    if found is not None:
        raise ArgumentError(f"{path or 'The model'} ({type(part).__name__}) cannot be converted: {found}.")
    return part


def _check_dropout(path: str, layers: nn.ModuleList, said: set[float]) -> None:
    for name, part in layers.named_modules():
        if isinstance(part, nn.Dropout) and part.p not in said:
            raise ArgumentError(
                f"{path}.{name} drops with {part.p}, and the configuration of the model says "
                f"{' or '.join(map(str, sorted(said)))}. Set the configuration to it and build the model anew."
            )


def _check_activation(path: str, layers: nn.ModuleList, activation: str) -> None:
    known = type(hugging_face("activations").ACT2FN[activation])
    for name, part in layers.named_modules():
        if isinstance(part, known):
            continue
        held = {**vars(part), **dict(part.named_children())}
        for key, value in held.items():
            if key in _ACTIVATIONS and type(value) is not known:
                raise ArgumentError(
                    f"{path}.{name}.{key} is {value!r}, and the configuration of the model says {activation!r}. Set "
                    "one to the other before converting."
                )
