"""Using the page with keyboard and mouse, and the correctness of the numbers shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import regard
from tests.browser.pages import (
    HEADS,
    TOKENS,
    by_numpy,
    calls,
    cell_of,
    picture,
    said,
    saved,
    sentence_view,
    shares,
    until,
    within,
)

Open = Callable[..., Any]


@pytest.fixture
def page(open_page: Open, tmp_path: Path) -> Any:
    """The sentence, one head, opened from disk."""
    found = open_page(saved(sentence_view(), tmp_path) + "#view=head")
    found.locator(".matrix canvas").last.wait_for()
    found.get_by_text("kind of head").wait_for()
    return found


def test_keys_move_a_cell_whose_number_is_numpys(page: Any) -> None:
    """Arrows go from cell to cell; what is said of each is the weight that NumPy computes, masked cells are masked."""
    exact = by_numpy(0, len(TOKENS))[0]
    page.locator(".matrix canvas").last.focus()
    query, column = -1, 0
    for key in [*["ArrowDown"] * 8, *["ArrowRight"] * 4]:
        page.keyboard.press(key)
        query, column = query + (key == "ArrowDown"), column + (key == "ArrowRight")
        sentence = said(page, rf'query {query} "{TOKENS[query]}" .* key {column} "{TOKENS[column]}"')
        assert abs(shares(sentence)[0] - exact[query, column]) < 6e-4
    page.keyboard.press("Shift+ArrowRight")
    assert 'key 12 "." is masked for query 7 "because"' in said(page, "masked")


def test_mouse_reads_the_cell_under_it(page: Any) -> None:
    """The tooltip sentence follows the pointer, and a click keeps the cell in the address."""
    canvas = page.locator(".matrix canvas").last
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.3, "y": box["height"] * 0.75})
    sentence = said(page, "gives")
    query, column = cell_of(sentence)
    assert abs(shares(sentence)[0] - by_numpy(0, len(TOKENS))[0, query, column]) < 6e-4
    until(page, f"location.hash.includes('query={query}')")


def test_brackets_turn_heads_and_layers(page: Any) -> None:
    """] [ } { go through heads and layers, round the end, and the page says where it is."""
    page.locator(".matrix canvas").last.focus()
    for key, where in [("]", "layers.0, head 1"), ("[", "layers.0, head 0"), ("[", f"layers.0, head {HEADS - 1}"),
                       ("}", f"layers.1, head {HEADS - 1}"), ("}", f"layers.0, head {HEADS - 1}")]:  # fmt: skip
        page.keyboard.press(key)
        page.get_by_role("heading", name=where).wait_for()
    page.get_by_label("Head", exact=True).select_option("2")
    page.get_by_role("heading", name="layers.0, head 2").wait_for()


def test_keys_work_before_anything_was_clicked(page: Any) -> None:
    """A page that was just opened hears its keys: the next head, and the search."""
    page.keyboard.press("]")
    page.get_by_role("heading", name="layers.0, head 1").wait_for()
    page.keyboard.press("/")
    until(page, "document.activeElement.tagName === 'INPUT'")


def test_mean_of_heads_is_only_made_when_asked(page: Any) -> None:
    """The mean is named in heading and caption, and its number is the mean."""
    page.get_by_label("Mean of all heads").check()
    page.get_by_role("heading", name="mean of heads 0, 1, 2, 3").wait_for()
    page.locator(".caption").filter(has_text="mean of heads 0, 1, 2, 3").wait_for()
    page.locator(".matrix canvas").last.focus()
    for _ in range(4):
        page.keyboard.press("ArrowDown")
    sentence = said(page, "query 3")
    assert abs(shares(sentence)[0] - by_numpy(0, len(TOKENS))[:, 3, 0].mean()) < 6e-4


def test_compared_heads_say_their_difference(page: Any) -> None:
    """Two heads side by side and their difference, whose number is that of NumPy."""
    page.get_by_role("tab", name="Compare").click()
    page.get_by_label("Second head").select_option("3")
    page.get_by_role("heading", name="First minus second").wait_for()
    last = page.locator("section", has_text="First minus second").locator("canvas").last
    box = last.bounding_box()
    last.click(position={"x": box["width"] * 0.35, "y": box["height"] * 0.62})
    sentence = said(page, "difference from layers.0, head 3")
    query, column = cell_of(sentence)
    exact = by_numpy(0, len(TOKENS))
    number = float(re.search(r"(-?[\d.]+(?:e-?\d+)?)\.$", sentence.replace("−", "-"))[1])  # type: ignore[index]
    assert abs(number - (exact[0, query, column] - exact[3, query, column])) < 1e-3


def test_text_shows_where_a_token_looks(page: Any) -> None:
    """Pointing at a token names its largest keys, in order, with their numbers."""
    page.get_by_role("tab", name="Text").click()
    row = by_numpy(0, len(TOKENS))[0, 8]
    page.locator(".tokens button").nth(8).hover()
    sentence = said(page, "^it looks at")
    words = re.findall(r'"(\w+|\.)"', sentence)
    assert words == [TOKENS[n] for n in (-row).argsort()[: len(words)]]
    assert len(words) >= 3
    assert all(abs(a - b) < 6e-4 for a, b in zip(shares(sentence), sorted(row, reverse=True), strict=False))


def test_table_holds_the_numbers(page: Any) -> None:
    """The table of numbers has each weight, and says which are masked."""
    page.get_by_role("tab", name="Numbers").click()
    page.locator("table td").first.wait_for()
    rows = page.locator("table tr").all()[1:]
    exact = by_numpy(0, len(TOKENS))[0]
    assert len(rows) == len(TOKENS)
    for query, row in enumerate(rows):
        for column, text in enumerate(row.locator("td").all_text_contents()):
            assert text == "masked" if column > query else abs(float(text) - exact[query, column]) < 6e-4


def test_search_finds_a_token(page: Any) -> None:
    """/ goes to the search; Enter goes to the next query that holds the text."""
    page.locator(".matrix canvas").last.focus()
    page.keyboard.press("/")
    page.keyboard.type("street")
    page.keyboard.press("Enter")
    assert 'query 6 "street"' in said(page, 'query 6 "street"')


def test_zooms_from_the_whole_to_single_tokens(open_page: Open, tmp_path: Path) -> None:
    """1,000 tokens begin in cells of several; the wheel leads to single tokens, - and 0 back to the whole."""
    made = regard.view(calls(1000, 1, 1), [f"t{n}" for n in range(1000)])
    page = open_page(saved(made, tmp_path) + "#view=head")
    caption = page.locator(".caption")
    caption.filter(has_text="cells of 2 × 2 tokens").wait_for()
    canvas = page.locator(".matrix canvas").last
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.6)
    for _ in range(12):
        page.mouse.wheel(0, -300)
    caption.filter(has_text="one token a cell").wait_for()
    page.mouse.move(box["x"] + box["width"] * 0.2 + 3, box["y"] + box["height"] * 0.6)
    sentence = said(page, r"query \d+ .* key \d+")
    query, column = cell_of(sentence)
    assert abs(shares(sentence)[0] - by_numpy(0, 1000, 1)[0, query, column]) < 6e-4
    before = picture(page, canvas)
    canvas.focus()
    page.keyboard.press("0")
    caption.filter(has_text="cells of 2 × 2 tokens").wait_for()
    assert (picture(page, canvas) != before).mean() > 0.02


def test_dragging_moves_and_double_click_zooms(open_page: Open, tmp_path: Path) -> None:
    """The picture follows the hand; its place is in the address."""
    page = open_page(saved(regard.view(calls(300, 1, 1)), tmp_path) + "#view=head")
    canvas = page.locator(".matrix canvas").last
    page.locator(".caption").filter(has_text="token").wait_for()
    box = canvas.bounding_box()
    middle = {"x": box["width"] * 0.25, "y": box["height"] * 0.5}
    canvas.dblclick(position=middle)
    until(page, "location.hash.includes('zoom=')")
    before = page.evaluate("Number(new URLSearchParams(location.hash.slice(1)).get('y'))")
    page.mouse.move(box["x"] + middle["x"], box["y"] + middle["y"])
    page.mouse.down()
    page.mouse.move(box["x"] + middle["x"], box["y"] + middle["y"] - 90, steps=5)
    page.mouse.up()
    until(page, f"Number(new URLSearchParams(location.hash.slice(1)).get('y')) > {before} + 1")


@pytest.fixture
def far(open_page: Open) -> Any:
    """One head of 1,000 tokens from the server, in cells of two; what it asks for finer than that is kept waiting."""
    with regard.view(calls(1000, 1, 1), [f"t{n}" for n in range(1000)]).serve(open_browser=False) as served:
        page = open_page(served.url)
        page.locator("button.thumb").first.click()
        page.locator(".caption").filter(has_text="cells of 2 × 2 tokens").wait_for()
        waiting: list[Any] = []
        page.route(re.compile("/mass/0/"), lambda route: waiting.append(route))
        box = page.locator(".matrix canvas").last.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.6)
        yield page, waiting
        page.unroute_all(behavior="ignoreErrors")


def test_sentence_follows_finer_numbers(far: tuple[Any, list[Any]]) -> None:
    """Under a pointer that rests, the sentence is about the cells that are there, and then about the finer ones."""
    page, waiting = far
    page.mouse.wheel(0, -2000)
    sentence = said(page, r"queries \d+ to \d+ give, on average")
    until(page, "document.querySelector('.caption').textContent.includes('one token a cell')")
    within(page, lambda: len(waiting) > 0)
    for route in waiting:
        route.continue_()
    query, column = cell_of(said(page, r"query \d+ .* key \d+"))
    first, last = (int(number) for number in re.findall(r"queries (\d+) to (\d+)", sentence)[0])
    assert first <= query <= last
    assert abs(shares(said(page, r"query \d+"))[0] - by_numpy(0, 1000, 1)[0, query, column]) < 6e-4


def test_tiles_passed_through_are_given_up(far: tuple[Any, list[Any]]) -> None:
    """Zooming out again ends the requests for tiles that nobody sees any longer; zooming in asks for them again."""
    page, waiting = far
    ended: list[str] = []
    page.on("requestfailed", lambda request: ended.append(request.url))
    page.mouse.wheel(0, -2000)
    page.locator(".caption").filter(has_text="one token a cell").wait_for()
    within(page, lambda: len(waiting) > 0)
    page.mouse.wheel(0, 4000)
    page.locator(".caption").filter(has_text="cells of 2 × 2 tokens").wait_for()
    within(page, lambda: {route.request.url for route in waiting} <= set(ended))  # beside coarse ones still on the way
    asked = len(waiting)
    page.mouse.wheel(0, -2000)
    page.locator(".caption").filter(has_text="one token a cell").wait_for()
    within(page, lambda: len(waiting) > asked)
    for route in waiting[asked:]:
        route.continue_()
    said(page, r"query \d+ .* key \d+")
    assert page.locator(".error").count() == 0
