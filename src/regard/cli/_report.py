"""The report of a run: a page with figures, the curve, some answers, and the model's attention."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .. import _files
from ..tasks import Attention, Evaluation, NamedEntities, Sentence, Task
from ..viewer import label_colours, static
from ._looking import view_of
from ._sections import escaped, numbers, row, sections, table
from .predict import DEDENT, INDENT, NEWLINE, describe, inputs_of, pieces

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "attention.html"

# Most tokens of the input that is drawn: more would be illegible.
MOST = 60
# Number of examples whose answers are shown.
ANSWERS = 5

_SAID = {
    "model": "this model",
    "mix": "this mix of transformer and baseline",
    "baseline": "the baseline, which is kept",
}

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  overflow-wrap: break-word; }
.wide { overflow-x: auto; } .wide :is(td, th):first-child { min-width: 8rem; } table { border-collapse: collapse; }
td, th { padding: .2rem .8rem; text-align: left; vertical-align: top; }
tr + tr { border-top: 1px solid color-mix(in srgb, CanvasText 25%, Canvas); }
td + td, th + th { text-align: right; }
pre { white-space: pre-wrap; background: color-mix(in srgb, CanvasText 6%, Canvas); padding: .8rem; }
mark { background: none; color: inherit; border-bottom: 3px solid; } mark small { opacity: .8; }
figure { margin: 1rem 0; overflow-x: auto; } figcaption { position: sticky; left: 0; }
img { height: auto; }
.note { border-left: 4px solid #c60; padding-left: .8rem; }
.right { background: color-mix(in srgb, #2a2 18%, Canvas); }
"""
# Dots of the page in an inch of a picture, and points of its words: 12 dots high on every screen.
_DOTS, _LETTERS = 96, 9.0
_DARK = {
    "figure.facecolor": "#121212", "axes.facecolor": "#121212", "text.color": "#e8e8e8", "axes.labelcolor": "#e8e8e8",
}  # fmt: skip


def write_report(task: Task[Any, Any], test: Any, evaluation: Evaluation, folder: Path, *, looks: bool = True) -> Path:
    """Write `report.html`, `report.txt` and `evaluation.json` into a folder; return the page.

    With `looks` also the viewer's page `attention.html` and pictures of the attention on one example.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = list(evaluation.figures)
    rows = [row("th", ["", *names]), row("td", [_SAID[evaluation.uses], *numbers(evaluation.figures, names)])]
    if evaluation.alone:
        rows.append(row("td", ["the transformer by itself", *numbers(evaluation.alone, names)]))
    if evaluation.baseline:
        rows.append(row("td", [f"baseline: {evaluation.baseline_name}", *numbers(evaluation.baseline, names)]))
    curves = (
        '<h2>Training</h2><figure tabindex="0"><img src="curves.png" width="760" '
        'alt="Loss and development figure over the steps"></figure>'
    )
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escaped(task.name)}</title><style>{STYLE}</style>"
        f"<h1>{escaped(task.name)}</h1><p>{escaped(str(evaluation).splitlines()[0])}</p>"
        f"{table(rows)}{''.join(sections(evaluation.report))}<h2>Some answers</h2>{shown_answers(task, test)}"
        f"{curves if (folder / 'curves.png').exists() else ''}{_looks(task, test, folder) if looks else ''}</html>\n"
    )
    text = "\n".join([str(evaluation), *evaluation.report.lines(), ""])
    written = {"report.txt": text, "evaluation.json": json.dumps(evaluation.to_dict(), indent=1), "report.html": page}
    for name, said in written.items():
        _files.write(folder / name, said.encode("utf-8", errors="backslashreplace"))
    return folder / "report.html"


def _looks(task: Task[Any, Any], test: Any, folder: Path) -> str:
    """Write the page and the pictures of the attention on one example; return what leads there."""
    one, seen = _example(task, test)
    view_of(seen, f"{task.name}: one test example", one).save(folder / PAGE)
    return (
        f"<h2>What it attends to</h2><p><a href='{PAGE}'>Every layer, head and token of one example</a>: "
        f"zoom, search, compare; the page needs no network.</p>{''.join(_draw(seen, folder))}"
    )


def shown_answers(task: Task[Any, Any], test: Any) -> str:
    """Return the model's answers to some examples as HTML; entities are underlined in the colour of their label."""
    if not isinstance(task, NamedEntities):
        return f"<pre>{escaped(chr(10).join(describe(task, test, ANSWERS)))}</pre>"
    colours = label_colours(tag[2:] for tag in task.tags_ if tag != "O")
    shown = "".join(f"<pre>{_tagged(one, colours)}</pre>" for one in task.predict(inputs_of(task, test, ANSWERS)))
    return f"<p>What is underlined the model found to be a name; its kind follows in small letters.</p>{shown}"


def _tagged(sentence: Sentence, colours: dict[str, str]) -> str:
    """Return a sentence with its entities as HTML; line ends in code are restored."""
    is_code, depth, between, written = NEWLINE in sentence.words, 0, "", ""
    for text, label in pieces(sentence):
        if is_code and text in (NEWLINE, INDENT, DEDENT):
            depth = max(0, depth + (text == INDENT) - (text == DEDENT))
            between = "\n" + "    " * depth
            continue
        word = escaped(text)
        if label:
            word = f'<mark style="border-color: {colours[label]}">{word} <small>{escaped(label)}</small></mark>'
        written += between + word if written else word
        between = " "
    return written


def _example(task: Task[Any, Any], test: Any) -> tuple[Any, Attention]:
    """Return an input and its attention: the first test example that is short enough to be legible, or the shortest."""
    found: tuple[Any, Attention] | None = None
    for one in inputs_of(task, test, 30):
        seen = task.attention(one)
        size = max(len(seen.tokens), len(seen.source))
        if 8 <= size <= MOST:
            return one, seen
        if found is None or size < max(len(found[1].tokens), len(found[1].source)):
            found = one, seen
    first = inputs_of(task, test, 1)[0]
    return found or (first, task.attention(first))


def _draw(seen: Attention, folder: Path) -> list[str]:
    """Draw all heads as small maps, and one head of the last layer with tokens; dark on light and light on dark."""
    from matplotlib import rc_context

    alike = {name: weights for name, weights in seen.weights.items() if not seen.source or "cross" in name}
    last = list(alike)[-1]
    keys = seen.source or seen.tokens
    labels = seen.labels or None
    sharpest = int(alike[last].entropy().mean(-1)[0].argmin())

    def grid() -> Figure:
        return static.heads_grid(alike, fontsize=_LETTERS)

    def one() -> Figure:
        return static.heatmap(
            alike[last], seen.tokens, key_tokens=keys, labels=labels, key_labels=None if seen.source else labels,
            head=sharpest, title=f"{last.split('layers.')[-1]}, head {sharpest}", fontsize=_LETTERS,
        )  # fmt: skip

    pages = []
    for name, draw, text in (
        ("heads", grid, "Every layer and head, one colour range"),
        ("head", one, "The head of the last layer with the least entropy: queries down, keys across"),
    ):
        # Its own words, drawn at their size and scrolled on a narrow screen; in the dark a picture with light letters.
        for suffix, style in (("", {}), ("-dark", _DARK)):
            with rc_context(cast(Any, style)):
                figure = draw()
                figure.savefig(folder / f"{name}{suffix}.png", dpi=2 * _DOTS)
        width = round(figure.get_figwidth() * _DOTS)
        pages.append(
            f'<figure tabindex="0"><figcaption>{escaped(text)}:</figcaption><picture>'
            f'<source srcset="{name}-dark.png" media="(prefers-color-scheme: dark)">'
            f'<img src="{name}.png" width="{width}" alt="{escaped(text)}"></picture></figure>'
        )
    return pages
