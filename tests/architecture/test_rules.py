"""Project rules hold in every file, and the checks detect violations."""

from pathlib import Path

import pytest

from tests.architecture.floors import module_path
from tests.architecture.rules import banned

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "regard"
LINES_AT_MOST = 600
CODE = {".py", ".cpp", ".cc", ".c", ".h", ".hpp", ".inl", ".ts", ".tsx", ".css", ".cmake"}


def _code_files() -> list[Path]:
    """Every source file that is written by hand."""
    return [
        file
        for folder in ("src", "csrc", "tests", "benchmarks", "examples", "web", "docs")
        for file in (ROOT / folder).rglob("*")
        if file.suffix in CODE and not {"node_modules", "static"} & set(file.parts)
    ]


def test_no_file_is_too_long() -> None:
    """No file has more than 600 lines."""
    files = _code_files()
    assert Path(__file__) in files
    lengths = {file: len(file.read_text("utf-8").splitlines()) for file in files}
    assert not {file: n for file, n in lengths.items() if n > LINES_AT_MOST}


def test_package_neither_asserts_nor_prints() -> None:
    """Errors are raised, not asserted, and only the command line prints."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        module, _ = module_path(file, PACKAGE)
        found += banned(file.read_text("utf-8"), ".".join(module[:1]) or "__init__")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "room", "count"),
    [
        ("assert x, 'text'", "masks", 1),
        ("def f():\n    print(1)\n    assert f", "masks", 2),
        ("print('hello')", "cli", 0),
        ("assert True", "cli", 1),
        ("self.assert_ok(); pprint(1); text = 'assert'", "masks", 0),
    ],
)
def test_rules_see_what_they_look_for(source: str, room: str, count: int) -> None:
    """An artificial `assert` or `print` is detected, and similar code is not."""
    assert len(banned(source, room)) == count


def test_installed_package_is_complete() -> None:
    """Each Python file of the source, and `py.typed`, is installed."""
    import regard

    installed = Path(regard.__file__).parent
    source = {file.relative_to(PACKAGE) for file in PACKAGE.rglob("*.py")}
    missing = [str(file) for file in source if not (installed / file).is_file()]
    assert not missing
    assert (installed / "py.typed").is_file()
