"""No module imports itself by way of others, and no room reaches into what is private to another."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.architecture.floors import imports, module_path

PACKAGE = Path(__file__).parents[2] / "src" / "regard"
# Modules of a circle that is known; each goes when its circle does.
CIRCLES: set[frozenset[str]] = {frozenset({"cli", "cli.completion"})}
# Attributes that a file may use though another room made them.
REACHES: set[tuple[str, str]] = set()
Module = tuple[str, ...]


def sources() -> dict[Module, tuple[str, bool]]:
    """Return the text of each module of the package, and whether it is an `__init__`."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        module, is_package = module_path(file, PACKAGE)
        found[module] = file.read_text("utf-8"), is_package
    return found


def circles(modules: Mapping[Module, tuple[str, bool]]) -> set[frozenset[str]]:
    """Return the modules that import each other, directly or by way of others, wherever in a file that stands."""
    graph = {
        module: {_module(target, modules) for target, _ in imports(text, module, is_package)} - {module, ()}
        for module, (text, is_package) in modules.items()
    }
    reach = {module: _reachable(module, graph) for module in graph}
    together = (frozenset(n for n in reach[m] if m in reach[n]) for m in graph if m in reach[m])
    return {frozenset(".".join(one) for one in circle) for circle in together}


def _module(target: Module, modules: Mapping[Module, object]) -> Module:
    """Return the module that an imported name lies in."""
    while target and target not in modules:
        target = target[:-1]
    return target


def _reachable(module: Module, graph: Mapping[Module, set[Module]]) -> set[Module]:
    found: set[Module] = set()
    waiting = [*graph[module]]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += graph[one]
    return found


def reaches(modules: Mapping[Module, tuple[str, bool]]) -> list[tuple[str, str]]:
    """List the files that use a private attribute that only another room has, each with the attribute.

    What a class uses of itself is no reach: it may have inherited it.
    """
    own: dict[str, set[str]] = {}
    used: dict[Module, set[str]] = {}
    for module, (text, _) in modules.items():
        tree = ast.parse(text)
        own.setdefault(_room(module), set()).update(_private_names(tree))
        used[module] = {
            node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and not _is_self(node.value)
        }
    found = set()
    for module, names in used.items():
        others = set[str]().union(*(private for room, private in own.items() if room != _room(module)))
        found |= {(".".join(module), name) for name in names & (others - own[_room(module)])}
    return sorted(found)


def _room(module: Module) -> str:
    return module[0] if module else ""


def _is_self(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def _private_names(tree: ast.Module) -> Iterator[str]:
    """Yield the private attributes of classes: methods, fields, and what they set on themselves."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for part in ast.walk(node):
                if isinstance(part, ast.FunctionDef):
                    name = part.name
                elif isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store) and _is_self(part.value):
                    name = part.attr
                elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    name = part.id
                else:
                    continue
                if name.startswith("_") and not name.endswith("__"):
                    yield name


def test_no_module_imports_itself_by_way_of_others() -> None:
    """There are no circles but those that are known, and those that are known are there."""
    assert circles(sources()) == CIRCLES


def test_no_room_reaches_into_another() -> None:
    """A private attribute is used by its own room."""
    assert set(reaches(sources())) == REACHES


@pytest.mark.parametrize(
    "text", ["from .b import x", "from . import b", "import regard.a.b", "def f():\n    from .b import x"]
)
def test_a_circle_is_seen(text: str) -> None:
    """Of two files and of three, at the top or inside a function; a chain is none."""
    files: dict[Module, tuple[str, bool]] = {("a", "b"): ("from .c import y", False), ("a", "c"): ("", False)}
    files[("a", "start")] = (text, False)
    assert circles(files) == set()
    files[("a", "c")] = ("from .start import z", False)
    assert circles(files) == {frozenset({"a.start", "a.b", "a.c"})}
    files[("a", "c")] = ("from .b import z", False)
    assert circles(files) == {frozenset({"a.b", "a.c"})}


def test_a_reach_is_seen() -> None:
    """A private attribute of another room, but not one of its own, nor what no class of the package has."""
    files: dict[Module, tuple[str, bool]] = {
        ("weights", "matrix"): ("class W:\n    def __init__(self): self._source = 1", False),
        ("viewer",): ("def f(w, t): return w._source, t._version", False),
    }
    assert reaches(files) == [("viewer", "_source")]
    files[("viewer",)] = ("class V:\n    _source = 1\ndef f(w): return w._source", False)
    assert reaches(files) == []
