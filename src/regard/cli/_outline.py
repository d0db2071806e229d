"""The options of every command without what runs them: help and completion are printed before PyTorch is imported.

`python -m regard.cli._outline` writes `outline.json` from the commands themselves, and from it the scripts that
complete in a shell; a test compares them.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import io
import json
import re
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

from ._commands import COMMANDS
from .completion import SHELLS, place

FILE = Path(__file__).with_name("outline.json")
# Names in the types and defaults of options.
NAMES: dict[str, Any] = {"Path": Path, "PosixPath": Path, "WindowsPath": Path, "Literal": Literal, "None": None}
MARKS = {"positional": tyro.conf.Positional, "hidden": tyro.conf.Suppress, "flat": tyro.conf.OmitArgPrefixes}


def outlined(command: str) -> Any:
    """Return a command's dataclass, or the dictionary of a group, with options and help alone."""
    found = _stored()[command]
    return _read(found) if "fields" in found else {name: _read(one) for name, one in found.items()}


def written() -> str:
    """Return what the file should hold: every command's options, from its dataclass."""
    every = {}
    for name, entry in COMMANDS.items():
        found = entry.load()
        every[name] = {one: _write(it) for one, it in found.items()} if isinstance(found, dict) else _write(found)
    return json.dumps(every, ensure_ascii=False, indent=0) + "\n"


def script(shell: str) -> str:
    """Return what completes in a shell; tyro writes it, except for tcsh, where all options are offered everywhere."""
    groups = {name: found for name in COMMANDS if isinstance(found := outlined(name), dict)}
    if shell == "tcsh":
        options = sorted(set(re.findall(r"'(--[a-z][a-z0-9-]*)'", script("bash"))))
        rules = [f"c/--/({' '.join(options)})/", f"p/1/({' '.join(COMMANDS)})/"]
        rules += [f"n/{name}/({' '.join(found)})/" for name, found in groups.items()]
        return f"# tcsh completion for regard\ncomplete regard {' '.join(map(repr, rules))} 'p/*/f/'\n"
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        whole = _choice({name: outlined(name) for name in COMMANDS})
        tyro.cli(whole, prog="regard", args=["--tyro-print-completion", shell])
    # Choices that may be None come from a set, in an order that differs from run to run.
    return re.sub(r"(?<='choices': )\[[^]]*\]", lambda found: str(sorted(ast.literal_eval(found[0]))), said.getvalue())


def _choice(commands: dict[str, Any]) -> Any:
    """Return the union type of all commands, including groups of commands."""
    parts = tuple(
        Annotated[_choice(found) if isinstance(found, dict) else found, tyro.conf.subcommand(name)]
        for name, found in commands.items()
    )
    return Union[parts]  # noqa: UP007 - made at run time


@functools.cache
def _stored() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def _write(command: Any, values: Any = None) -> dict[str, Any]:
    """Return a dataclass as JSON; `values` is the instance that holds the defaults, unless they are the class's own."""
    from tyro._docstrings import get_callable_description, get_field_docstring

    hints = get_type_hints(command, include_extras=True)
    fields = []
    for field in dataclasses.fields(command):
        hint = hints[field.name]
        kind, *marks = get_args(hint) if get_origin(hint) is Annotated else [hint]
        said: Any = next((mark for mark in marks if hasattr(mark, "help")), tyro.conf.arg())
        entry = {
            "name": field.name,
            "typed": said.name,
            "marks": [name for name, mark in MARKS.items() if mark in marks],
            "help": said.help or get_field_docstring(command, field.name, ()),
        }
        default = getattr(values, field.name) if values is not None else _default(field)
        if dataclasses.is_dataclass(kind):
            fields.append({**entry, "kind": _write(kind, default)})
        else:
            known = {} if default is dataclasses.MISSING else {"default": repr(default)}
            fields.append({**entry, "kind": _spelled(kind), **known})
    return {"class": command.__name__, "doc": get_callable_description(command), "fields": fields}


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _spelled(kind: Any) -> str:
    """Return a type as an expression of `NAMES` and builtins."""
    if get_origin(kind) in (Union, UnionType):
        return " | ".join(_spelled(part) for part in get_args(kind))
    if get_origin(kind) is Literal:
        return f"Literal[{', '.join(map(repr, get_args(kind)))}]"
    if get_origin(kind) is tuple:
        return f"tuple[{', '.join('...' if part is ... else _spelled(part) for part in get_args(kind))}]"
    return "None" if kind is type(None) else str(kind.__name__)


def _read(stored: dict[str, Any]) -> type[Any]:
    fields: list[tuple[str, Any, Any]] = []
    kind: Any
    for one in stored["fields"]:
        known: dict[str, Any] = {}
        if isinstance(one["kind"], dict):
            kind = _read(one["kind"])
            known["default_factory"] = kind
        else:
            kind = eval(one["kind"], dict(NAMES))
            known |= {"default": eval(one["default"], dict(NAMES))} if "default" in one else {}
        marks = [MARKS[name] for name in one["marks"]]
        if one["help"] or one["typed"]:
            marks.append(tyro.conf.arg(name=one["typed"], help=one["help"]))
        for mark in marks:
            kind = Annotated[kind, mark]
        fields.append((one["name"], kind, dataclasses.field(**known)))
    return dataclasses.make_dataclass(stored["class"], fields, frozen=True, namespace={"__doc__": stored["doc"]})


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
    for shell in SHELLS:
        place(shell).write_text(script(shell), encoding="utf-8")
