"""Which names are public, and the one place where each is explained."""

import importlib
import importlib.util
import inspect
import types
from functools import cache
from typing import Any

# Rooms in the order in which they claim a name: the first that lists it explains it.
ROOMS = (
    "regard",
    "regard.masks",
    "regard.biases",
    "regard.positions",
    "regard.linear",
    "regard.weights",
    "regard.backends.reference",
    "regard.layers",
    "regard.models",
    "regard.training",
    "regard.tasks",
    "regard.tasks.pretrained",
    "regard.tasks.reading",
    "regard.tasks.tokenizers",
    "regard.tasks.metrics",
    "regard.tasks.baselines",
    "regard.corpora",
    "regard.recorder",
    "regard.viewer",
    "regard.viewer.static",
    "regard.viewer.server",
    "regard.integrations",
    "regard.integrations.transformers",
    "regard.studies",
    "regard.errors",
)


@cache
def rooms() -> tuple[str, ...]:
    """Return the rooms that this version has."""
    return tuple(room for room in ROOMS if importlib.util.find_spec(room) is not None)


def names_of(room: str) -> list[str]:
    """Return the names that a room offers, modules left out."""
    module = importlib.import_module(room)
    return [name for name in module.__all__ if not isinstance(getattr(module, name), types.ModuleType)]


@cache
def places() -> dict[str, str]:
    """Map each public name (`regard.layers.ALiBi`) to the one under which it is explained."""
    first: dict[int, str] = {}
    found = {}
    for room in rooms():
        module = importlib.import_module(room)
        for name in names_of(room):
            thing = getattr(module, name)
            here = f"{room}.{name}"
            known = inspect.isclass(thing) or inspect.isfunction(thing)
            found[here] = first.setdefault(id(thing), here) if known else here
    return found


@cache
def homes() -> dict[tuple[str, str], str]:
    """Map the module in which a thing is written, and its name, to where it is explained."""
    return {
        (thing.__module__, thing.__qualname__): place
        for name, place in places().items()
        for thing in [_thing(name)]
        if inspect.isclass(thing) or inspect.isfunction(thing)
    }


def _thing(name: str) -> Any:
    room, _, last = name.rpartition(".")
    return getattr(importlib.import_module(room), last)
