"""A real browser for the viewer's page. Without one they are skipped; where REGARD_REQUIRE names it they fail."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
# Nothing of these flags loosens what a page may do; a container lacks what the sandbox of processes needs.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--font-render-hinting=none"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def missing(what: str, part: str = "browser") -> NoReturn:
    """Skip, or fail where this part is required."""
    if part in os.environ.get("REGARD_REQUIRE", "").split(","):
        pytest.fail(f"REGARD_REQUIRE names {part}, and {what}")
    pytest.skip(what)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, one for all tests of a worker."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        missing("there is no Chromium on the PATH (Debian: apt install chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        missing("playwright is not installed (pip install playwright)")
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open an address as a person does; a script's error, a refused resource or a foreign request fails the test."""
    contexts, troubles = [], list[str]()

    def opened(address: str, **settings: Any) -> Any:
        wanted = {"viewport": {"width": 1280, "height": 900}, "accept_downloads": True, **settings}
        context = browser.new_context(**wanted)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: (troubles.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: _watch(request.url, address, troubles))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def _watch(asked: str, address: str, troubles: list[str]) -> None:
    own = address.split("#")[0].split("?")[0]
    if not asked.startswith((own, "blob:", "data:")):
        troubles.append(f"the page asked for {asked}")


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, which judges a page as assistive software meets it."""
    if not AXE.is_file():
        missing("axe-core is not installed (cd web && npm ci --ignore-scripts)")
    return AXE.read_text("utf-8")
