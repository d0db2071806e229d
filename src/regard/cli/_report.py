"""The report of a run: a page with figures, the curve, some answers, and the model's attention."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..tasks import Attention, Evaluation, NamedEntities, Sentence, Task
from ..viewer import label_colours, static
from ._looking import view_of
from ._sections import escaped, row, sections
from .predict import DEDENT, INDENT, NEWLINE, describe, inputs_of, pieces

__all__ = ["PAGE", "shown_answers", "write_report"]

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
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem; text-align: left; }
tr + tr { border-top: 1px solid #ccc; } td + td, th + th { text-align: right; }
pre { white-space: pre-wrap; background: #f4f4f4; padding: .8rem; }
mark { background: none; color: inherit; border-bottom: 3px solid; white-space: nowrap; } mark small { color: #444; }
img { max-width: 100%; height: auto; }
.note { border-left: 4px solid #c60; padding-left: .8rem; }
.right { background: #dff0df; }
"""


def write_report(task: Task[Any, Any], test: Any, evaluation: Evaluation, folder: Path, *, looks: bool = True) -> Path:
    """Write `report.html`, `report.txt` and `evaluation.json` into a folder; return the page.

    With `looks` also the viewer's page `attention.html` and pictures of the attention on one example.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join([str(evaluation), *evaluation.report.lines(), ""])
    (folder / "report.txt").write_text(text, encoding="utf-8", errors="backslashreplace")
    (folder / "evaluation.json").write_text(json.dumps(evaluation.to_dict(), indent=1), encoding="utf-8")
    names = list(evaluation.figures)
    rows = [row("th", ["", *names]), row("td", [_SAID[evaluation.uses], *_numbers(evaluation.figures, names)])]
    if evaluation.alone:
        rows.append(row("td", ["the transformer by itself", *_numbers(evaluation.alone, names)]))
    if evaluation.baseline:
        rows.append(row("td", [f"baseline: {evaluation.baseline_name}", *_numbers(evaluation.baseline, names)]))
    curves = '<h2>Training</h2><img src="curves.png" alt="Loss and development figure over the steps">'
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{escaped(task.name)}</title><style>{STYLE}</style>"
        f"<h1>{escaped(task.name)}</h1><p>{escaped(str(evaluation).splitlines()[0])}</p><table>{''.join(rows)}</table>"
        f"{''.join(sections(evaluation.report))}<h2>Some answers</h2>{shown_answers(task, test)}"
        f"{curves if (folder / 'curves.png').exists() else ''}{_looks(task, test, folder) if looks else ''}</html>\n"
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8", errors="backslashreplace")
    return path


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
    """Draw all heads as small maps, and one head of the last layer with tokens."""
    alike = {name: weights for name, weights in seen.weights.items() if not seen.source or "cross" in name}
    last = list(alike)[-1]
    keys = seen.source or seen.tokens
    labels = seen.labels or None
    grid = static.heads_grid(alike)
    sharpest = int(alike[last].entropy().mean(-1)[0].argmin())
    one = static.heatmap(
        alike[last], seen.tokens, key_tokens=keys, labels=labels, key_labels=None if seen.source else labels,
        head=sharpest, title=f"{last.split('layers.')[-1]}, head {sharpest}",
    )  # fmt: skip
    pages = []
    for name, figure, text in (
        ("heads", grid, "Every layer and head, one colour range"),
        ("head", one, "The head of the last layer with the least entropy: queries down, keys across"),
    ):
        figure.savefig(folder / f"{name}.png", dpi=150)
        pages.append(f'<p>{escaped(text)}:</p><img src="{name}.png" alt="{escaped(text)}">')
    return pages


def _numbers(figures: dict[str, float], names: list[str]) -> list[str]:
    return [f"{figures[name]:.4g}" if name in figures else "" for name in names]
