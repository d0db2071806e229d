"""Which room of the package may import which: the table, and the reading of the imports."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Highest first. A room imports from any line below its own. On one line, `|` separates rooms
# that must not import each other and `·` rooms that may.
FLOORS = """
cli
tasks | viewer | studies
training | recorder | corpora
models
integrations
layers
doors
_attention | recordings
positions · weights · linear
_checks
backends
_inputs
masks | biases | _drawing
_mask_parts
_values | _server
_tracing · errors | _files
"""

# The package's own table of contents, and the file behind `python -m regard`.
OUTSIDE = {"__init__", "__main__"}


class Import(NamedTuple):
    """One imported name as a path from the package down, `()` being the package itself."""

    target: tuple[str, ...]
    line: int


def parse_floors(table: str = FLOORS) -> dict[str, tuple[int, int]]:
    """Return for each room its floor (0 is the lowest) and its group, whose rooms may import each other."""
    places = {}
    for floor, line in enumerate(reversed(table.strip().splitlines())):
        for group, rooms in enumerate(line.split("|")):
            for room in rooms.split("·"):
                places[room.strip()] = (floor, group)
    return places


def imports(source: str, module: tuple[str, ...], is_package: bool) -> Iterator[Import]:
    """List what a file imports from its own package, anywhere in the file.

    `module` is the file's path below the package: `("backends", "math")`.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for name in node.names:
                first, *rest = name.name.split(".")
                if first == "regard":
                    yield Import(tuple(rest), node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, module, is_package)
            if base is not None:
                for name in node.names:
                    yield Import((*base, name.name), node.lineno)


def _base(node: ast.ImportFrom, module: tuple[str, ...], is_package: bool) -> tuple[str, ...] | None:
    """Resolve the `x` of `from x import y`; None when it lies outside the package."""
    named = tuple(node.module.split(".")) if node.module else ()
    if node.level == 0:
        return named[1:] if named[0] == "regard" else None
    above = node.level - (1 if is_package else 0)
    return (*module[: len(module) - above], *named)


def violations(source: str, module: tuple[str, ...], is_package: bool) -> list[str]:
    """List, a line each, the imports of a file that the table forbids."""
    room = module[0] if module else "__init__"
    if room in OUTSIDE:
        return []
    places = parse_floors()
    if room not in places:
        return [f"{room}: has no floor; give it one in tests/architecture/floors.py"]
    found = []
    for target, line in imports(source, module, is_package):
        reason = _why_not(room, target, places)
        if reason:
            found.append(f"{'.'.join(module)}:{line}: {reason}")
    return found


def _why_not(room: str, target: tuple[str, ...], places: dict[str, tuple[int, int]]) -> str:
    """Return why an import is forbidden; empty if it is allowed."""
    if not target or target[0] not in places:
        name = ".".join(("regard", *target))
        return "" if room == "cli" else f"imports {name}: import from the room that holds it"
    other = target[0]
    if other == room:
        return ""
    here, there = places[room], places[other]
    if there[0] > here[0]:
        return f"{room} imports {other}, which is above it"
    if there[0] == here[0] and there[1] != here[1]:
        return f"{room} imports {other}, its sibling"
    if any(part.startswith("_") for part in target[1:]):
        return f"{room} imports {'.'.join(target)}, which is private to {other}"
    return ""


def module_path(file: Path, package: Path) -> tuple[tuple[str, ...], bool]:
    """Return a file's path below the package, and whether it is an `__init__`."""
    parts = file.relative_to(package).with_suffix("").parts
    if parts[-1] == "__init__":
        return parts[:-1], True
    return parts, False
