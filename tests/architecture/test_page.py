"""The viewer's page has floors as the package has: each file of `web/src` imports only from lines below its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "web" / "src"

# Highest first. Files of one line do not import each other, nor do the files of one folder.
FLOORS = """
index
app bridge
views/
exports pictures
controls gestures sheets
choices matrix patches
scene
surface
edges legend measures painter rows sinks
hosts/ quantities words
help search state store
camera cells colours dom fitting manifest pens style
"""
# Types too: a view that knows the type of what shows it is bound to it.
_IMPORT = re.compile(r"""(?:\bfrom|\bimport)\s*\(?\s*["']([^"']+)["']""")


def _room(file: str) -> str:
    return f"{file.split('/')[0]}/" if "/" in file else file


def _places() -> dict[str, int]:
    lines = FLOORS.strip().splitlines()
    return {room: floor for floor, line in enumerate(reversed(lines)) for room in line.split()}


def trespasses(file: str, text: str) -> Iterator[str]:
    """Yield a sentence for each import of a file, named without its ending, that the floors forbid."""
    places = _places()
    if _room(file) not in places:
        yield f"{file} has no floor"
        return
    for target in _IMPORT.findall(text):
        if not target.startswith("."):
            yield f"{file} imports {target}, which is no file of the page"
            continue
        parts = file.split("/")[:-1]
        for step in target.removesuffix(".ts").split("/"):
            if step == "..":
                parts.pop()
            elif step != ".":
                parts.append(step)
        to = "/".join(parts)
        if places.get(_room(to), len(places)) >= places[_room(file)]:
            yield f"{file} imports {to}, which is not below it"


def test_page_keeps_its_floors() -> None:
    """No file of the page imports what stands on its own line or above; no line of the table is empty words."""
    files = {str(path.relative_to(PAGE).with_suffix("")): path.read_text("utf-8") for path in PAGE.rglob("*.ts")}
    assert {_room(file) for file in files} == set(_places())
    assert [trespass for file, text in sorted(files.items()) for trespass in trespasses(file, text)] == []


@pytest.mark.parametrize(
    ("file", "text", "word"),
    [
        ("views/head", 'import type { App } from "../app.ts";', "not below"),
        ("views/head", 'import { textView } from "./text.ts";', "not below"),
        ("matrix", 'import { listen } from "./gestures.ts";', "not below"),
        ("scene", 'import type {\n  Matrix,\n} from "./matrix.ts";', "not below"),
        ("store", 'export * from "./words.ts";', "not below"),
        ("store", 'import "./app.ts";', "not below"),
        ("store", 'const app = await import("./app.ts");', "not below"),
        ("store", 'import React from "react";', "no file"),
        ("attic", "", "no floor"),
    ],
)
def test_trespass_is_seen(file: str, text: str, word: str) -> None:
    """Each kind of forbidden import gives one sentence."""
    found = list(trespasses(file, text))
    assert len(found) == 1
    assert word in found[0]


@pytest.mark.parametrize(
    ("file", "text"),
    [("views/head", 'import { Matrix } from "../matrix.ts";'), ("hosts/page", 'import type { S } from "../store.ts";')],
)
def test_lower_floors_may_be_used(file: str, text: str) -> None:
    """Imports from below are no trespass."""
    assert list(trespasses(file, text)) == []
