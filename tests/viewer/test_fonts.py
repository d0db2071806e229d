"""Every character that an installed font has is drawn; for others one warning says what to install."""

from __future__ import annotations

import io
import unicodedata
import warnings
from pathlib import Path

import matplotlib
import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

import regard
from regard._drawing import _fonts
from regard.viewer import static
from regard.viewer._tokens import shown

DEJAVU = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the fonts of this machine, for a test to set."""
    paths = [DEJAVU]
    monkeypatch.setattr(_fonts, "_paths", lambda: paths)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    _fonts._fallbacks.cache_clear()
    return paths


def made_font(path: Path, family: str, characters: str) -> str:
    """Write a font in which each of these characters is a square."""
    pen = TTGlyphPen(None)
    for step, point in enumerate(((50, 0), (50, 700), (750, 700), (750, 0))):
        (pen.lineTo if step else pen.moveTo)(point)
    pen.closePath()
    names = [".notdef", *(f"c{ord(one)}" for one in characters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(one): f"c{ord(one)}" for one in characters})
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (800, 50)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return str(path)


def picture(tokens: list[str], title: str | None = None) -> matplotlib.figure.Figure:
    """Draw a map over these tokens."""
    q = torch.randn(len(tokens), 4)
    return static.heatmap(regard.attention(q, q, q, need_weights=True)[1], tokens, title=title)


def said(figure: matplotlib.figure.Figure, kind: str = "png") -> list[str]:
    """Save a picture and return what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(io.BytesIO(), format=kind)
    return [str(one.message) for one in caught]


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_a_text_falls_back_to_a_font_that_has_its_characters(installed: list[str], tmp_path: Path, kind: str) -> None:
    """A font that matplotlib had not listed serves tokens, numbers apart, and a title that was written later."""
    installed += [made_font(tmp_path / "one.ttf", "One", "我愛"), made_font(tmp_path / "two.ttf", "Two", "เ")]
    figure = picture(["我", "a愛", "เ"])
    figure.suptitle("我")
    assert said(figure, kind) == []
    labels = figure.axes[0].get_yticklabels()
    assert [label.get_fontfamily()[-1] for label in labels] == ["One", "One", "Two"]
    assert figure._suptitle.get_fontfamily()[-1] == "One"
    assert "One" not in figure.axes[0].yaxis.label.get_fontfamily()


def test_what_no_font_has_is_said_once(installed: list[str]) -> None:
    """One sentence names the characters and the packages; nothing of matplotlib's own, and nothing the second time."""
    figure = picture(["我爱", "नमस्ते", "ก", "🀄"])
    (sentence,) = said(figure)
    assert "我 (U+6211)" in sentence
    for package in ("fonts-noto-cjk", "fonts-noto-core", "fonts-thai-tlwg"):
        assert package in sentence
    assert said(figure) == []
    assert said(picture(["我爱", "a"]), "svg") == []  # the reader's fonts draw it


def test_symbols_name_a_font_of_outlines(installed: list[str]) -> None:
    """An emoji asks for a font that matplotlib can draw."""
    (sentence,) = said(picture(["\N{TACO}", "a"]))
    assert "fonts-symbola" in sentence


def test_no_font_that_cannot_be_drawn_is_chosen(tmp_path: Path) -> None:
    """A damaged file and one that is no font are passed over."""
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(Path(DEJAVU).read_bytes()[:2000])
    assert _fonts._font(str(broken)) is None
    assert _fonts._font(str(tmp_path / "none.ttf")) is None


def test_text_stays_text_whoever_saves(installed: list[str]) -> None:
    """`savefig` of a figure writes words into SVG, and fonts into PDF, unless matplotlib's settings say otherwise."""
    figure = picture(["Google", "a"])
    stream = io.BytesIO()
    figure.savefig(stream, format="svg")
    assert b"Google</text>" in stream.getvalue()
    stream = io.BytesIO()
    figure.savefig(stream, format="pdf")
    assert b"/Type0" in stream.getvalue()
    assert b"/Type3" not in stream.getvalue()
    with matplotlib.rc_context({"svg.hashsalt": "mine"}):
        figure.savefig(io.BytesIO(), format="svg")
        assert matplotlib.rcParams["svg.hashsalt"] == "mine"


def test_joiners_stay_between_what_they_join() -> None:
    """A family of emoji is one; a joiner alone has no shape."""
    family = "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}"
    assert shown(family) == family
    assert shown("\N{ZERO WIDTH JOINER}") == "\N{REPLACEMENT CHARACTER}"
    assert unicodedata.category("\N{RIGHT-TO-LEFT MARK}") == "Cf"
    assert shown("a\N{RIGHT-TO-LEFT MARK}") == "a\N{REPLACEMENT CHARACTER}"


def test_scripts_that_matplotlib_cannot_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 3.11 words from the right, and letters that join, are wrong on paper; that is said."""
    monkeypatch.setattr(matplotlib, "__version_info__", (3, 10, 1, "final", 0))
    assert "3.11 or newer" in said(picture(["\N{HEBREW LETTER SHIN}\N{HEBREW LETTER LAMED}", "a"]))[0]
    assert said(picture(["a", "b"])) == []
    monkeypatch.undo()
    assert said(picture(["\N{HEBREW LETTER SHIN}\N{HEBREW LETTER LAMED}", "a"])) == []
