"""Every error of regard, in one small tree.

Each class also inherits the builtin that a caller would expect, so code that catches `ValueError`
or `TypeError` goes on working. A message says what was given, what the rule is, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "BackendError",
    "DataError",
    "DeviceError",
    "DtypeError",
    "KernelError",
    "MissingExtraError",
    "ModelFileError",
    "RecordingFileError",
    "RefusedError",
    "RegardError",
    "ShapeError",
    "StaleWeightsError",
    "TooLargeError",
    "UnknownArgumentError",
]


class RegardError(Exception):
    """Base class of every error that regard raises on purpose."""


class ShapeError(RegardError, ValueError):
    """A tensor has the wrong rank or sizes that do not fit together."""


class DtypeError(RegardError, TypeError):
    """A tensor has a dtype that is not accepted, or dtypes are mixed."""


class DeviceError(RegardError, ValueError):
    """Tensors lie on different devices."""


class ArgumentError(RegardError, ValueError):
    """An argument lies outside the values it may take."""


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument is of a kind that says nothing here: a string for a number, a number for a name."""


class UnknownArgumentError(RegardError, TypeError):
    """A keyword that does not exist was given."""


class DataError(RegardError, ValueError):
    """A file of data breaks a rule of its format, or is in none that is known."""


class BackendError(RegardError, RuntimeError):
    """The backend that was asked for by name is unknown, missing, or refuses the call."""


class RefusedError(BackendError):
    """A backend that was asked for by name refuses the call; nothing has been computed.

    Made of the message, the name of the backend and its reason, without a constructor: a compiled graph may raise it.
    """

    @property
    def backend(self) -> str:
        """Who refuses."""
        return str(self.args[1])

    @property
    def reason(self) -> str:
        """Why, as in the table of `regard.explain`."""
        return str(self.args[2])

    def __str__(self) -> str:
        """Give the message."""
        return str(self.args[0])


class KernelError(RegardError, RuntimeError):
    """A kernel that had accepted a call failed while it ran."""


class TooLargeError(RegardError, MemoryError):
    """The result that was asked for would not fit in memory."""


class StaleWeightsError(RegardError, RuntimeError):
    """A tensor that lazy weights are computed from was changed after their call."""


class ModelFileError(RegardError, ValueError):
    """A file of a saved model is missing, damaged, or does not fit; or the hub cannot give it."""


class RecordingFileError(RegardError, ValueError):
    """A recording on disk is missing, damaged, cannot be trusted, or could not be written."""


class MissingExtraError(RegardError, ImportError):
    """An optional package is not installed."""


def install_line(extra: str) -> str:
    """Return the command that installs what an extra needs; regard is on no package index, so it names the clone.

    >>> install_line("view")
    '`pip install ".[view]"` in a clone of regard'
    """
    return f'`pip install ".[{extra}]"` in a clone of regard'


def enumerated(things: Iterable[str], most: int = 8) -> str:
    """Return a list of names in words, shortened.

    >>> enumerated("abcd", most=2)
    'a, b and 2 more'
    """
    found = list(things)
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")


@contextmanager
def needed(why: str, extra: str) -> Iterator[None]:
    """Within the block an import that fails is a `MissingExtraError`: `why`, and how to install the extra.

    >>> with needed("This needs nothing:", "view"):
    ...     import there_is_no_such_package
    Traceback (most recent call last):
        ...
    regard.errors.MissingExtraError: This needs nothing: `pip install ".[view]"` in a clone of regard.
    """
    try:
        yield
    except ImportError:
        raise MissingExtraError(f"{why} {install_line(extra)}.") from None


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the choice closest to `word`, or an empty string."""
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""


def unknown_argument(function: str, given: Iterable[str], known: Iterable[str]) -> UnknownArgumentError:
    """Build the error for keywords that `function` does not have, naming the nearest one it has."""
    known = list(known)
    first = next(iter(given))
    return UnknownArgumentError(
        f"{function}() has no argument {first!r}.{nearest(first, known)} It takes: {', '.join(known)}."
    )
