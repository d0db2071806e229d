"""Corpora of code: disjoint parts, reproducible, with tags that agree with Python's scopes."""

import ast
import functools
import io
import keyword
import symtable
import tokenize

import pytest

from regard.corpora import Split, TaggedWords, code_entities, code_summaries, code_text
from regard.corpora._library import LEFT_OUT, Library, SourceFile, _without_near, library
from regard.corpora._scopes import names_of
from regard.corpora._windows import DEDENT, INDENT, NEWLINE, tagged_windows
from regard.errors import ArgumentError

LIMIT = 16


@functools.cache
def entities() -> Split:
    """Return a small corpus, made once for a process."""
    return code_entities(limit=LIMIT)


@functools.cache
def files() -> Library:
    """Return the files behind it."""
    return library(LIMIT)


def tags_of(text: str, limit: int = 160) -> list[TaggedWords]:
    """Split code into windows; `from . import m` counts as importing a module."""
    windows, _ = tagged_windows(
        SourceFile("here.py", text), limit, lambda module, dots, name: dots == 1 and name == "m"
    )
    return windows


def kinds(text: str) -> str:
    """Write the names of one window with their tags."""
    (window,) = tags_of(text)
    pairs = zip(window.words, window.tags, strict=True)
    return " ".join(f"{word}/{tag[0]}-{tag[2:5]}" for word, tag in pairs if tag != "O" and word != ".")


def test_packages_lie_in_one_part() -> None:
    """No package is in two parts, and none of the excluded packages is read."""
    found = library(None)
    parts = [{file.package for file in part} for part in (found.train, found.dev, found.test)]
    assert all(parts)
    assert not (parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2])
    assert not LEFT_OUT & set.union(*parts)
    assert len(parts[2]) >= 8


def test_repeated_files_are_left_out() -> None:
    """A file that repeats more than half of a held-out file's lines is named and left out; one below stays."""
    lines = [f"value_{number} = compute({number})" for number in range(20)]
    held = SourceFile("held.py", "\n".join(lines))
    copy = SourceFile("copy.py", "\n".join([*lines[:12], *(f"    other_{n} = further({n})" for n in range(8))]))
    own = SourceFile("own.py", "\n".join([*lines[:8], *(f"    other_{n} = further({n})" for n in range(12))]))
    kept, near = _without_near((copy, own), (held,))
    assert kept == (own,)
    assert near == ("copy.py",)


def test_text_is_the_source() -> None:
    """A document is a file as Python decodes it, named by its path, and parses."""
    split = code_text(limit=LIMIT)
    assert len(split.train) <= LIMIT
    assert len(split.dev) <= LIMIT // 4 >= len(split.test)
    for document in split.train:
        ast.parse(document.text)
    assert split == code_text(limit=LIMIT)


def test_windows_are_short_and_whole() -> None:
    """A window has at most the requested number of words, ends at a line end, and begins with a statement."""
    for part in (entities().train, entities().dev, entities().test):
        assert part
        for example in part:
            assert len(example.words) <= 160
            assert example.words[-1] == NEWLINE
            assert example.words[0] not in (INDENT, DEDENT, NEWLINE)


def test_no_window_is_in_two_parts() -> None:
    """Windows of dev and test are not trained on, and the corpus is the same when made again."""
    parts = [{example.words for example in part} for part in (entities().train, entities().dev, entities().test)]
    assert not (parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2])
    assert all(
        len(words) == len(part)
        for words, part in zip(parts, (entities().train, entities().dev, entities().test), strict=True)
    )
    assert code_entities(limit=LIMIT) == entities()


def test_tags_are_iob2() -> None:
    """An `I-` follows a tag of its own type, and all six types occur."""
    types = set()
    for example in entities().train:
        before = "O"
        for tag in example.tags:
            if tag.startswith("I-"):
                assert before[2:] == tag[2:]
            types.add(tag[2:])
            before = tag
    assert types == {"", "argument", "attribute", "class", "function", "module", "variable"}


def test_every_name_is_tagged_and_nothing_else() -> None:
    """In the windows every name that is no keyword has a tag, and a word with a `B-` tag is a name."""
    bare = 0
    for example in entities().train:
        for word, tag in zip(example.words, example.tags, strict=True):
            if tag.startswith("B-"):
                assert word.isidentifier()
                assert not keyword.iskeyword(word)
            elif tag == "O" and word.isidentifier() and not keyword.iskeyword(word):
                bare += word not in keyword.softkwlist
    assert bare == 0


CASES = {
    "import os.path as p, re\np.join(re)": "os/B-mod path/I-mod p/B-mod re/B-mod p/B-mod join/B-att re/B-mod",
    "from a.b import Cl, f, K, v\nf(Cl, K, v)": (
        "a/B-mod b/I-mod Cl/B-cla f/B-fun K/B-var v/B-var f/B-fun Cl/B-cla K/B-var v/B-var"
    ),
    "from . import m\nm.x": "m/B-mod m/B-mod x/B-att",
    "def f(a, *b, c=1, **d):\n return a.a + b + c + d + e": (
        "f/B-fun a/B-arg b/B-arg c/B-arg d/B-arg a/B-arg a/B-att b/B-arg c/B-arg d/B-arg e/B-var"
    ),
    "class A(int):\n x = 1\n def x(self): return x": "A/B-cla int/B-cla x/B-fun x/B-fun self/B-arg x/B-var",
    "def f(a):\n def g(): return a\n a = g()": "f/B-fun a/B-arg g/B-fun a/B-arg a/B-arg g/B-fun",
    "len(list(x), key=y)": "len/B-fun list/B-cla x/B-var key/B-arg y/B-var",
    "try: import q\nexcept OSError as e: q = e": "q/B-mod OSError/B-cla e/B-var q/B-mod e/B-var",
    "def f(): pass\ndef g():\n global f\n f = 1": "f/B-fun g/B-fun f/B-fun f/B-fun",
    "f = lambda x: [x for x in x]": "f/B-var x/B-arg x/B-var x/B-var x/B-arg",
    "import a; a.b; b": "a/B-mod a/B-mod b/B-att b/B-var",
    "def f(int: int = int): int": "f/B-fun int/B-arg int/B-cla int/B-cla int/B-arg",
    "é = é.è(ü=1)": "é/B-var é/B-var è/B-att ü/B-arg",
}


@pytest.mark.parametrize("text", CASES)
def test_kinds_follow_the_scopes(text: str) -> None:
    """The kind of a name follows from its binding, by Python's scopes."""
    assert kinds(text) == CASES[text]


def test_arguments_are_those_of_symtable() -> None:
    """Python's own symbol tables agree which names of a function are its arguments, in whole files."""
    checked = 0
    for file in files().dev:
        names = names_of(ast.parse(file.text), lambda *_: False)
        lines = file.text.splitlines()
        arguments = {
            _word(lines[line - 1], column) for (line, column), kind in names.places.items() if kind == "argument"
        }
        tables = [symtable.symtable(file.text, file.name, "exec")]
        for table in tables:
            tables += table.get_children()
            for symbol in table.get_symbols():
                if symbol.is_parameter() and not symbol.get_name().startswith("."):
                    assert symbol.get_name() in arguments
                    checked += 1
    assert checked > 50


def _word(line: str, column: int) -> str:
    rest = line.encode()[column:].decode()
    return next(token.string for token in tokenize.generate_tokens(io.StringIO(rest).readline) if token.string)


def test_strings_are_one_short_word() -> None:
    """A formatted or long string is its quotes and an ellipsis; a short one stays; a comment goes."""
    (window,) = tags_of("x = 'ab', rb'''many words''', f'{x} {y}'  # why\n")
    assert window.words == ("x", "=", "'ab'", ",", "rb'''…'''", ",", "f'…'", NEWLINE)


def test_window_shows_the_head_of_its_function() -> None:
    """A window that begins inside a function begins with its header, which declares the arguments."""
    body = "".join(f"  b{number} = a + {number}\n" for number in range(12))
    first, second, *_ = tags_of(f"class A:\n def f(self, a):\n{body}", limit=40)
    assert first.words[:2] == ("class", "A")
    assert second.words[:10] == ("def", "f", "(", "self", ",", "a", ")", ":", NEWLINE, INDENT)
    assert second.tags[12] == "B-argument"


def test_arguments_are_declared_in_their_window() -> None:
    """A window shows the declaration of every argument it uses, so that the tag can be told from the window."""
    uses = hidden = 0
    for example in entities().test:
        declared: set[str] = set()
        line: set[str] = set()
        following = (*example.words[1:], NEWLINE)
        for word, tag, after in zip(example.words, example.tags, following, strict=True):
            line = set() if word == NEWLINE else line | {word}
            if tag == "B-argument" and line & {"def", "lambda"}:
                declared.add(word)
            elif tag == "B-argument" and after != "=":
                uses += 1
                hidden += word not in declared
    assert uses > 200
    assert hidden == 0


def test_function_that_fits_is_not_cut() -> None:
    """A window ends before a function that would be cut, if the next window can hold it whole."""
    text = "a = 1\nb = 2\n" + "def f(x):\n y = x\n return y\n"
    first, second = tags_of(text, limit=22)
    assert first.words == ("a", "=", "1", NEWLINE, "b", "=", "2", NEWLINE)
    assert second.words[0] == "def"


def test_statement_longer_than_a_window_is_counted() -> None:
    """A statement that fits into no window is left out and counted."""
    text = f"x = [{', '.join(map(str, range(30)))}]\ny = 1\n"
    windows, too_long = tagged_windows(SourceFile("a.py", text), 20, lambda *_: False)
    assert too_long == 1
    assert [window.words[0] for window in windows] == ["y"]


def test_summaries_are_apart() -> None:
    """No function and no first line occurs twice; the docstring is not in the source, and the rest still parses."""
    split = code_summaries(limit=LIMIT)
    pairs = [*split.train, *split.dev, *split.test]
    assert all((split.train, split.dev, split.test))
    assert len({"".join(pair.source.split()) for pair in pairs}) == len(pairs)
    assert len({pair.target.lower() for pair in pairs}) == len(pairs)
    for pair in pairs:
        function = ast.parse(pair.source).body[0]
        assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        assert (ast.get_docstring(function) or "").split("\n")[0].strip() != pair.target
        assert len(pair.target.split()) >= 3
    assert split == code_summaries(limit=LIMIT)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: code_text(limit=1), "limit is 1"),
        (lambda: code_entities(limit=4, words=2), "words is 2"),
        (lambda: code_summaries(limit=4, characters=3), "characters is 3"),
    ],
)
def test_impossible_sizes_are_refused(call, word) -> None:
    """A size that leaves no examples is an error that says what the size counts."""
    with pytest.raises(ArgumentError, match=word):
        call()


def test_descriptions_say_what_was_left_out() -> None:
    """The description has the numbers of each part, the packages held out and what was left out."""
    text = entities().description
    for part in (entities().train, entities().dev, entities().test):
        assert f" {len(part)} " in text
    for word in ("held out", "left out", "PSF", *sorted({file.package for file in files().test})):
        assert word in text
