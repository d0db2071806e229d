"""Fonts for the characters of a picture: matplotlib's own has Latin, Greek, Cyrillic, Hebrew and Arabic only.

For a missing character, installed fonts are searched, including those installed after matplotlib built its font list.
A text keeps its font and falls back to these, glyph by glyph.
"""

from __future__ import annotations

import functools
import unicodedata
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# The Debian or Ubuntu package for a script, by the first word of the Unicode names of its characters.
_PACKAGES = {
    "CJK": "fonts-noto-cjk",
    "HIRAGANA": "fonts-noto-cjk",
    "KATAKANA": "fonts-noto-cjk",
    "HANGUL": "fonts-noto-cjk",
    "THAI": "fonts-thai-tlwg",
    "DEVANAGARI": "fonts-noto-core",
}
_SYMBOLS = "fonts-symbola"
_OTHERS = "fonts-noto-core"


class _Font(NamedTuple):
    family: str
    path: str
    characters: frozenset[int]
    plain: bool


def choose_fonts(figure: Figure) -> str:
    """Add fallback fonts to each text of a figure; return the characters that no font has."""
    from matplotlib.text import Text

    for panel in figure.axes:  # matplotlib creates tick labels only when they are requested
        panel.get_xticklabels()
        panel.get_yticklabels()
    every = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text().strip()]
    missing = {text: _missing(text) for text in every if not text.get_text().isascii()}
    wanted = frozenset().union(*missing.values())
    if not wanted:
        return ""
    chosen = _fallbacks(wanted)
    for text, lacks in missing.items():
        own = text.get_fontfamily()
        more = [font.family for font in chosen if font.characters & lacks and font.family not in own]
        if more:
            text.set_fontfamily([*own, *more])
    return "".join(map(chr, sorted(wanted.difference(*(font.characters for font in chosen)))))


def say_unshaped(figure: Figure) -> None:
    """Warn if matplotlib lacks text shaping and the script needs it (joined letters, right to left)."""
    import matplotlib
    from matplotlib.text import Text

    if matplotlib.__version_info__[:2] >= (3, 11):
        return
    written = "".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))
    if any(unicodedata.bidirectional(one) in ("R", "AL") or unicodedata.category(one) == "Mc" for one in written):
        warnings.warn(
            f"matplotlib {matplotlib.__version__} sets letters one by one from left to right, which is wrong for some "
            "of these words (Hebrew, Arabic, Devanagari, …). Install matplotlib 3.11 or newer, or save as .svg or "
            ".html, which the reader's fonts draw.",
            UserWarning,
            stacklevel=4,
        )


def say_missing(characters: str) -> None:
    """Warn which characters are drawn as boxes, and what to install."""
    packages = dict.fromkeys(_package(one) for one in characters)
    listed = " ".join(f"{one} (U+{ord(one):04X})" for one in characters[:8]) + (" …" if len(characters) > 8 else "")
    warnings.warn(
        f"No installed font that matplotlib can draw has {listed}: drawn as boxes. Install one (on Debian and Ubuntu: "
        f"apt-get install {' '.join(packages)}), or save as .svg or .html, which the reader's fonts draw. Colour emoji "
        "fonts are of no use here: matplotlib draws outlines.",
        UserWarning,
        stacklevel=4,
    )


def _package(character: str) -> str:
    script = unicodedata.name(character, "").split(" ")[0].split("-")[0]
    symbol = unicodedata.category(character) in ("So", "Sk", "Sm", "Co")
    return _PACKAGES.get(script, _SYMBOLS if symbol else _OTHERS)


def _missing(text: Text) -> frozenset[int]:
    from matplotlib.font_manager import findfont

    properties = text.get_fontproperties()
    found: set[int] = set()
    for family in properties.get_family():
        alone = properties.copy()
        alone.set_family(family)
        font = _font(str(findfont(alone)))
        found |= font.characters if font is not None else set()
    return frozenset(map(ord, filter(_has_shape, text.get_text()))) - found


def _has_shape(character: str) -> bool:
    # Line ends, joiners and variation selectors modify their neighbours and have no glyph.
    selector = "\ufe00" <= character <= "\ufe0f"
    return not selector and unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


@functools.lru_cache(maxsize=64)
def _fallbacks(wanted: frozenset[int]) -> tuple[_Font, ...]:
    """Return the fewest fonts that cover the characters, as far as possible; plain ones first."""
    from matplotlib.font_manager import fontManager

    fonts = [font for font in map(_font, _paths()) if font is not None and font.characters & wanted]
    chosen: list[_Font] = []
    left = wanted
    while left and fonts:
        best = max(fonts, key=lambda font: (len(font.characters & left), font.plain, "Noto" in font.family, font.path))
        if not best.characters & left:
            break
        if all(entry.fname != best.path for entry in fontManager.ttflist):
            fontManager.addfont(best.path)
        chosen.append(best)
        left -= best.characters
    return tuple(chosen)


def _paths() -> Iterable[str]:
    from matplotlib.font_manager import findSystemFonts, fontManager

    return dict.fromkeys([*(entry.fname for entry in fontManager.ttflist), *sorted(findSystemFonts())])


@functools.lru_cache(maxsize=4096)
def _font(path: str) -> _Font | None:
    """Return a font if matplotlib can draw it; None for bitmap emoji, damaged files, and fonts of placeholder boxes."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
        characters = frozenset(font.get_charmap())
    except (OSError, RuntimeError):
        return None
    name = font.family_name
    if not font.scalable or "Last Resort" in name or "LastResort" in name:
        return None
    plain = font.style_name in ("Regular", "Book", "Roman") and "Serif" not in name and "Mono" not in name
    return _Font(name, path, characters, plain)
