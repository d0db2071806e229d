"""Make the pictures of the viewer in docs/pictures/: `python docs/pictures.py`. Needs playwright and Chromium."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

import regard

TEXT = "In 1903 Marie Curie shared the Nobel Prize in Physics with Pierre Curie and Henri Becquerel .".split()
TAGS = "O O B-PER I-PER O O B-PRIZE I-PRIZE O B-FIELD O B-PER I-PER O B-PER I-PER O".split()
SHOTS = {
    "overview": ("#view=overview", 1000, 700),
    "head": ("#view=head&map=1&head=1&query=12&key=3", 1000, 760),
    "head-dark": ("#view=head&map=1&head=1&theme=dark&scale=log", 1000, 760),
    "text": ("#view=text&map=1&head=1&query=12", 1000, 480),
    "compare": ("#view=compare&map=1&head=1&otherMap=1&otherHead=2", 1100, 800),
    "numbers": ("#view=numbers&map=1&head=1", 1100, 780),
}
OUT = Path(__file__).parent / "pictures"


def example() -> regard.viewer.View:
    """Return the attention of a small encoder on one sentence: as it begins, untrained, with sharper weights."""
    torch.manual_seed(4)
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    names = {word: number for number, word in enumerate(dict.fromkeys(TEXT))}
    table = torch.randn(len(names), 64)
    with regard.watch(model, keep="exact") as recording, torch.no_grad():
        model(3 * table[[names[word] for word in TEXT]][None])
    return regard.view(recording, TEXT, labels={"entities": TAGS}, title="An untrained encoder reads one sentence")


def shoot(browser: Any, address: str, name: str) -> None:
    """Photograph one view; in all its colours, since fewer would make the bar of colours untrue."""
    state, width, height = SHOTS[name]
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(address + state)
    page.locator(".caption").filter(has_text="attention weight").wait_for()
    page.wait_for_timeout(700)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.save(OUT / f"viewer-{name}.png", optimize=True)
    page.close()


def main() -> None:
    """Make all of them."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("google-chrome")
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        address = example().save(Path(folder) / "view.html").as_uri()
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        for name in SHOTS:
            shoot(browser, address, name)
        browser.close()


if __name__ == "__main__":
    main()
