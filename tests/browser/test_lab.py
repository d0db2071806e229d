"""JupyterLab, driven as a person drives it: run, save, shut the kernel down, close, open again.

It has an environment of its own (`make lab`), whose Python `REGARD_LAB` names; the notebook's kernel is the Python that
runs the tests. Without one they are skipped; where REGARD_REQUIRE names `lab` they fail.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.browser.conftest import missing

ROOT = Path(__file__).parents[2]
CODE = """\
import sys
sys.path[:0] = [{root!r}]
import regard
from tests.browser.pages import calls
regard.view(calls(300, 2, 4), [f"t{{n}}" for n in range(300)])
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """The address of a JupyterLab over a folder with one notebook."""
    python = os.environ.get("REGARD_LAB")
    if not python:
        missing("REGARD_LAB is not set: `make lab` sets JupyterLab up and says to what", "lab")
    about = {"kernelspec": {"name": "tree", "display_name": "Tree", "language": "python"}}
    cell = nbformat.v4.new_code_cell(CODE.format(root=str(ROOT)))
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=about), tmp_path / "one.ipynb")
    homes = {name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    start = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel = {"argv": start, "display_name": "Tree", "language": "python"}
    _write(tmp_path / "JUPYTER_DATA_DIR/kernels/tree/kernel.json", kernel)
    # It asks whether it may fetch news, over the notebook.
    settings = "lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    _write(tmp_path / "JUPYTER_CONFIG_DIR" / settings, {"fetchNews": "false"})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Widgets' own parts of the notebook stand beside the package.
    shared = Path(importlib.util.find_spec("anywidget").origin).parents[4] / "share" / "jupyter"  # type: ignore
    command = [
        str(ROOT / python), "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1",
        "--IdentityProvider.token=", f"--ServerApp.root_dir={tmp_path}", "--ServerApp.open_browser=False",
        "--ServerApp.disable_check_xsrf=True", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    with (tmp_path / "lab.log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **homes, "JUPYTER_PATH": str(shared)}, stdout=log, stderr=subprocess.STDOUT
        )
    end = time.monotonic() + 120
    while not _listens(port):
        assert process.poll() is None, (tmp_path / "lab.log").read_text("utf-8")
        assert time.monotonic() < end
        time.sleep(0.2)
    yield f"http://127.0.0.1:{port}/lab/tree/one.ipynb"
    process.terminate()
    process.wait(30)


def _write(file: Path, content: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(content), "utf-8")


def _listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def _opened(browser: Any, address: str) -> tuple[Any, Any]:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    return page, page.frame_locator(".jp-OutputArea-output iframe")


def _outputs(saved: Path) -> list[Any]:
    with suppress(json.JSONDecodeError):  # it is being written
        return list(json.loads(saved.read_text("utf-8"))["cells"][0]["outputs"])
    return []


def test_an_output_lives_without_its_kernel(browser: Any, lab: str, tmp_path: Path) -> None:
    """With a kernel the output holds everything; saved and opened again without one it still shows every head."""
    page, frame = _opened(browser, lab)
    page.get_by_text("| Idle").wait_for()  # the kernel hears
    page.locator(".jp-Notebook .jp-Cell").first.click()
    page.keyboard.press("Shift+Enter")
    frame.locator("button.thumb canvas").nth(7).wait_for()
    frame.get_by_text("Everything, exact; computed when asked.").wait_for()
    frame.locator("button.thumb").nth(5).click()
    frame.get_by_role("heading", name="layers.1, head 1").wait_for()
    page.keyboard.press("Escape")
    page.locator(".jp-Cell .jp-InputArea").first.click()
    page.keyboard.press("Control+s")
    saved = tmp_path / "one.ipynb"
    end = time.monotonic() + 60
    while not (outputs := _outputs(saved)):
        assert time.monotonic() < end
        page.wait_for_timeout(200)
    (output,) = outputs
    print(f"notebook: an output of 8 heads, 300 tokens takes {len(json.dumps(output)) / 1000:.0f} kB")
    assert "application/vnd.jupyter.widget-view+json" not in output["data"]
    page.goto("about:blank")
    sessions = lab.split("/lab/")[0] + "/api/sessions"
    for session in page.request.get(sessions).json():
        assert page.request.delete(f"{sessions}/{session['id']}").ok
    assert page.request.get(sessions).json() == []
    page.close()

    page, frame = _opened(browser, f"{lab}?reset")
    frame.locator("button.thumb canvas").nth(7).wait_for()
    frame.get_by_text("This output holds").wait_for()
    assert page.get_by_text("model not found").count() == 0
    frame.locator("button.thumb").nth(2).click()
    frame.get_by_role("heading", name="layers.0, head 2").wait_for()
    frame.locator(".matrix canvas").first.wait_for()
    page.close()
