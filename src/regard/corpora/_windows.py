"""Splitting a Python file into words with tags, and into windows that end at ends of statements."""

from __future__ import annotations

import ast
import io
import keyword
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from ._library import SourceFile
from ._scopes import Names, names_of
from .examples import TaggedWords

NEWLINE, INDENT, DEDENT = "⏎", "→", "←"
_STRING_AT_MOST = 16
_OPENS = {getattr(tokenize, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(tokenize, name)}
_CLOSES = {getattr(tokenize, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(tokenize, name)}
_SKIPPED = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)


@dataclass(slots=True)
class _Statement:
    """One logical line: a simple statement, or the header of a compound one."""

    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    line: int = 0
    depth: int = 0
    first: str = ""
    in_path: bool = False

    def indented(self, deeper: bool) -> _Statement:
        """Return the statement, indented for the start of a window or for a place after a function's header."""
        start = next(place for place, word in enumerate(self.words) if word not in (INDENT, DEDENT))
        words = [INDENT] * deeper + self.words[start:]
        return replace(self, words=words, tags=["O"] * deeper + self.tags[start:])

    def add(self, word: str, tag: str, line: int) -> None:
        """Append a word that is neither the statement's end nor indentation."""
        if not self.first:
            self.first, self.line = word, line
            self.in_path = word in ("import", "from")
        elif self.first == "from" and word == "import":
            self.in_path = False
        if word in (";", ":"):  # another statement may follow on the same line
            self.first, self.in_path = "", False
        self.words.append(word)
        self.tags.append(tag)

    @property
    def is_definition(self) -> bool:
        return "def" in self.words[:4] or "class" in self.words[:3] or "@" in self.words[:2]

    @property
    def is_function(self) -> bool:
        return "def" in self.words[:4]


def tagged_windows(
    file: SourceFile, limit: int, is_module: Callable[[str, int, str], bool]
) -> tuple[list[TaggedWords], int]:
    """Cut a file into windows of at most `limit` words; also return how many statements were longer than that."""
    statements = list(_statements(file.text, names_of(ast.parse(file.text), is_module)))
    windows: list[TaggedWords] = []
    current: list[_Statement] = []
    size = too_long = 0
    for index, statement in enumerate(statements):
        count = len(statement.words)
        whole = _block(statements, index, limit) if statement.is_definition else count
        if current and (size + count > limit or (size + whole > limit and whole <= limit)):
            windows.append(_joined(current))
            current = _heads(statements, index, limit - count)
            statement = statement.indented(bool(current))
            current = [head.indented(place > 0) for place, head in enumerate(current)]
            count = len(statement.words)
            size = sum(len(head.words) for head in current)
        if size + count > limit:
            too_long += 1
            continue
        current.append(statement)
        size += count
    if current:
        windows.append(_joined(current))
    return windows, too_long


def _joined(statements: list[_Statement]) -> TaggedWords:
    words = tuple(word for statement in statements for word in statement.words)
    return TaggedWords(words, tuple(tag for statement in statements for tag in statement.tags))


def _block(statements: list[_Statement], index: int, limit: int) -> int:
    """Count the words from a definition (or its first decorator) to its end; stop counting beyond `limit`."""
    depth, inside, count = statements[index].depth, False, 0
    for statement in statements[index:]:
        if inside and statement.depth <= depth:
            break
        inside = inside or statement.depth > depth
        count += len(statement.words)
        if count > limit:
            break
    return count


def _heads(statements: list[_Statement], index: int, room: int) -> list[_Statement]:
    """Return the headers of the functions inside which a window begins, so that it contains their arguments."""
    depth, heads = statements[index].depth, list[_Statement]()
    for statement in reversed(statements[:index]):
        if statement.depth < depth:
            depth = statement.depth
            if statement.is_function:
                heads.append(statement)
        if depth == 0:
            break
    kept: list[_Statement] = []
    for head in heads:  # the innermost first
        if len(head.words) > room - 1:
            break
        room -= len(head.words) + 1
        kept.insert(0, head)
    return kept


def _statements(text: str, names: Names) -> Iterator[_Statement]:
    depth = 0
    statement = _Statement()
    for kind, word, line, column in _tokens(text):
        if kind == tokenize.INDENT:
            depth += 1
            statement.words.append(INDENT)
            statement.tags.append("O")
        elif kind == tokenize.DEDENT:
            depth -= 1
            statement.words.append(DEDENT)
            statement.tags.append("O")
        elif kind == tokenize.NEWLINE:
            statement.words.append(NEWLINE)
            statement.tags.append("O")
            statement.depth = depth
            yield statement
            statement = _Statement()
        else:
            tag = _tag(statement, word, names, (line, column)) if kind == tokenize.NAME else "O"
            if word == "." and statement.in_path and statement.tags[-1].endswith("-module"):
                tag = "I-module"
            statement.add(word, tag, line)


def _tag(statement: _Statement, word: str, names: Names, place: tuple[int, int]) -> str:
    if keyword.iskeyword(word):
        return "O"
    kind = names.places.get(place)
    if kind is None and statement.first:
        first, last = statement.first, statement.words[-1]
        if last in ("def", "class"):
            kind = "function" if last == "def" else "class"
        elif statement.in_path:
            kind = "module"
        elif first == "except" and last == "as":
            kind = "variable"
        elif first in ("global", "nonlocal"):
            kind = names.declared.get((statement.line, word))
    if kind is None:
        return "O"
    return "I-module" if kind == "module" and statement.tags[-1:] == ["I-module"] else f"B-{kind}"


def _tokens(text: str) -> Iterator[tuple[int, str, int, int]]:
    """List the words with their line and their column in bytes; a string is one word, and a long one is shortened."""
    opened: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in _OPENS:
            opened.append(token.string)
        elif token.type in _CLOSES:
            start = opened.pop()
            if not opened:
                yield tokenize.STRING, f"{start}…{token.string}", *token.start
        elif opened or token.type in _SKIPPED:
            continue
        elif token.type == tokenize.STRING:
            yield tokenize.STRING, _short(token.string), *token.start
        else:
            line, column = token.start
            before = token.line[:column]
            yield token.type, token.string, line, column if before.isascii() else len(before.encode())


def _short(string: str) -> str:
    """Write a string of many characters, or of spaces, as its quotes with an ellipsis between them."""
    if len(string) <= _STRING_AT_MOST and string.isprintable() and " " not in string:
        return string
    start = len(string) - len(string.lstrip("rRbBuUfF"))
    quote = string[start : start + 3] if string[start : start + 3] in ('"""', "'" * 3) else string[start]
    return f"{string[:start]}{quote}…{quote}"
