"""The kind of each name in a Python file, by Python's own scoping rules, from the syntax tree.

A name is what its binding makes it. Where two bindings of one scope differ (`try: import x`, `except: x = None`)
the first of `argument class function module variable` holds. A builtin is a class or a function, whichever it is;
what `from m import x` imports is a module if the library has such a file. The rest is decided by spelling and
use: `LikeThis` is a class, a name that the file calls is a function, all others are variables.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

KINDS = ("argument", "attribute", "class", "function", "module", "variable")
Place = tuple[int, int]
_FIRST = ("argument", "class", "function", "module", "from", "variable")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_BUILTINS = {
    name: "class" if isinstance(value, type) else "function"
    for name, value in vars(builtins).items()
    if callable(value) and not name.startswith("_")
}


@dataclass(frozen=True, slots=True)
class Names:
    """The kinds of the names of a file."""

    places: dict[Place, str]
    """The kind of the name that starts at a line (from 1) and a column (in bytes, from 0)."""
    declared: dict[tuple[int, str], str]
    """The kind of each name in the `global` or `nonlocal` statement that starts at a line."""


def names_of(tree: ast.Module, is_module: Callable[[str, int, str], bool]) -> Names:
    """Return the kind of each name. `is_module(m, dots, x)` tells whether `from m import x` imports a module."""
    reader = _Reader(is_module)
    reader.walk(tree, reader.top)
    places = {place: reader.kind_of(name, scope) for place, name, scope in reader.uses} | reader.kinds
    return Names(places, {(line, name): reader.kind_of(name, scope) for line, name, scope in reader.declared})


class _Scope:
    def __init__(self, parent: _Scope | None, is_class: bool = False) -> None:
        self.parent = parent
        self.is_class = is_class
        self.bound: dict[str, str] = {}
        self.elsewhere: dict[str, _Scope | None] = {}

    def bind(self, name: str, kind: str) -> None:
        scope = self.elsewhere.get(name) or self
        old = scope.bound.get(name, kind)
        scope.bound[name] = min(old, kind, key=_FIRST.index)

    def find(self, name: str) -> str | None:
        scope: _Scope | None = self.elsewhere.get(name) or self
        while scope is not None:
            if name in scope.bound and (scope is self or not scope.is_class):
                return scope.bound[name]
            scope = scope.parent
        return _BUILTINS.get(name)


class _Reader:
    """Records bindings on its walk, and each use, which is resolved when all bindings are known."""

    def __init__(self, is_module: Callable[[str, int, str], bool]) -> None:
        self.top = _Scope(None)
        self.uses: list[tuple[Place, str, _Scope]] = []
        self.kinds: dict[Place, str] = {}
        self.declared: list[tuple[int, str, _Scope]] = []
        self.called: set[str] = set()
        self.is_module = is_module

    def walk(self, node: ast.AST, scope: _Scope) -> None:
        if isinstance(node, ast.JoinedStr):
            return  # names inside a string annotation are not words of the window
        if isinstance(node, _FUNCTIONS):
            self._function(node, scope)
        elif isinstance(node, ast.ClassDef):
            scope.bind(node.name, "class")
            self._all((*node.decorator_list, *node.bases, *node.keywords), scope)
            self._all(node.body, _Scope(scope, is_class=True))
        elif isinstance(node, _COMPREHENSIONS):
            self._all([node.generators[0].iter], scope)
            inner = _Scope(scope)
            first = node.generators[0].iter
            self._all(_children_without(node, first), inner)
        else:
            self._simple(node, scope)
            self._all(ast.iter_child_nodes(node), scope)

    def _all(self, nodes: Iterable[ast.AST], scope: _Scope) -> None:
        for node in nodes:
            self.walk(node, scope)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scope: _Scope) -> None:
        inner = _Scope(scope)
        arguments = node.args
        outside: list[ast.AST] = [*arguments.defaults, *(item for item in arguments.kw_defaults if item is not None)]
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        named += [item for item in (arguments.vararg, arguments.kwarg) if item is not None]
        for item in named:
            inner.bind(item.arg, "argument")
            self.kinds[item.lineno, item.col_offset] = "argument"
            if item.annotation is not None:
                outside.append(item.annotation)
        if isinstance(node, ast.Lambda):
            self._all(outside, scope)
            self.walk(node.body, inner)
            return
        scope.bind(node.name, "function")
        outside += [*node.decorator_list, *([node.returns] if node.returns is not None else [])]
        self._all(outside, scope)
        self._all(node.body, inner)

    def _simple(self, node: ast.AST, scope: _Scope) -> None:
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                scope.bind(node.id, "variable")
            self.uses.append(((node.lineno, node.col_offset), node.id, scope))
        elif isinstance(node, ast.Attribute) and node.end_lineno is not None and node.end_col_offset is not None:
            self.kinds[node.end_lineno, node.end_col_offset - len(node.attr.encode())] = "attribute"
        elif isinstance(node, ast.keyword) and node.arg is not None:
            self.kinds[node.lineno, node.col_offset] = "argument"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            self.called.add(node.func.id)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name is not None:
            scope.bind(node.name, "variable")
        elif isinstance(node, ast.Global | ast.Nonlocal):
            for name in node.names:
                scope.elsewhere[name] = self.top if isinstance(node, ast.Global) else scope.parent
                self.declared.append((node.lineno, name, scope))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node, scope)

    def _import(self, node: ast.Import | ast.ImportFrom, scope: _Scope) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.split(".")[0]
            if isinstance(node, ast.Import) or self.is_module(node.module or "", node.level, alias.name):
                scope.bind(name, "module")
            elif name != "*":
                scope.bind(name, "from")
            if isinstance(node, ast.ImportFrom) and name != "*":
                self.uses.append(((alias.lineno, alias.col_offset), name, scope))
                if alias.asname and alias.end_lineno is not None and alias.end_col_offset is not None:
                    self.uses.append(((alias.end_lineno, alias.end_col_offset - len(name.encode())), name, scope))

    def kind_of(self, name: str, scope: _Scope) -> str:
        kind = scope.find(name)
        if kind is not None and kind != "from":
            return kind
        if name[:1].isupper() and not name.isupper():
            return "class"
        return "function" if name in self.called else "variable"


def _children_without(node: ast.AST, left_out: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.comprehension):
            yield from (part for part in ast.iter_child_nodes(child) if part is not left_out)
        else:
            yield child
