"""The local server: who gets in, what is answered, what is never answered."""

import socket
import urllib.error
import urllib.request
from http.cookiejar import CookieJar

import pytest
from starlette.testclient import TestClient

from regard.errors import ArgumentError
from regard.viewer.server import application, is_loopback, serve
from tests.viewer.examples import named_view, short_script

__all__ = ["short_script"]

pytestmark = pytest.mark.usefixtures("short_script")

TOKEN = "the-token-of-this-run"
BASE = "http://127.0.0.1:8123"


def client(base: str = BASE, host: str = "127.0.0.1") -> TestClient:
    """Return a client without cookies, which follows no redirects."""
    app = application(named_view().source, TOKEN, host, 8123)
    return TestClient(app, base_url=base, follow_redirects=False)


def known() -> TestClient:
    """Return a client that has exchanged the token."""
    found = client()
    assert found.get("/", params={"token": TOKEN}).status_code == 303
    return found


def test_token_becomes_a_strict_cookie() -> None:
    """The token opens the page once: a strict, script-proof cookie of another value, and a clean address."""
    answer = client().get("/", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert cookie.startswith("regard-8123=")
    assert TOKEN not in cookie


def test_page_script_and_data_with_the_cookie() -> None:
    """With the cookie the page, its script and blocks are answered, each in its kind."""
    inside = known()
    page = inside.get("/")
    assert page.status_code == 200
    assert 'data-host="server"' in page.text
    script = inside.get("/regard.js")
    assert script.headers["content-type"].startswith("text/javascript")
    source = named_view().source
    for key, kind in (("tile/0/1/mass/0/0/0", "application/octet-stream"), ("manifest", "application/json")):
        answer = inside.get(f"/data/{key}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == kind
        assert answer.content == source.block(key)
    assert inside.get("/data/image/0").status_code == 404
    assert inside.head("/").status_code == 200


PATHS = ["/", "/regard.js", "/data/manifest", "/data/tile/0/0/mass/0/0/0", "/nowhere", "/data/", "/static/regard.js"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cookie", [None, "", "wrong", TOKEN])
def test_nothing_without_the_cookie(path: str, cookie: str | None) -> None:
    """Every route, also one that does not exist, is closed to who has no cookie; the token is no cookie."""
    outside = client()
    if cookie is not None:
        outside.cookies.set("regard-8123", cookie)
    answer = outside.get(path)
    assert answer.status_code == 403
    assert TOKEN not in answer.text


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "é", "\x00"])
def test_wrong_token(token: str) -> None:
    """A wrong token gives no cookie."""
    answer = client().get("/", params={"token": token})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_token_opens_only_the_front() -> None:
    """On another path the token is not looked at."""
    assert client().get("/data/manifest", params={"token": TOKEN}).status_code == 403


HOSTS = [
    "evil.example", "evil.example:8123", "127.0.0.1", "127.0.0.1:80", "localhost", "localhost:8124", "", ":8123",
    "127.0.0.1.evil.example:8123", "localhost.evil.example:8123", "localhost@evil.example:8123", "10.0.0.1:8123",
    "0.0.0.0:8123", "127.0.0.1:8123:8123", "[::2]:8123", "127.1.evil:8123", "localhost:8123 ", "2130706433:8123",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_other_hosts_are_refused(host: str) -> None:
    """Only this machine's own names with the right port are answered, cookie or not: no rebinding."""
    answer = known().get("/data/manifest", headers={"host": host})
    assert answer.status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8123", "localhost:8123", "LOCALHOST:8123", "[::1]:8123", "127.0.0.2:8123"])
def test_own_names_are_answered(host: str) -> None:
    """The loopback addresses and localhost are this machine."""
    assert known().get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_read_only(method: str) -> None:
    """No other method than GET and HEAD."""
    assert known().request(method, "/data/manifest").status_code == 405


TRICKS = [
    "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "....//....//etc/passwd", "/etc/passwd",
    "//etc/passwd", "C:%5Cwindows", "tile/0/0/mass/0/0/../../../0", "tokens/0%00.txt", "%00", "tokens/0/", "tokens//0",
    "file:///etc/passwd", "..", ".", "%", "tile/0/0/mass/0/0/0?x=1/../..", "tokens/0;ls", "tokens/$(id)", "tokens/٠",
    "measures/0/../../../setup.py", "regard.js", "a" * 5000, "tokens/" + "9" * 400, "%ff%fe", "tokens/0#x",
]  # fmt: skip


@pytest.mark.parametrize("path", TRICKS)
def test_no_path_reaches_a_file(path: str) -> None:
    """Paths are keys of the protocol or nothing."""
    answer = known().get(f"{BASE}/data/{path}")
    allowed = {"..": 200, "tokens/0#x": 200, "tile/0/0/mass/0/0/0?x=1/../..": 200}
    assert answer.status_code == allowed.get(path, 404)
    assert b"root:" not in answer.content


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_requests_from_other_pages_are_refused(site: str) -> None:
    """A browser that says the request comes from another page is not answered, cookie or not."""
    assert known().get("/data/manifest", headers={"sec-fetch-site": site}).status_code == 403


ORIGINS = ["http://evil.example", "null", "", "http://127.0.0.1:80", "https://127.0.0.1:8123", "http://localhost:8123"]


@pytest.mark.parametrize("origin", ORIGINS)
def test_other_origins_are_refused(origin: str) -> None:
    """What says that it comes from another page than this server's is not answered; its own is."""
    assert known().get("/data/manifest", headers={"origin": origin}).status_code == 403
    assert known().get("/data/manifest", headers={"origin": BASE}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/data/manifest", "/nowhere", "/data/nothing"])
@pytest.mark.parametrize("inside", [True, False])
def test_every_answer_has_the_headers(path: str, inside: bool) -> None:
    """The policy without inline code, and no sniffing, storing, framing or referring, on refusals too."""
    headers = (known() if inside else client()).get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers


def test_page_has_no_inline_code() -> None:
    """The served page refers to one script and holds nothing of the data."""
    page = known().get("/").text
    assert page.count("<script") == 1
    assert 'src="/regard.js"' in page
    assert "style" not in page
    assert "One" not in page


def test_websockets_are_closed() -> None:
    """Nothing but HTTP."""
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), known().websocket_connect("/data/manifest"):
        pass


def test_other_hosts_need_consent() -> None:
    """Listening where others can reach it is refused unless it is said to be meant."""
    with pytest.raises(ArgumentError, match="allow_remote=True"):
        serve(named_view().source, "0.0.0.0")
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "10.1.2.3", "x")] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip


def test_with_consent_addresses_are_answered_and_names_are_not() -> None:
    """A server for the network answers to addresses, which cannot be rebound, and not to foreign names."""
    found = client("http://10.1.2.3:8123", "0.0.0.0")
    assert found.get("/", params={"token": TOKEN}).status_code == 303
    assert found.get("/", headers={"host": "evil.example:8123"}).status_code == 421


def test_a_real_server_on_a_real_port() -> None:
    """Served by uvicorn on a free port: the printed address opens it, and it ends when told."""
    with named_view().serve(open_browser=False) as served:
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        assert b"data-host" in opener.open(served.url, timeout=300).read()
        base = served.url.split("?")[0]
        assert opener.open(base + "data/tokens/0", timeout=300).read().startswith(b"Theanimal")
        with pytest.raises(urllib.error.HTTPError, match="403") as refused:
            urllib.request.urlopen(base, timeout=300)
        refused.value.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(base, timeout=300)


RAW = {
    "no request": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: HERE\r\nHost: evil.example\r\n\r\n",
    "other host in the address": b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "old protocol": b"GET /\r\n\r\n",
    "other protocol": b"GET / SPDY/3\r\nHost: HERE\r\n\r\n",
    "header without a colon": b"GET / HTTP/1.1\r\nHost HERE\r\n\r\n",
    "header over two lines": b"GET / HTTP/1.1\r\nHost: HERE\r\n evil\r\n\r\n",
    "space in the name": b"GET / HTTP/1.1\r\nHost : HERE\r\n\r\n",
    "two lengths": b"GET / HTTP/1.1\r\nHost: HERE\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "negative length": b"GET / HTTP/1.1\r\nHost: HERE\r\nContent-Length: -1\r\n\r\n",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: HERE\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"0\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nHost: HERE\r\nCookie: a\x00b\r\n\r\n",
    "long header": b"GET / HTTP/1.1\r\nHost: HERE\r\nCookie: " + b"a" * 200_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: HERE\r\n" + b"X: y\r\n" * 30_000 + b"\r\n",
    "long address": b"GET /data/" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: HERE\r\n\r\n",
    "backslashes": b"GET \\..\\..\\etc\\passwd HTTP/1.1\r\nHost: HERE\r\n\r\n",
    "websocket": b"GET /data/manifest HTTP/1.1\r\nHost: HERE\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "upgrade to HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "proxy": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
}


def test_broken_requests_get_nothing() -> None:
    """On a real port: each is refused or cut off, none gets the page or an open channel, and the server lives on."""
    with named_view().serve(open_browser=False) as served:
        port = int(served.url.split(":")[2].split("/")[0])
        here = f"127.0.0.1:{port}".encode()
        for name, request in RAW.items():
            answer = _answer(port, request.replace(b"HERE", here))
            status = answer.split(b" ")[1:2]
            assert not answer or status[0][:1] == b"4", name
            assert b"data-host" not in answer, name
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        assert b"data-host" in opener.open(served.url, timeout=300).read()


def _answer(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5) as channel:
        channel.settimeout(5)
        try:
            channel.sendall(request)
            channel.shutdown(socket.SHUT_WR)
            return channel.recv(4096)
        except OSError:  # cut off already
            return b""
