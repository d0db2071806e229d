"""A local server for a view: read-only, without access to files, with one check of every request.

Threats and defences: other pages in the same browser (Host and origin are checked, the cookie is strict), other
users of the machine (a random token for each run), names that resolve to this machine, as in DNS rebinding (Host is
checked), and text in the data (a content security policy without inline code).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from .._server import OwnAddress, Served, address, bound, from_own_page, is_loopback, same
from ..errors import ArgumentError, MissingExtraError, RegardError, install_line
from .html import script
from .tiles import TileSource

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Served", "application", "is_loopback", "serve"]

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>regard</title>
<link rel="icon" href="data:,">
<main id="regard" data-host="server"><noscript>This page draws with JavaScript.</noscript></main>
<script type="module" src="/regard.js"></script>
</html>
"""


def application(source: TileSource, token: str, host: str, port: int) -> Starlette:
    """Return the server as an ASGI application; `token` grants access, `host` and `port` are its address."""
    try:
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.responses import HTMLResponse, Response
        from starlette.routing import Route
    except ModuleNotFoundError:
        raise _missing() from None
    code = script()

    def front(request: Request) -> Response:
        return HTMLResponse(_PAGE)

    def javascript(request: Request) -> Response:
        return Response(code, media_type="text/javascript")

    def data(request: Request) -> Response:
        key = request.path_params["key"]
        try:
            found = source.block(key)
        except RegardError as error:
            return Response(str(error), 500, media_type="text/plain")
        if found is None:
            return Response("not recorded", 404, media_type="text/plain")
        is_json = key == "manifest" or key.startswith("measures/")
        return Response(found, media_type="application/json" if is_json else "application/octet-stream")

    app = Starlette(
        routes=[Route("/", front), Route("/regard.js", javascript), Route("/data/{key:path}", data)],
        middleware=[Middleware(_Gate, token=token, host=host, port=port)],
    )
    app.router.redirect_slashes = False
    return app


class _Gate:
    """Checks every request before any route."""

    def __init__(self, app: ASGIApp, token: str, host: str, port: int) -> None:
        self.app, self.token, self.port = app, token, port
        self.cookie, self.session = f"regard-{port}", secrets.token_urlsafe(32)
        self.is_here = OwnAddress(host, port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page uses nothing else
            await send({"type": "websocket.close", "code": 1008})
            return
        from starlette.requests import Request

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        refused = self._answer(Request(scope))
        await (refused or self.app)(scope, receive, with_headers)

    def _answer(self, request: Request) -> Response | None:
        from starlette.responses import PlainTextResponse, RedirectResponse

        if not self.is_here(request.headers):
            return PlainTextResponse("This server answers to its own address only.", 421)
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("This server only shows.", 405, {"allow": "GET, HEAD"})
        token = request.query_params.get("token")
        if request.url.path == "/" and token is not None:
            if not same(token, self.token):
                return _stranger()
            answer = RedirectResponse("/", 303)
            answer.set_cookie(self.cookie, self.session, httponly=True, samesite="strict", path="/")
            return answer
        if not same(request.cookies.get(self.cookie, ""), self.session):
            return _stranger()
        if not from_own_page(request.headers):
            return PlainTextResponse("This server answers to its own page only.", 403)
        return None


def _stranger() -> Response:
    from starlette.responses import PlainTextResponse

    return PlainTextResponse("Open the address that regard printed: it holds the token of this run.", 403)


def serve(source: TileSource, host: str = "127.0.0.1", port: int = 0, *, allow_remote: bool = False) -> Served:
    """Return a server that listens and is not running yet: `run()` or `start()` it.

    Args:
        source: the data to show.
        host: address to listen on. Any other than the loopback address lets everybody in the network who knows the
            token read the shown tokens and weights, unencrypted; it needs `allow_remote=True`.
        port: 0 takes a free one.

    Raises `ArgumentError`, `MissingExtraError`.
    """
    if not is_loopback(host) and not allow_remote:
        raise ArgumentError(
            f"host is {host!r}, which others can reach: whoever has the address with its token could read this text "
            "and its attention, unencrypted. Give allow_remote=True if that is meant, or tunnel to 127.0.0.1."
        )
    listening = bound(host, port)
    port = listening.getsockname()[1]
    token = secrets.token_urlsafe(24)
    try:
        app = application(source, token, host, port)
    except RegardError:
        listening.close()
        raise
    return Served(app, listening, f"{address(host, port)}/?token={token}")


def _missing() -> MissingExtraError:
    return MissingExtraError(
        f"The local server needs starlette and uvicorn. Install them with {install_line('view')}, or save a "
        "page with .save('view.html')."
    )
