"""Views to open in the page, and helpers that read what the page shows."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import regard
from regard.viewer import View

TOKENS = "The animal did not cross the street because it was too tired .".split()
TAGS = "O B-ANIMAL O O O B-PLACE I-PLACE O O O O B-STATE O".split()
VIEWS = ["overview", "head", "text", "compare", "numbers"]
LAYERS, HEADS = 2, 4


def inputs(layer: int, tokens: int, heads: int = HEADS) -> tuple[torch.Tensor, torch.Tensor]:
    """Return queries and keys of one layer, the same ones each time."""
    make = torch.Generator().manual_seed(layer)
    shape = (1, heads, tokens, 8)
    return 2 * torch.randn(shape, generator=make), torch.randn(shape, generator=make)


def calls(tokens: int, layers: int = LAYERS, heads: int = HEADS) -> dict[str, Any]:
    """Return the lazy weights of some causal layers by name."""
    found = {}
    for layer in range(layers):
        query, key = inputs(layer, tokens, heads)
        found[f"layers.{layer}"] = regard.attention(query, key, key, causal=True, need_weights=True)[1]
    return found


def by_numpy(layer: int, tokens: int, heads: int = HEADS) -> NDArray[np.float64]:
    """Return the same weights from the definition, (heads, queries, keys)."""
    query, key = (part[0].double().numpy() for part in inputs(layer, tokens, heads))
    scores = query @ key.transpose(0, 2, 1) / np.sqrt(8)
    scores[:, np.triu(np.ones((tokens, tokens), bool), 1)] = -np.inf
    made = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(made / made.sum(-1, keepdims=True))


def sentence_view() -> View:
    """Return a view of one sentence: two layers of four heads, with tags."""
    return regard.view(calls(len(TOKENS)), TOKENS, labels={"entities": TAGS}, title="One sentence")


def saved(made: View, folder: Path, **settings: Any) -> str:
    """Save a view as a page and return its address on disk."""
    return made.save(folder / "view.html", **settings).as_uri()


def said(page: Any, words: str) -> str:
    """Wait until the page says something with these words, and return all of it."""
    found = page.locator(".says").filter(has_text=re.compile(words))
    found.wait_for()
    return str(found.text_content())


def until(page: Any, condition: str) -> None:
    """Wait until an expression holds in the page, whose policy lets nothing be evaluated from inside it."""
    end = time.monotonic() + 300
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"{condition} does not come true at {page.url}"
        page.wait_for_timeout(20)


def within(page: Any, condition: Callable[[], bool]) -> None:
    """Wait until something that the test itself has counted comes true; the page's events come in meanwhile."""
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end, f"still not so at {page.url}"
        page.wait_for_timeout(20)


def cell_of(sentence: str) -> tuple[int, int]:
    """Return the query and the key that a sentence names."""
    found = [re.search(rf"{side} (\d+) ", sentence) for side in ("query", "key")]
    assert None not in found, sentence
    query, key = (int(one[1]) for one in found if one)
    return query, key


def shares(sentence: str) -> list[float]:
    """Return the shares of attention in a sentence: percentages, or plain numbers where they are tiny."""
    found = re.findall(r"([\d.]+(?:e-?\d+)?)(\s%| of )", sentence)
    return [float(number) / (1 if unit == " of " else 100) for number, unit in found]


def picture(page: Any, canvas: Any) -> NDArray[np.uint8]:
    """Return what stands on the screen at a canvas, (rows, columns, 3)."""
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB"))
