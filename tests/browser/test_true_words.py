"""Nothing is stated that is not known: sums over missing weights, orders, kinds, and why a number is not there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import regard
from regard.viewer import Grid
from tests.browser.pages import by_numpy, calls, said, saved, until

Open = Callable[..., Any]
LONG = 1400


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two heads of 1,400 tokens, exact, in a file that has room for cells of some tokens and the largest weights."""
    made = regard.view(calls(LONG, 1, 2), [f"t{n}" for n in range(LONG)])
    return saved(made, tmp_path_factory.mktemp("limited"), budget_mib=1.2)


def test_a_file_that_left_weights_out_says_so(limited: str, open_page: Open) -> None:
    """Of exact weights no view says that they were not recorded: they are not in this file."""
    for view in ("head", "text", "numbers"):
        page = open_page(f"{limited}#view={view}&query=700")
        page.locator("#regard").filter(has_text=re.compile(r"not in this file.*cells of", re.DOTALL)).wait_for()
        whole = page.locator("#regard").inner_text()
        assert "not recorded" not in whole.replace("were not recorded in", "")
        assert "not in this file" in whole


def test_a_summary_says_not_recorded(open_page: Open, tmp_path: Path) -> None:
    """Of a recording that kept summaries single weights were not recorded, whatever holds it."""

    class Model(torch.nn.Module):
        def forward(self, query: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.scaled_dot_product_attention(query, query, query)

    model = Model()
    with torch.no_grad(), regard.watch(model, keep="summary") as recording:
        model(torch.randn(1, 2, 600, 8, generator=torch.Generator().manual_seed(0)))
    page = open_page(saved(regard.view(recording), tmp_path) + "#view=numbers")
    page.locator(".caption").filter(has_text="finer ones are not recorded").wait_for()
    assert "not in this file" not in page.locator("#regard").inner_text()


def test_the_sum_on_the_screen_is_no_more_than_is_known(limited: str, open_page: Open) -> None:
    """With a few weights of a row the sum over a stretch is at least so much, or not known: never 0 %."""
    page = open_page(f"{limited}#view=text&query={LONG - 1}")
    sentence = said(page, "looks at")
    exact = by_numpy(0, LONG, 2)[0, LONG - 1]
    here = exact[1200:].sum()
    assert "0 % on the tokens shown here" not in sentence
    if "at least" in sentence:
        found = float(re.search(r"at least ([\d.]+) %", sentence)[1]) / 100  # type: ignore[index]
        assert 0 < found <= here + 1e-3
    else:
        assert "its weights on the tokens shown here are not in this file" in sentence


def test_the_mean_of_heads_has_numbers_on_a_limited_page(limited: str, open_page: Open) -> None:
    """Two heads whose largest weights lie elsewhere: their mean is that of the cells, and says so."""
    page = open_page(f"{limited}#view=text&chosen=0,1&query={LONG - 1}")
    sentence = said(page, "looks at")
    assert re.search(r"\d %|e-\d\d", sentence)
    caption = page.locator(".caption")
    caption.filter(has_text="means over cells").wait_for()
    assert "mean of heads 0, 1" in caption.text_content()


def test_an_order_is_named_when_it_is_there(open_page: Open) -> None:
    """While the entropies are on their way the heads stand in the order of layers, and the page says so."""
    with regard.view(calls(40)).serve(open_browser=False) as served:
        page = open_page(served.url)
        page.locator("button.thumb").first.wait_for()
        waiting: list[Any] = []
        page.route(re.compile("/measures/"), lambda route: waiting.append(route))
        page.goto(page.url.split("#")[0] + "#view=overview&sort=entropy")
        page.reload()
        caption = page.locator(".caption")
        caption.filter(has_text="not yet sorted: entropy is being computed").wait_for()
        assert " · sorted by" not in caption.text_content()
        for route in waiting:
            route.continue_()
        caption.filter(has_text="sorted by entropy").wait_for()
        page.unroute_all(behavior="ignoreErrors")


def test_nan_is_told_as_nan(open_page: Open, tmp_path: Path) -> None:
    """In the sentence, in Text, beside the head and in the order: not a number, never not recorded or a kind."""
    query = torch.randn(1, 2, 8, 4, generator=torch.Generator().manual_seed(0))
    query[0, 0, 5] = torch.nan
    weights = regard.attention(query, torch.ones(1, 2, 8, 4), query.nan_to_num(), need_weights=True)[1]
    address = saved(regard.view(weights, list("abcdefgh")), tmp_path)
    page = open_page(f"{address}#view=head&query=5&key=2")
    assert "is not a number (NaN)" in said(page, "query 5")
    page.get_by_text("not known: its measures are not").wait_for()
    assert page.get_by_text("not a number (NaN)").count() >= 2
    page.goto(f"{address}#view=text&query=5")
    assert said(page, "Where f looks") == "Where f looks is not a number (NaN)."
    page.goto(f"{address}#view=overview&sort=entropy")
    page.locator(".thumb", has_text="NaN").first.wait_for()


def test_a_query_that_sees_nothing_says_so(open_page: Open, tmp_path: Path) -> None:
    """Everything masked is not the same as nothing recorded."""
    mask = torch.ones(1, 1, 6, 6, dtype=torch.bool)
    mask[..., 2, :] = False
    query = torch.randn(1, 1, 6, 4, generator=torch.Generator().manual_seed(0))
    weights = regard.attention(query, query, query, mask=mask, need_weights=True)[1]
    page = open_page(saved(regard.view(weights, list("abcdef")), tmp_path) + "#view=text&query=2")
    assert said(page, "looks at nothing") == "c looks at nothing: every key is masked for it."


WORDS = "[CLS] the animal did not cross . [SEP] it was too tired . [SEP]".split()


def head_on(*keys: int) -> torch.Tensor:
    """Return a matrix in which all queries give nine tenths to some keys."""
    matrix = torch.full((len(WORDS), len(WORDS)), 0.1 / (len(WORDS) - len(keys)))
    matrix[:, list(keys)] = 0.9 / len(keys)
    return matrix


@pytest.mark.parametrize("draw", ["canvas", "webgl2"])
def test_the_sink_is_named_whatever_it_is(draw: str, open_page: Open, tmp_path: Path) -> None:
    """A head on [SEP] is a sink at [SEP], not at [CLS]; hidden are the keys that take the mass, in each view."""
    made = torch.stack([head_on(7, 13), head_on(0), head_on(6, 12)])
    address = saved(regard.view(made, WORDS), tmp_path)
    for head, words in enumerate(['"[SEP]" at 7, 13 (90.0 %)', '"[CLS]" at 0 (90.0 %)', '"." at 6, 12 (90.0 %)']):
        page = open_page(f"{address}#view=head&head={head}&draw={draw}")
        page.get_by_text(words).wait_for()
        assert page.locator("dt", has_text="kind of head").locator("+ dd").text_content() == "sink"
        page.get_by_label("Hide sinks").check()
        page.locator(".caption").filter(has_text=re.compile(r"\d sinks? hidden")).wait_for()
        end = re.search(r"colours up to ([\d.]+)", page.locator(".caption").text_content())
        assert end is not None
        assert float(end[1].rstrip(".")) < 0.02
    page.get_by_role("tab", name="Numbers").click()
    page.locator("table td").first.wait_for()
    assert page.locator("td", has_text="hidden").count() == 2 * len(WORDS)
    page.get_by_role("tab", name="Text").click()
    said(page, "looks at")
    assert page.locator(".tokens button", has_text="▼").count() == 2
    assert '"."' not in said(page, "looks at")


def test_patches_are_told_in_two_dimensions(open_page: Open, tmp_path: Path) -> None:
    """A head that looks one row down: a distance of one patch, neighbours, and no previous token."""
    down = torch.zeros(1, 16, 16)
    down[0, range(16), [(place + 4) % 16 for place in range(16)]] = 1
    image = np.zeros((40, 40, 3), np.uint8)
    page = open_page(saved(regard.view(down, grid=Grid(4, 4, image=image)), tmp_path) + "#view=head")
    page.get_by_text("to the eight patches around", exact=True).wait_for()
    assert page.locator("dt", has_text="kind of head").locator("+ dd").text_content() == "neighbours"
    assert page.locator("dt", has_text="mean distance").locator("+ dd").text_content() == "1.50 patches"
    assert page.get_by_text("to the previous token", exact=True).count() == 0


def test_compare_opens_before_against_after(open_page: Open, tmp_path: Path) -> None:
    """Of two models the same head of the same layer; the choice of another is kept in the address."""
    made = regard.view({"before": calls(13), "after": calls(13)}, [f"t{n}" for n in range(13)])
    page = open_page(saved(made, tmp_path) + "#view=compare&map=1&head=2")
    page.get_by_role("heading", name="First: before, layers.1, head 2").wait_for()
    page.get_by_role("heading", name="Second: after, layers.1, head 2").wait_for()
    page.get_by_label("Second head").select_option("3")
    page.get_by_role("heading", name="Second: after, layers.1, head 3").wait_for()
    page.reload()
    page.get_by_role("heading", name="Second: after, layers.1, head 3").wait_for()


def test_text_begins_where_there_is_something_to_see(open_page: Open, tmp_path: Path) -> None:
    """The last query of a causal text, scrolled to; lines stay lines, without the tokenizer's marks."""
    lines = [part for n in range(90) for part in ("def", f"Ġf{n}", "Ċ", "ĠĠĠ", "Ġreturn", f"Ġ{n}", "Ċ")][:590]
    page = open_page(saved(regard.view(calls(len(lines), 1, 1), lines), tmp_path) + "#view=text")
    chosen = page.locator(".tokens button.chosen")
    chosen.wait_for()
    assert page.locator(".tokens button").last.get_attribute("class").endswith("chosen")
    box = chosen.bounding_box()
    assert 0 < box["y"] < 900
    assert page.evaluate("document.scrollingElement.scrollTop") > 200
    assert page.locator(".tokens br").count() == lines.count("Ċ")
    text = page.locator(".tokens").inner_text()
    assert "Ġ" not in text
    assert "Ċ" not in text
    boxes = [one.bounding_box() for one in page.locator(".tokens button").all()[:4]]
    assert boxes[0]["y"] == boxes[2]["y"] < boxes[3]["y"]


def test_an_entity_is_one(open_page: Open, tmp_path: Path) -> None:
    """A class is written once a span, and its tokens join; two spans beside each other stay two."""
    tags = ["O", "B-PER", "I-PER", "B-PER", "O"]
    page = open_page(saved(regard.view(calls(5, 1, 1), list("abcde"), labels=tags), tmp_path) + "#view=text")
    page.locator(".tokens sup").first.wait_for()
    assert [one.text_content() for one in page.locator(".tokens sup").all() if one.text_content() != "▼"] == [
        "PER",
        "PER",
    ]
    boxes = [one.bounding_box() for one in page.locator(".tokens button").all()]
    assert abs(boxes[1]["x"] + boxes[1]["width"] - boxes[2]["x"]) < 0.6
    assert boxes[3]["x"] - boxes[2]["x"] - boxes[2]["width"] > 0.8


def test_no_cell_is_about_zero(open_page: Open, tmp_path: Path) -> None:
    """Where all weights are small each cell has its number."""
    made = regard.view(torch.full((9, 9), 0.0021))
    page = open_page(saved(made, tmp_path) + "#view=head")
    page.locator(".caption").filter(has_text="one token a cell").wait_for()
    page.wait_for_timeout(200)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save SVG").click()
    text = Path(waiting.value.path()).read_text("utf-8")
    assert "≈0" not in text
    assert text.count(">2e-3<") == 81


def test_a_link_leads_back_to_the_first_cell(open_page: Open, tmp_path: Path) -> None:
    """Query 0 and key 0 are a choice as any other."""
    page = open_page(saved(regard.view(calls(13)), tmp_path) + "#view=head&query=0&key=0")
    assert "query 0" in said(page, "query 0")
    until(page, "location.hash.includes('query=0')")
