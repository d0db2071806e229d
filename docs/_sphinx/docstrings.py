"""Turns the house's docstrings into what Sphinx reads: sections into fields, `code` into literals."""

import re
from typing import Any

_SECTION = re.compile(r"(Args|Returns|Raises|Yields|Attributes):$")
_TABLE = "\0"
_TITLES = {"Args": "Arguments"}
_LITERAL = re.compile(r"(?<![`:])`([^`\n]+)`(?!`)")
_SPECIAL = re.compile(r"([*|\\]|(?<=\w)_(?!\w))")


def converted(lines: list[str]) -> list[str]:
    """Return a docstring as reStructuredText: examples untouched, sections as fields, the rest escaped."""
    done: list[str] = []
    section = ""
    example = False
    for line in _joined(_with_tables(lines)):
        if line.startswith(_TABLE):
            done.append(line.removeprefix(_TABLE))
            continue
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if example:
            done.append(line)
        elif match := _SECTION.match(line):
            section = match[1]
            done += ["", f":{_TITLES.get(section, section)}:"]
        elif section and line.startswith("    "):
            done += _entry(line[4:]) if section in ("Args", "Raises", "Attributes") else [f"   {inline(line[4:])}"]
        else:
            if line.strip() and section:
                section = ""
                done.append("")
            done.append(inline(line))
    return done


def _with_tables(lines: list[str]) -> list[str]:
    """Turn a table written with `|` into a list of rows, each line marked as ready."""
    done: list[str] = []
    for i, line in enumerate(lines):
        if not line.startswith("|"):
            done.append(line)
        elif not set(line) <= set("|-: "):
            if i == 0 or not lines[i - 1].startswith("|"):
                done += [f"{_TABLE}.. list-table::", f"{_TABLE}   :header-rows: 1", _TABLE]
            cells = [inline(cell.strip()) for cell in line.strip("| ").split("|")]
            done += [f"{_TABLE}   {'  ' if n else '* '}- {cell}" for n, cell in enumerate(cells)]
    return done


def _entry(line: str) -> list[str]:
    # `name: text` opens an entry, deeper lines go on with it.
    name, colon, text = line.partition(":")
    if line[:1] != " " and colon and not text[:1].strip() and "`" not in name:
        names = ", ".join(f"``{word.strip()}``" for word in name.split(","))
        return [f"   {names}", f"      {inline(text.strip())}"]
    return [f"      {inline(line.strip())}"]


def _joined(lines: list[str]) -> list[str]:
    """Put a literal that runs over the end of a line on the first of the two."""
    done: list[str] = []
    for line in lines:
        if done and line.strip() and done[-1].count("`") % 2 and "``" not in done[-1]:
            head, _, rest = line.strip().partition("`")
            indent = line[: len(line) - len(line.lstrip())]
            done[-1] += f" {head}`"
            if rest[:1] and not rest[0].isspace():  # the comma or full stop behind it
                done[-1] += rest[0]
                rest = rest[1:]
            if rest.strip():
                done.append(indent + rest.strip())
        else:
            done.append(line)
    return done


def inline(text: str) -> str:
    """Escape what reStructuredText would read as markup, and turn `code` into a literal."""
    parts = _LITERAL.split(text)
    for i, part in enumerate(parts):
        if i % 2:
            parts[i] = f"``{part}``"
        else:
            indent = part[: len(part) - len(part.lstrip())] if i == 0 else ""
            bullet = "- " if i == 0 and part.lstrip().startswith(("- ", "* ")) else ""
            rest = part[len(indent) + len(bullet) :]
            joined = "\\" if i and rest[:1].isalnum() else ""
            parts[i] = (
                indent + bullet + joined + (rest if "``" in rest or ":py:" in rest else _SPECIAL.sub(r"\\\1", rest))
            )
    return "".join(parts)


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if what == "class" and lines and re.match(r"\w+\([^`]*\)$", lines[0]):  # what a NamedTuple writes by itself
        lines[:] = []
    builtin = {getattr(obj, "__doc__", None) or "", type(obj).__doc__ or ""}
    if what == "data" and lines and any(text.startswith(lines[0]) for text in builtin):  # none of its own
        lines[:] = []
    if re.match(r"Alias for field number \d+", lines[0] if lines else ""):
        lines[:] = []
    lines[:] = converted(lines)


def setup(app: Any) -> dict[str, bool]:
    """Join the build."""
    app.connect("autodoc-process-docstring", _process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
