"""The directive `room`: a room of the package with every public name, each explained in one place."""

import importlib
import inspect
import re
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from public_names import names_of, places
from sphinx.pycode import ModuleAnalyzer

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
        options = ["   :members:", f"   :special-members: {_OPERATORS}"]
        options += ["   :show-inheritance:"] if thing.__bases__ != (object,) else []
        return [f".. autoclass:: {room}.{name}", *options, ""]
    if inspect.isfunction(thing):
        return [f".. autofunction:: {room}.{name}", ""]
    return [f".. autodata:: {room}.{name}", ""]


def _signature(app: Any, what: str, name: str, thing: Any, options: Any, signature: Any, returned: Any) -> Any:
    """Leave out what only catches wrong names."""
    return re.sub(r", \*\*unknown: ~?[\w.]+", "", signature or "") or None, returned


def _whole_signatures() -> None:
    """Show the one signature that holds for all overloads: one below the other they say less."""
    analyze = ModuleAnalyzer.analyze

    def without_overloads(self: ModuleAnalyzer) -> None:
        analyze(self)
        self.overloads.clear()

    ModuleAnalyzer.analyze = without_overloads


def setup(app: Any) -> dict[str, bool]:
    """Join the build."""
    _whole_signatures()
    app.connect("autodoc-process-signature", _signature)
    app.add_directive("room", Room)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
