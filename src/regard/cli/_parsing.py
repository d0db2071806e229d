"""Parsing command-line arguments; mistakes are reported in one line, as all other errors are."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

import tyro

from ..errors import ArgumentError, nearest

# What others call a task.
CALLED = {
    "sentiment": ("text_classification", "sequence_classification", "classification", "sentiment_analysis", "topic",
                  "topics", "intent", "intents", "classify", "text"),
    "ner": ("token_classification", "named_entity_recognition", "sequence_labeling", "tagging", "entities", "slots",
            "named_entities", "slot_filling", "tagger"),
    "summarization": ("summary", "summarize", "summaries", "text2text", "seq2seq"),
    "translation": ("translate", "machine_translation", "mt", "nmt"),
    "language_modeling": ("lm", "language_model", "language_modelling", "text_generation", "generation", "causal_lm",
                          "gpt"),
    "image_classification": ("image", "images", "vision", "picture_classification", "pictures", "vit"),
}  # fmt: skip
_KINDS = {int: "a whole number", float: "a number", str: "a text", Path: "a path"}


def parse(command: Any, program: str, words: Sequence[str]) -> Any:
    """Return a command's dataclass with the given options; raises `ArgumentError` for a wrong one."""
    with _taken_over(_Mistakes(command, program, words).tell):
        return tyro.cli(command, prog=program, args=list(words))


def parse_group(commands: dict[str, Any], program: str, words: Sequence[str]) -> Any:
    """Return the command that the first word names; raises `ArgumentError` if there is none."""
    if words and words[0] in commands:
        command = commands[words[0]]
        if hasattr(command, "chosen"):  # one of several, by its options
            command = command.chosen(words[1:])
        return parse(command, f"{program} {words[0]}", words[1:])
    if words and words[0] in ("-h", "--help"):
        return tyro.extras.subcommand_cli_from_dict(commands, prog=program, args=list(words))
    names = ", ".join(commands)
    if not words or words[0].startswith("-"):
        raise ArgumentError(f"`{program}` needs a name behind it, one of: {names}.")
    meant = next((name for name, others in CALLED.items() if name in commands and _plain(words[0]) in others), None)
    near = nearest(words[0], commands) if meant is None else f" That is `{program} {meant}` here."
    raise ArgumentError(f"There is no `{program} {words[0]}`.{near} There are: {names}.")


def _plain(word: str) -> str:
    """Return a name as the names of tasks are compared."""
    return word.lower().replace("-", "_").replace("isation", "ization").replace("labelling", "labeling")


def _taken_over(tell: Callable[[Any], None]) -> AbstractContextManager[None]:
    """Report tyro's errors in our format; without its private hook, tyro reports them itself."""
    try:
        from tyro._errors import on_parse_error
    except ImportError:
        return nullcontext()
    return on_parse_error(tell)


class _Mistakes:
    """Explains errors in the arguments of one command."""

    def __init__(self, command: Any, program: str, words: Sequence[str]) -> None:
        self._program, self._words = program, words
        self._types = dict(_options(command))

    def tell(self, event: Any) -> None:
        """Raise `ArgumentError` for known kinds of errors; tyro reports the others."""
        kind = type(event).__name__
        if kind == "UnrecognizedArgs":
            self._unknown(event.tokens)
        elif kind == "MissingArgs":
            if any(token.startswith("-") for token in event.unrecognized_tokens):
                self._unknown(event.unrecognized_tokens)
            names = ", ".join(_name(one.arg) for one in event.missing_arguments)
            raise ArgumentError(f"`{self._program}` needs {names}. {self._help()}")
        elif kind == "InvalidChoice":
            self._bad_value(_name(event.argument), event.value)
        elif kind == "BadValue":
            self._too_few(event.argument)
        elif kind == "InstantiationFailure":
            if event.argument is None:
                raise ArgumentError(event.message)
            name = _name(event.argument)
            self._bad_value(name, self._given(name))

    def _too_few(self, argument: Any) -> NoReturn:
        unknown = [word for word in self._words if word.startswith("--") and _option(word) not in self._types]
        if unknown:
            self._unknown(unknown)
        name, count = _name(argument), argument.lowered.nargs
        if isinstance(count, int) and count > 1:
            raise ArgumentError(f"{name} takes {self._takes(name)}. {self._help()}")
        raise ArgumentError(f"{name} is there without a value; it takes {self._takes(name)}. {self._help()}")

    def _unknown(self, tokens: Sequence[str]) -> NoReturn:
        first = next((token for token in tokens if token.startswith("-")), tokens[0])
        if first.startswith("-"):
            near = nearest(_option(first)[2:], [name[2:] for name in self._types]).replace("'", "'--", 1)
            raise ArgumentError(f"`{self._program}` has no option {first.partition('=')[0]}.{near} {self._help()}")
        before = _option(self._words[self._words.index(first) - 1]) if first in self._words[1:] else ""
        if self._types.get(before) is bool:
            name = before.removeprefix("--").removeprefix("no-")
            raise ArgumentError(f"{before} takes no value, {first!r} was given; there are --{name} and --no-{name}.")
        raise ArgumentError(f"`{self._program}` does not know what {first!r} is for. {self._help()}")

    def _bad_value(self, name: str, value: str) -> NoReturn:
        choices = [str(one) for one in _choices(self._types.get(name))]
        raise ArgumentError(f"{name} is {value!r}.{nearest(value, choices)} It takes {self._takes(name)}.")

    def _takes(self, name: str) -> str:
        hint = self._types.get(name)
        parts = [str(one) for one in _choices(hint)]
        several = next((len(get_args(one)) for one in (hint, *get_args(hint)) if get_origin(one) is tuple
                        and Ellipsis not in get_args(one)), 1)  # fmt: skip
        each = f"{several} values, each " if several > 1 else ""
        parts += [f"{each}{text}" for kind, text in _KINDS.items() if kind in _flat(hint)]
        if type(None) in _flat(hint) and parts:
            parts.append("None")
        return f"{', '.join(parts[:-1])} or {parts[-1]}" if len(parts) > 1 else parts[0] if parts else "a value"

    def _given(self, name: str) -> str:
        """Return the words after an option."""
        for place, word in enumerate(self._words):
            _, sign, value = word.partition("=")
            if _option(word) == name:
                rest = [value] if sign else list(self._words[place + 1 :])
                end = next((at for at, one in enumerate(rest) if one.startswith("--")), len(rest))
                return " ".join(rest[:end])
        return " ".join(self._words)

    def _help(self) -> str:
        return f"`{self._program} --help` lists all it takes."


def _options(command: Any) -> Iterator[tuple[str, Any]]:
    """Yield each option of a command's dataclass with its type; options of nested dataclasses have no prefix."""
    hints = get_type_hints(command, include_extras=True)
    for field in dataclasses.fields(command):
        hint = hints[field.name]
        marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        inner = get_args(hint)[0] if marks else hint
        if tyro.conf.Suppress in marks:
            continue
        if dataclasses.is_dataclass(inner):
            yield from _options(inner)
            continue
        named = (mark.name for mark in marks if getattr(mark, "name", None))
        name = next(named, field.name.replace("_", "-"))
        yield (name.upper() if tyro.conf.Positional in marks else f"--{name}"), inner
        if inner is bool:
            yield f"--no-{name}", inner


def _flat(hint: Any) -> list[Any]:
    """Return the members of a union, and the item types of tuples in it."""
    if get_origin(hint) in (Union, types.UnionType, tuple):
        return [part for one in get_args(hint) for part in _flat(one)]
    return [hint]


def _choices(hint: Any) -> list[Any]:
    return [value for part in _flat(hint) if get_origin(part) is Literal for value in get_args(part)]


def _option(word: str) -> str:
    """Return the option that a word names, in the spelling of the help."""
    return word.partition("=")[0].replace("_", "-")


def _name(argument: Any) -> str:
    """Return the name of an option as typed, and of a positional argument as in the help."""
    return str(argument.field.intern_name.upper() if argument.is_positional() else argument.lowered.name_or_flags[-1])
