"""Debian's Firefox, driven by its own protocol: messages of JSON with their length before them, over a socket."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

# No page but the one that is opened, no network of its own, and a port that is told in the profile.
PREFERENCES = {
    "browser.shell.checkDefaultBrowser": False, "browser.startup.homepage_override.mstone": "ignore",
    "browser.startup.page": 0, "datareporting.policy.dataSubmissionEnabled": False, "app.update.enabled": False,
    "network.captive-portal-service.enabled": False, "network.connectivity-service.enabled": False,
    "extensions.update.enabled": False, "browser.region.update.enabled": False, "toolkit.telemetry.enabled": False,
    "services.settings.server": "data:,#", "extensions.getAddons.cache.enabled": False,
}  # fmt: skip
PATIENCE = 120


class Firefox:
    """One running browser with one page."""

    def __init__(self, port: int) -> None:
        self._count = 0
        self._socket = _connected(port)
        self._answer()  # it greets
        self.call("WebDriver:NewSession", {"capabilities": {}})

    def close(self) -> None:
        """End the conversation."""
        self._socket.close()

    def call(self, name: str, arguments: dict[str, Any] | None = None) -> Any:
        """Send one command and return what comes of it."""
        self._count += 1
        text = json.dumps([0, self._count, name, arguments or {}]).encode()
        self._socket.sendall(f"{len(text)}:".encode() + text)
        _, _, error, found = self._answer()
        if error:
            raise RuntimeError(f"{name}: {error['error']}: {error['message']}")
        return found.get("value", found) if isinstance(found, dict) else found

    def _answer(self) -> Any:
        head = b""
        while not head.endswith(b":"):
            head += self._read(1)
        return json.loads(self._read(int(head[:-1])))

    def _read(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            part = self._socket.recv(count - len(found))
            if not part:
                raise RuntimeError("Firefox has closed the connection")
            found += part
        return found

    def open(self, address: str) -> None:
        """Go to an address, by way of an empty page: another fragment alone would load nothing."""
        self.call("WebDriver:Navigate", {"url": "about:blank"})
        self.call("WebDriver:Navigate", {"url": address})

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        return self.call("WebDriver:ExecuteScript", {"script": f"return ({expression});", "args": []})

    def until(self, expression: str) -> None:
        """Wait until an expression holds."""
        end = time.monotonic() + PATIENCE
        while not self.evaluate(expression):
            assert time.monotonic() < end, f"{expression} does not come true"
            time.sleep(0.05)

    def screenshot(self) -> bytes:
        """Return what is seen, as PNG."""
        return base64.b64decode(self.call("WebDriver:TakeScreenshot", {"full": False}))

    def pdf(self) -> bytes:
        """Return what is printed on A4, as PDF."""
        return base64.b64decode(
            self.call("WebDriver:Print", {"page": {"width": 21.0, "height": 29.7}, "background": True})
        )


def _connected(port: int) -> socket.socket:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            made = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        except OSError:
            assert time.monotonic() < end, "Firefox does not answer"
            time.sleep(0.2)
        else:
            return made


def executable() -> str | None:
    """Return the path of a Firefox, None where there is none."""
    return shutil.which("firefox-esr") or shutil.which("firefox")


@contextmanager
def started(folder: Path, width: int = 1280, height: int = 900) -> Iterator[Firefox]:
    """Run a Firefox with a profile of its own in a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items()]
    (folder / "user.js").write_text("\n".join([*lines, f'user_pref("marionette.port", {port});']))
    command = [str(executable()), "--headless", "--marionette", "--no-remote", "--profile", str(folder),
               f"--width={width}", f"--height={height}", "about:blank"]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_environment(folder)
    ) as process:
        try:
            with closing(Firefox(port)) as browser:
                yield browser
        finally:
            process.terminate()


def _environment(folder: Path) -> dict[str, str]:
    # Firefox wants a home that belongs to the user.
    return {**os.environ, "HOME": str(folder), "MOZ_HEADLESS": "1", "MOZ_REMOTE_SETTINGS_DEVTOOLS": "1"}
