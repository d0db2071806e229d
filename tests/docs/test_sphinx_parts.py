"""What the builder of the documentation makes of docstrings, imports and commands."""

import os
from pathlib import Path

import pytest

from tests.docs.sphinx_parts import part


def test_sections_of_a_docstring_become_fields() -> None:
    """Arguments keep their names and their texts; what follows a section stands outside of it."""
    text = """Do it.

Args:
    one, two: numbers, `1` by default,
        or more.
    three: text.

Returns:
    A thing: of use.

Cost: none."""
    assert [line for line in part("docstrings").converted(text.split("\n")) if line] == [
        "Do it.",
        ":Arguments:",
        "   ``one``, ``two``",
        "      numbers, ``1`` by default,",
        "      or more.",
        "   ``three``",
        "      text.",
        ":Returns:",
        "   A thing: of use.",
        "Cost: none.",
    ]


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("a `b * c` d", "a ``b * c`` d"),
        ("`a`s and *b* or c_ and |d|", "``a``\\s and \\*b\\* or c\\_ and \\|d\\|"),
        ("- `a` point", "- ``a`` point"),
        ("    snake_case stays", "    snake_case stays"),
    ],
)
def test_code_and_special_characters(given: str, made: str) -> None:
    """Code becomes a literal; what reStructuredText would read as markup is escaped."""
    assert part("docstrings").inline(given) == made


def test_code_over_the_end_of_a_line_is_joined() -> None:
    """A literal that a docstring breaks is one again, with the comma behind it."""
    lines = ["see `f(a,", "b)`, then `c`", "and on"]
    assert part("docstrings").converted(lines) == ["see ``f(a, b)``,", "then ``c``", "and on"]


def test_tables_of_a_docstring_become_tables() -> None:
    """A table written with bars keeps its cells."""
    lines = ["| name | what |", "|---|---|", "| `a` | b_ |"]
    assert part("docstrings").converted(lines) == [
        ".. list-table::",
        "   :header-rows: 1",
        "",
        "   * - name",
        "     - what",
        "   * - ``a``",
        "     - b\\_",
    ]


def test_examples_are_left_alone() -> None:
    """Nothing inside an example is escaped."""
    lines = [">>> a * b_", "`x`", "", "after `x`"]
    assert part("docstrings").converted(lines) == [">>> a * b_", "`x`", "", "after ``x``"]


def test_only_direct_imports_are_drawn() -> None:
    """An import that a chain of others implies has no line of its own."""
    rooms = {"top": {"imports": {"middle", "low"}}, "middle": {"imports": {"low"}}, "low": {"imports": set()}}
    assert part("floors_picture").direct(rooms) == [("top", "middle"), ("middle", "low")]


def test_a_room_knows_what_it_imports() -> None:
    """Imports are read from the code."""
    rooms = part("floors_picture").read_rooms()
    assert "backends" in rooms["_attention"]["imports"]
    assert rooms["errors"]["imports"] == set()
    assert rooms["masks"]["text"].startswith("Which keys each query may see")


def test_help_is_what_the_command_prints() -> None:
    """The options of a command stand in its text."""
    assert "--shape" in part("command_help").help_of(["doctor"])
    assert "--epochs" in part("command_help").help_of(["train", "ner"])


def test_kernels_draw_whatever_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure becomes a picture of its page though the environment asks for no window, and no warning is printed."""
    for name, value in (("MPLBACKEND", "Agg"), ("IPYTHONDIR", "elsewhere")):
        monkeypatch.setenv(name, value)
    part("notebooks").prepare_kernels(tmp_path)
    assert os.environ["MPLBACKEND"].endswith("backend_inline")
    assert (Path(os.environ["IPYTHONDIR"]) / "profile_default" / "ipython_kernel_config.py").is_file()
