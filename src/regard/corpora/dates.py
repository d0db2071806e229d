"""Dates as people write them, in many languages, and in ISO 8601."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, needed
from .examples import Split, TextPair

LANGUAGES = tuple("cs da de el en en_GB es fi fr hu id it ja ko nb nl pl pt ro ru sv tr uk vi zh".split())
"""The default languages."""
FIRST, LAST = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)
NEEDS_BABEL = "The corpus of dates needs babel:"
HELD_OUT = 10  # one day in this many for each of dev and test


def dates(*, size: int = 20_000, languages: Sequence[str] = LANGUAGES, seed: int = 0) -> Split[Sequence[TextPair]]:
    """Return dates as written in a language, such as "Friday, 20 November 2026", with "2026-11-20" as the target.

    `size`: the number of pairs to train on (at most 50,000); dev and test have a tenth of it each. `languages`: names
    of locales as Babel knows them ("de", "pt_BR"). `seed`: draws days, languages and formats.

    The formats are the full, long and medium one of a language and the medium one with its weekday. Formats that
    write the month as a bare number are left out, since 3/4 and 4/3 would be ambiguous. Days are from 1900 to 2099;
    each occurs once, so that no day of dev or test is in train. The same for each call with one version of Babel. Takes
    about 1 s. Licence of the locale data: Unicode-3.0.

    Raises `MissingExtraError` without Babel, `ArgumentError` for a size or a language that cannot be.

    >>> split = dates(size=100, languages=["en"])
    >>> bool({pair.target for pair in split.train} & {pair.target for pair in split.test})
    False
    """
    if not HELD_OUT <= size <= 50_000:
        raise ArgumentError(f"size is {size}; the rule is {HELD_OUT} to 50,000 pairs to train on.")
    if not languages:
        raise ArgumentError("languages is empty. Name at least one, such as 'en'.")
    with needed(NEEDS_BABEL, "train"):
        from babel.dates import format_date
    formats = [(language, form) for language in languages for form in _formats(language)]
    by_language = {language: [form for other, form in formats if other == language] for language in languages}
    random = np.random.default_rng(seed)
    held = size // HELD_OUT
    days = random.choice((LAST - FIRST).days + 1, size + 2 * held, replace=False)
    pairs = []
    for day in days:
        date = FIRST + datetime.timedelta(int(day))
        language = languages[int(random.integers(len(languages)))]
        known = by_language[language]
        form = known[int(random.integers(len(known)))]
        pairs.append(TextPair(format_date(date, form, locale=language), date.isoformat()))
    return Split(
        tuple(pairs[:size]),
        tuple(pairs[size : size + held]),
        tuple(pairs[size + held :]),
        f"Dates in {len(by_language)} languages and {len(formats)} formats (Babel's locale data, Unicode-3.0), "
        f"{size} / {held} / {held} pairs; no day stands in two parts.",
    )


def _formats(language: str) -> list[str]:
    with needed(NEEDS_BABEL, "train"):
        from babel.core import Locale, UnknownLocaleError
    try:
        locale = Locale.parse(language)
    except (UnknownLocaleError, ValueError):
        raise ArgumentError(
            f"languages names {language!r}, which Babel does not know. Give names such as 'en', 'de' or 'pt_BR'."
        ) from None
    found = [_pattern(locale.date_formats[length]) for length in ("full", "long", "medium")]
    if "yMMMEd" in locale.datetime_skeletons:
        found.append(_pattern(locale.datetime_skeletons["yMMMEd"]))
    kept = sorted({pattern for pattern in found if _is_plain(pattern)})
    if not kept:
        raise ArgumentError(f"{language!r} has no format that names the month. Leave it out of languages.")
    return kept


def _pattern(form: Any) -> str:
    return str(getattr(form, "pattern", form))


def _is_plain(pattern: str) -> bool:
    """Return whether day, month and year are unambiguous: the month has a name, or there are signs such as 年 月 日."""
    literal = re.sub(r"'[^']*'", lambda match: match.group()[1:-1], pattern)
    fields = set(re.findall(r"[A-Za-z]+", re.sub(r"'[^']*'", "", pattern)))
    named = re.search(r"MMM|LLL", pattern) is not None
    signed = any(sign.isalpha() and not sign.isascii() for sign in literal)
    return bool(fields & {"y", "yyyy"}) and "G" not in fields and (named or signed)
