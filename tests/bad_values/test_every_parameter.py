"""Each public parameter is given each wrong value; a public name without a row in the table fails."""

import importlib
import inspect
import re
import warnings

import pytest
import torch

from regard.errors import RegardError
from tests.bad_values.table import ELSEWHERE, MODULES, RESULTS, TABLE
from tests.bad_values.values import BAD


@pytest.mark.parametrize("name", TABLE)
def test_wrong_values_are_named(name: str) -> None:
    """The call works, or raises an error of ours that names the parameter; no parameter accepts every value."""
    row = TABLE[name]
    row.call(**row.valid)
    wrong = []
    for parameter in row.valid:
        refused = 0
        for kind, value in BAD.items():
            said = _said(name, {**row.valid, parameter: value})
            refused += said != ""
            words = "|".join(map(re.escape, (parameter, *row.words)))
            if said and not re.search(rf"^RegardError .*\b({words})\b", said, re.DOTALL):
                wrong.append(f"{parameter}={kind}: {said}")
        if not refused:
            wrong.append(f"{parameter}: every value is taken")
    assert not wrong, "\n".join(wrong)


def _said(name: str, arguments: dict[str, object]) -> str:
    """Return the error of a call; empty if it works."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            TABLE[name].call(**arguments)
        except RegardError as error:
            return f"RegardError {error}"
        except Exception as error:  # noqa: BLE001 - any other exception is a finding
            return f"{type(error).__name__} {error}"
    return ""


def test_every_public_name_has_a_row() -> None:
    """Every public name is in the table, is the type of a result, or is tested elsewhere."""
    known = {*TABLE, *RESULTS, *ELSEWHERE}
    known_things = {id(_thing(name)) for name in known if " " not in name}
    missing = []
    for module in MODULES:
        for name in importlib.import_module(module).__all__:
            thing = _thing(f"{module}.{name}")
            if callable(thing) and not _is_error(thing) and not _is_alias(thing) and id(thing) not in known_things:
                missing.append(f"{module}.{name}")
    assert not missing


def test_every_forward_has_a_row() -> None:
    """The `forward` of each layer and model has a row too."""
    missing = []
    for module in ("regard.layers", "regard.models"):
        for name in importlib.import_module(module).__all__:
            thing = _thing(f"{module}.{name}")
            forward = vars(thing).get("forward") if inspect.isclass(thing) else None
            takes = forward is not None and len(inspect.signature(forward).parameters) > 1
            if takes and f"{module}.{name}.forward" not in TABLE:
                missing.append(f"{module}.{name}")
    assert not missing


@pytest.mark.parametrize("name", [name for name in TABLE if " " not in name])
def test_every_parameter_is_in_the_row(name: str) -> None:
    """A row has all parameters of its callable."""
    parameters = inspect.signature(_thing(name)).parameters.values()
    ours = {one.name for one in parameters if one.kind is not one.VAR_KEYWORD} - {"self"}
    torchs = {"device", "dtype"} if name == "regard.layers.Projection" else set()
    assert set(TABLE[name].valid) == ours - torchs


def _thing(name: str) -> object:
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise LookupError(name)


def _is_error(thing: object) -> bool:
    return inspect.isclass(thing) and issubclass(thing, BaseException)


def _is_alias(thing: object) -> bool:
    return not (inspect.isclass(thing) or inspect.isfunction(thing) or inspect.ismodule(thing))
