"""House rules that a parser can see: no `assert` in the package, `print` only in `cli`."""

import ast


def banned(source: str, room: str) -> list[str]:
    """Say, a line each, where a file of the package asserts, or prints outside `cli`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assert):
            found.append(f"{room}:{node.lineno}: assert; raise an error of regard.errors instead")
        elif room != "cli" and isinstance(node, ast.Call) and _name(node.func) == "print":
            found.append(f"{room}:{node.lineno}: print outside cli")
    return found


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else ""
