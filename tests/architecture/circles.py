"""Circles of imports inside a room, and reaching for what another room keeps private."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from torch import Tensor

from tests.architecture.floors import imports

Module = tuple[str, ...]


class Source(NamedTuple):
    """One file of the package."""

    text: str
    is_package: bool


def circles(sources: Mapping[Module, Source]) -> list[list[str]]:
    """List the circles of modules that import each other, wherever in the file and for whatever purpose."""
    edges = {module: set(_imported(module, sources)) for module in sources}
    reach = {module: _reachable(module, edges) for module in edges}
    found = {frozenset(other for other in reach[one] if one in reach[other]) for one in edges if one in reach[one]}
    return sorted(sorted(".".join(module) for module in circle) for circle in found)


def _imported(module: Module, sources: Mapping[Module, Source]) -> Iterator[Module]:
    for target, _ in imports(sources[module].text, module, sources[module].is_package):
        while target and target not in sources:
            target = target[:-1]
        if target and target != module:
            yield target


def _reachable(module: Module, edges: Mapping[Module, set[Module]]) -> set[Module]:
    found: set[Module] = set()
    waiting = [module]
    while waiting:
        new = edges[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def trespasses(sources: Mapping[Module, Source]) -> set[str]:
    """List, by file and name, attributes with an underscore that only another room of the package defines."""
    defined: dict[str, set[str]] = defaultdict(set)
    for module, source in sources.items():
        defined[module[0]] |= set(_definitions(ast.parse(source.text)))
    found = set()
    for module, source in sources.items():
        others = set().union(*(names for room, names in defined.items() if room != module[0])) - defined[module[0]]
        for node in ast.walk(ast.parse(source.text)):
            if isinstance(node, ast.Attribute) and node.attr in others and not _outside(node):
                found.add(f"{'.'.join(module)} {node.attr}")
    return found


def _definitions(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        name = ""
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        if name.startswith("_") and not name.endswith("__"):
            yield name


def _outside(node: ast.Attribute) -> bool:
    """Say whether an attribute is one of PyTorch's, or of its tensors."""
    root: ast.AST = node
    while isinstance(root, ast.Attribute | ast.Call | ast.Subscript):
        root = root.func if isinstance(root, ast.Call) else root.value
    return hasattr(Tensor, node.attr) or (isinstance(root, ast.Name) and root.id in ("torch", "F"))
