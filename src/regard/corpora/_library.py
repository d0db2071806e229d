"""The source of the standard library: which files are read, and which packages are held out.

Only what every installation of Python has is read, so that figures compare between machines: `tkinter`,
`idlelib`, `turtle`, `turtledemo`, `lib2to3`, `distutils` and `test` are separate packages of some systems or gone
from later Pythons, and are left out. So are tests anywhere, tables (`encodings`, `pydoc_data`) and generated files.
"""

from __future__ import annotations

import hashlib
import sysconfig
import tokenize
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..errors import ArgumentError, DataError

# Packages of different topics and authors: networking, files, text, mathematics, tools.
TEST = frozenset("json logging urllib statistics shlex textwrap zipfile sched cmd csv fractions".split())
DEV = frozenset("http configparser calendar wsgiref heapq plistlib tomllib getopt fileinput pprint".split())
LEFT_OUT = frozenset(
    "test tests idlelib idle_test tkinter turtle turtledemo lib2to3 distutils ensurepip site-packages dist-packages "
    "encodings pydoc_data this antigravity __phello__ __hello__".split()
)
NEAR = 0.5  # a training file that shares more of its lines than this with a held-out file is left out


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the standard library."""

    name: str
    """Its path below the library's folder, with slashes."""
    text: str
    """Its source, decoded by its declared encoding."""

    @property
    def package(self) -> str:
        """The package or single module that it belongs to."""
        return self.name.split("/")[0].removesuffix(".py")


@dataclass(frozen=True, slots=True)
class Library:
    """The files of each part; whole packages lie in one part."""

    train: tuple[SourceFile, ...]
    """The training files."""
    dev: tuple[SourceFile, ...]
    """The development files, on which settings are chosen."""
    test: tuple[SourceFile, ...]
    """The test files, on which figures are reported."""
    near: tuple[str, ...]
    """Names of training files left out because they repeat a held-out file."""

    def describe(self) -> str:
        """Describe the files, for the description of a split."""
        return (
            f"{len(self.train)} / {len(self.dev)} / {len(self.test)} files of Python's standard library (PSF licence); "
            f"packages held out for dev: {', '.join(sorted({file.package for file in self.dev}))}; "
            f"for test: {', '.join(sorted({file.package for file in self.test}))}; {len(self.near)} files left out "
            f"because more than {NEAR:.0%} of their lines stand in a held-out file"
        )


def library(limit: int | None) -> Library:
    """Read at most `limit` files to train on and `limit / 4` for each of dev and test, the same for each call."""
    if limit is not None and limit < 4:
        raise ArgumentError(f"limit is {limit}; it counts files to train on. Give at least 4, or None for all.")
    root = Path(sysconfig.get_path("stdlib"))
    names = [file.relative_to(root).as_posix() for file in root.rglob("*.py")]
    names = sorted(filter(_wanted, names), key=lambda name: hashlib.sha256(name.encode()).digest())
    held = None if limit is None else limit // 4
    dev = _read(root, [name for name in names if _package(name) in DEV], held)
    test = _read(root, [name for name in names if _package(name) in TEST], held)
    train = _read(root, [name for name in names if _package(name) not in DEV | TEST], limit)
    if not (train and dev and test):
        raise DataError(f"The source of the standard library is not in {root}. Use a Python that brings its .py files.")
    kept, near = _without_near(train, dev + test)
    return Library(kept, dev, test, near)


def _package(name: str) -> str:
    return name.split("/")[0].removesuffix(".py")


def _wanted(name: str) -> bool:
    parts = name.removesuffix(".py").split("/")
    return not LEFT_OUT.intersection(parts) and not parts[0].startswith(("_sysconfigdata", "config-", "lib-"))


def _read(root: Path, names: list[str], limit: int | None) -> tuple[SourceFile, ...]:
    files: list[SourceFile] = []
    for name in names:
        if limit is not None and len(files) == limit:
            break
        with tokenize.open(root / name) as stream:
            text = stream.read()
        if text.strip():
            files.append(SourceFile(name, text))
    return tuple(files)


def _without_near(
    train: tuple[SourceFile, ...], held: tuple[SourceFile, ...]
) -> tuple[tuple[SourceFile, ...], tuple[str, ...]]:
    found: dict[str, list[int]] = {}
    for index, file in enumerate(held):
        for line in _lines(file):
            found.setdefault(line, []).append(index)
    kept, near = list[SourceFile](), list[str]()
    for file in train:
        lines = _lines(file)
        shared = Counter(index for line in lines for index in found.get(line, ()))
        if lines and max(shared.values(), default=0) > NEAR * len(lines):
            near.append(file.name)
        else:
            kept.append(file)
    return tuple(kept), tuple(near)


def _lines(file: SourceFile) -> set[str]:
    # Lines that any file may hold ("else:", "return x") say nothing about its origin.
    return {line for line in map(str.strip, file.text.splitlines()) if len(line) >= 12}
