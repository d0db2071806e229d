"""The directive `room`: a room of the package with every public name, each explained in one place."""

import importlib
import inspect
import typing
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from public_names import names_of, places

_OPERATORS = "__and__, __getitem__, __matmul__, __len__, __iter__, __call__, __enter__, __exit__"


class Room(Directive):
    """`.. room:: regard.masks` writes the module's docstring and what autodoc says of each name."""

    required_arguments = 1
    has_content = False

    def run(self) -> list[nodes.Node]:
        """Write autodoc's directives and read them."""
        room = self.arguments[0]
        module = importlib.import_module(room)
        lines = [f".. automodule:: {room}", "   :no-members:", "", f".. currentmodule:: {room}", ""]
        elsewhere = []
        for name in sorted(names_of(room), key=lambda name: _kind(getattr(module, name))):
            place = places()[f"{room}.{name}"]
            if place == f"{room}.{name}":
                lines += _directive(room, name, getattr(module, name))
            else:
                elsewhere.append(f":py:obj:`{name} <{place}>`")
        if elsewhere:
            lines += ["", "Explained elsewhere: " + ", ".join(elsewhere) + ".", ""]
        holder = nodes.section()
        holder.document = self.state.document
        self.state.nested_parse(StringList(lines, source=f"room {room}"), self.content_offset, holder)
        return holder.children


def _kind(thing: Any) -> int:
    """Functions stand first, then classes, then constants."""
    return 0 if inspect.isfunction(thing) else 1 if inspect.isclass(thing) else 2


def _directive(room: str, name: str, thing: Any) -> list[str]:
    if inspect.isclass(thing):
        options = ["   :members:", "   :show-inheritance:", f"   :special-members: {_OPERATORS}"]
        return [f".. autoclass:: {room}.{name}", *options, ""]
    if inspect.isfunction(thing):
        # The signatures of overloads, one below the other, say less than the whole one.
        whole = str(inspect.signature(thing)) if typing.get_overloads(thing) else ""
        return [f".. autofunction:: {room}.{name}{whole.replace(chr(39), '')}", ""]
    return [f".. autodata:: {room}.{name}", ""]


def _bases(app: Any, name: str, thing: Any, options: Any, bases: list[Any]) -> None:
    """Leave out what every class has."""
    bases[:] = [base for base in bases if base is not object]


def setup(app: Any) -> dict[str, bool]:
    """Join the build."""
    app.add_directive("room", Room)
    app.connect("autodoc-process-bases", _bases)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
