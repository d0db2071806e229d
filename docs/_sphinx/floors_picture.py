"""The directive `floors`: the rooms of the package and what they import, read from the code at each build."""

import ast
import importlib.util
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "regard"
WIDTH, BOX_HEIGHT, GAP, MARGIN = 760, 40, 34, 12


def _rules() -> Any:
    """Load the table that the tests enforce."""
    spec = importlib.util.spec_from_file_location("floors_table", ROOT / "tests" / "architecture" / "floors.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError("tests/architecture/floors.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_rooms() -> dict[str, dict[str, Any]]:
    """Return for each room that exists its floor, first sentence, lines of code and the rooms that it imports."""
    rules = _rules()
    places = rules.parse_floors()
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        module, is_package = rules.module_path(file, PACKAGE)
        name = module[0] if module else "__init__"
        if name not in places:
            continue
        source = file.read_text("utf-8")
        room = found.setdefault(name, {"floor": places[name][0], "text": "", "lines": 0, "imports": set()})
        room["lines"] += len(source.splitlines())
        if len(module) == 1:
            room["text"] = (ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0].replace("\n", " ")
        for target, _ in rules.imports(source, module, is_package):
            if target and target[0] in places and target[0] != name:
                room["imports"].add(target[0])
    order = list(places)
    return dict(sorted(found.items(), key=lambda item: order.index(item[0])))


def direct(rooms: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the imports that no chain of other imports implies already."""

    def reach(name: str) -> set[str]:
        found: set[str] = set()
        for other in rooms[name]["imports"]:
            found |= {other} | reach(other)
        return found

    return [
        (name, other)
        for name, room in rooms.items()
        for other in sorted(room["imports"])
        if not any(other in reach(third) for third in room["imports"] if third != other)
    ]


def drawing(rooms: dict[str, dict[str, Any]]) -> str:
    """Draw one row a floor, highest first, and a line for each direct import."""
    floors = sorted({room["floor"] for room in rooms.values()}, reverse=True)
    boxes: dict[str, tuple[float, float, float]] = {}
    for row, floor in enumerate(floors):
        names = [name for name, room in rooms.items() if room["floor"] == floor]
        width = min(190.0, (WIDTH - MARGIN * (len(names) + 1)) / len(names))
        # Rows of one room stand by turns left and right of the middle, so that lines past them are seen.
        shift = 0.0 if len(names) > 1 else (-120.0, 120.0)[row % 2]
        left = (WIDTH - len(names) * width - (len(names) - 1) * MARGIN) / 2 + shift
        for i, name in enumerate(names):
            boxes[name] = (left + i * (width + MARGIN), MARGIN + row * (BOX_HEIGHT + GAP), width)
    height = 2 * MARGIN + len(floors) * (BOX_HEIGHT + GAP) - GAP
    parts = [
        f'<svg class="floors" viewBox="0 0 {WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg" '
        'aria-label="The rooms of the package, one row a floor, with a line for each import">'
    ]
    for name, other in direct(rooms):
        (x1, y1, w1), (x2, y2, w2) = boxes[name], boxes[other]
        if y1 == y2:
            left, right = (x2 + w2, x1) if x2 < x1 else (x1 + w1, x2)
            parts.append(
                f'<path d="M{left:.0f},{y1 + BOX_HEIGHT / 2:.0f} H{right:.0f}"><title>{escape(name)} imports '
                f"{escape(other)}</title></path>"
            )
            continue
        a, b, top, bottom = x1 + w1 / 2, x2 + w2 / 2, y1 + BOX_HEIGHT, y2
        bend = max((bottom - top) / 2, 12)
        parts.append(
            f'<path d="M{a:.0f},{top:.0f} C{a:.0f},{top + bend:.0f} {b:.0f},{bottom - bend:.0f} {b:.0f},{bottom:.0f}">'
            f"<title>{escape(name)} imports {escape(other)}</title></path>"
        )
    for name, (x, y, width) in boxes.items():
        room = rooms[name]
        parts.append(
            f"<g><title>{escape(room['text'])}</title>"
            f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{BOX_HEIGHT}" rx="5"/>'
            f'<text x="{x + width / 2:.0f}" y="{y + 17}">{escape(name)}</text>'
            f'<text class="lines" x="{x + width / 2:.0f}" y="{y + 32}">{room["lines"]:,} lines</text></g>'
        )
    return "".join(parts) + "</svg>"


class Floors(Directive):
    """`.. floors::` draws the picture and writes the table beside it."""

    def run(self) -> list[nodes.Node]:
        """Read the code, draw."""
        rooms = read_rooms()
        self.state.document.settings.env.note_dependency(str(PACKAGE))
        return [nodes.raw("", f'<div class="floors">{drawing(rooms)}</div>', format="html"), _table(rooms)]


def _table(rooms: dict[str, dict[str, Any]]) -> nodes.table:
    rows = [(name, room["text"], " · ".join(sorted(room["imports"])) or "nothing") for name, room in rooms.items()]
    table, group, body = nodes.table(), nodes.tgroup(cols=3), nodes.tbody()
    group += [nodes.colspec(colwidth=width) for width in (15, 50, 35)]
    head = nodes.thead("", _row(("room", "what it is", "imports")))
    body += [_row(row, code=True) for row in rows]
    group += [head, body]
    table += group
    return table


def _row(cells: tuple[str, ...], code: bool = False) -> nodes.row:
    row = nodes.row()
    for i, cell in enumerate(cells):
        text = nodes.literal("", cell) if code and i == 0 else nodes.inline("", cell)
        row += nodes.entry("", nodes.paragraph("", "", text))
    return row


def setup(app: Any) -> dict[str, bool]:
    """Join the build."""
    app.add_directive("floors", Floors)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
