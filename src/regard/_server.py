"""What the local servers share: the address they answer to, the socket, the thread; the viewer's and that of tasks."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Callable, Mapping
from threading import Thread
from types import TracebackType
from typing import Any, Self

from .errors import ArgumentError, MissingExtraError, install_line


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class OwnAddress:
    """Whether a request names this server's own address in its Host.

    Otherwise, with its own name resolved to this machine, a foreign page could read the answers (DNS rebinding). A
    server for the network answers to IP addresses, and to the names of this machine.
    """

    def __init__(self, host: str, port: int) -> None:
        self.port, self.loopback = port, is_loopback(host)
        self.names = {"localhost"} if self.loopback else {"localhost", host.lower(), socket.gethostname().lower()}

    def __call__(self, headers: Mapping[str, str]) -> bool:
        """Check the headers of a request."""
        given = headers.get("host", "").lower()
        name, colon, port = given.rpartition(":")
        if not colon or port != str(self.port):
            return False
        if name in self.names:
            return True
        try:
            found = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return found.is_loopback or not self.loopback


def from_own_page(headers: Mapping[str, str]) -> bool:
    """Return whether a request comes from this server's own page or from no page at all; `host` was checked."""
    own = f"http://{headers['host']}".lower()
    site = headers.get("sec-fetch-site", "same-origin")
    return site in ("same-origin", "none") and headers.get("origin", own).lower() == own


def same(given: str, expected: str) -> bool:
    """Compare secrets in constant time."""
    return secrets.compare_digest(given.encode(), expected.encode())


def address(host: str, port: int) -> str:
    """Return the URL of a server."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def bound(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one. Raises `ArgumentError`."""
    if type(port) is not int or not 0 <= port < 65536:
        raise ArgumentError(f"port is {port!r}; give 0 for a free one, or 1 to 65535.")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # Of a socket whose protocol is not named asyncio leaves Nagle's algorithm on: answers come 40 ms later.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)  # from now on a connecting browser waits and is not refused
    except OSError as error:
        raise ArgumentError(f"Cannot listen on {host}:{port}: {error}. Give another --port, or 0.") from error
    return listening


class Served:
    """A running server: `url` opens it, `close()` or the end of a `with` block stops it."""

    def __init__(self, app: Callable[..., Any], listening: socket.socket, url: str, **limits: Any) -> None:
        """Take an ASGI application and a socket of `bound`; `limits` are uvicorn's."""
        try:
            import uvicorn
        except ModuleNotFoundError:
            listening.close()
            raise MissingExtraError(f"A server needs uvicorn: {install_line('view')}.") from None
        self.url = url
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, lifespan="off", **limits
        )  # fmt: skip
        self._server, self._listening = uvicorn.Server(config), listening
        self._thread: Thread | None = None

    def run(self) -> None:
        """Serve until interrupted."""
        self._server.run(sockets=[self._listening])

    def start(self) -> Self:
        """Serve in a thread."""
        self._thread = Thread(target=self.run, name="regard-server", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop, and wait until the port is free."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        self._listening.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.close()
