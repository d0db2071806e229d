"""The server of answers: batches, limits, and requests of every bad kind, over a real socket."""

from __future__ import annotations

import base64
import dataclasses
import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from regard._server import OwnAddress, Served, address, bound
from regard.errors import ArgumentError, DataError
from regard.tasks import ImageClassification, NotFittedError, Sentence, Sentiment, Verdict
from regard.tasks.serving import Limits, application, plain, serve
from regard.training import Budget

from .small import CASES

LIMITS = Limits(max_bytes=10_000, max_inputs=5, max_characters=100, max_waiting=3, max_batch=4, seconds=2.0)


class Slow:
    """A predictor that remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.free = threading.Event()
        self.free.set()

    def __call__(self, inputs: list[Any]) -> Sequence[Any]:
        """Answer with the length of each text, when it may."""
        self.batches.append(list(inputs))
        self.free.wait(10)
        if "broken" in inputs:
            raise RuntimeError("a secret of the server")
        if "refused" in inputs:
            raise DataError("This cannot be read.")
        return [len(text) for text in inputs]


def checked(given: Any) -> str:
    """Take texts alone."""
    if not isinstance(given, str):
        raise ArgumentError("give a text.")
    return given


@pytest.fixture
def predictor() -> Slow:
    """A predictor."""
    return Slow()


@pytest.fixture
def port(predictor: Slow) -> Iterator[int]:
    """The port of a running server."""
    with started(predictor, LIMITS) as port:
        yield port


class started:
    """A server in a thread, on a free port."""

    def __init__(self, predict: Callable[[list[Any]], Sequence[Any]], limits: Limits, token: str | None = None) -> None:
        listening = bound("127.0.0.1", 0)
        self.port = listening.getsockname()[1]
        here = OwnAddress("127.0.0.1", self.port)
        app = application(predict, checked, {"task": "length"}, here, token=token, limits=limits)
        self.served = Served(app, listening, address("127.0.0.1", self.port))

    def __enter__(self) -> int:
        """Start it."""
        self.served.start()
        return self.port

    def __exit__(self, *rest: object) -> None:
        """Stop it."""
        self.served.close()


def ask(
    port: int, body: Any = None, *, path: str = "/predict", method: str = "POST", **headers: str
) -> tuple[int, dict[str, Any]]:
    """Send a request; return the status and the answer, which is always JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, data, {"content-type": "application/json", **names})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert b"Traceback" not in text
    assert b"secret" not in text
    return answer.status, json.loads(text)


def test_answers_leave_at_once() -> None:
    """The socket names its protocol: asyncio switches Nagle's algorithm off (40 ms an answer) only then."""
    with bound("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_what_cannot_be_served() -> None:
    """A task that has learnt nothing, an empty token, a port that is no number."""
    with pytest.raises(NotFittedError):
        serve(Sentiment())
    with pytest.raises(ArgumentError, match="token is empty"):
        serve(Sentiment(), "0.0.0.0", token="")
    with pytest.raises(ArgumentError, match="port is"):
        bound("127.0.0.1", True)


def test_answers(port: int) -> None:
    """In order, none for none; the front page says what there is, and health that all is well."""
    assert ask(port, {"inputs": ["a", "", "你好"]}) == (200, {"answers": [1, 0, 2]})
    assert ask(port, {"inputs": []}) == (200, {"answers": []})
    assert ask(port, path="/health", method="GET") == (200, {"status": "ok", "waiting": 0})
    status, front = ask(port, path="/", method="GET")
    assert status == 200
    assert front["task"] == "length"
    assert front["limits"]["max_inputs"] == 5


DEEP = b"[" * 9_000


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "cannot be read"),
        (b"{", 400, "cannot be read"),
        (b"\xff\xfe", 400, "cannot be read"),
        (DEEP, 400, "cannot be read"),
        (b'{"inputs": ' + DEEP, 400, "cannot be read"),
        (b"1" * 9_000, 400, "cannot be read"),
        ([], 400, 'it must be {"inputs"'),
        ({"inputs": "text"}, 400, 'it must be {"inputs"'),
        ({"inputs": {}}, 400, 'it must be {"inputs"'),
        ({"inputs": [], "more": 1}, 400, 'it must be {"inputs"'),
        ({"inputs": ["a", 3]}, 422, "Input 1: give a text."),
        ({"inputs": [None]}, 422, "Input 0"),
        ({"inputs": ["a"] * 6}, 413, "a request may have 5"),
        ({"inputs": ["a" * 10_000]}, 413, "10,000 bytes"),
        ({"inputs": ["refused"]}, 422, "This cannot be read."),
        ({"inputs": ["broken"]}, 500, "the server's own output says why"),
    ],
)
def test_bad_bodies(port: int, body: Any, status: int, said: str) -> None:
    """Each is told what is wrong, and the server goes on."""
    found, answer = ask(port, body)
    assert (found, list(answer)) == (status, ["error"])
    assert said in answer["error"]
    assert ask(port, {"inputs": ["ab"]}) == (200, {"answers": [2]})


def test_bad_requests(port: int) -> None:
    """Other paths, methods, hosts, pages and kinds of content are refused before anything is read."""
    good = {"inputs": ["a"]}
    for expected, options in (
        (404, {"path": "/nothing"}),
        (404, {"path": "/../../etc/passwd", "method": "GET"}),
        (405, {"method": "GET"}),
        (405, {"method": "PUT"}),
        (405, {"path": "/health"}),
        (421, {"host": "example.org"}),
        (421, {"host": f"example.org:{port}"}),
        (421, {"host": "127.0.0.1"}),
        (403, {"origin": "http://example.org"}),
        (403, {"origin": "null"}),
        (403, {"sec_fetch_site": "cross-site"}),
        (415, {"content_type": "text/plain"}),
        (415, {"content_type": "application/x-www-form-urlencoded"}),
        (413, {"content_length": "99999999"}),
    ):
        assert ask(port, good, **options)[0] == expected, options
    assert ask(port, good, origin=f"http://127.0.0.1:{port}")[0] == 200
    assert ask(port, good, host=f"localhost:{port}", content_type="application/json; charset=utf-8")[0] == 200


def test_a_token() -> None:
    """Without it nothing is answered; another host than this machine needs one."""
    with started(Slow(), LIMITS, token="word") as port:
        for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": "word"}):
            assert ask(port, {"inputs": ["a"]}, **given)[0] == 401
            assert ask(port, path="/health", method="GET", **given)[0] == 401
        assert ask(port, {"inputs": ["a"]}, authorization="Bearer word")[0] == 200
    case = CASES["sentiment"]
    with pytest.raises(ArgumentError, match="which others can reach"):
        serve(case.task(case.settings()), "0.0.0.0")


def test_a_body_that_does_not_come(port: int) -> None:
    """Half a request, a slow one, one that is given up, and no HTTP at all hold nothing up."""
    head = f"POST /predict HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
    held = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(4)]
    held[0].sendall(f'{head}content-length: 50\r\n\r\n{{"inp'.encode())
    held[1].sendall(b"GET / HT")
    held[2].sendall(b"\x16\x03\x01\x02\x00" * 20)
    held[3].sendall(f"{head}transfer-encoding: chunked\r\n\r\nffff\r\n{'x' * 12_000}".encode())
    assert ask(port, {"inputs": ["ab"]}) == (200, {"answers": [2]})
    assert b"413" in held[3].recv(100)
    assert b"408" in held[0].recv(100)  # after the two seconds of these limits
    for one in held:
        one.close()
    assert ask(port, {"inputs": ["ab"]})[0] == 200


def test_what_waits_is_computed_together(predictor: Slow, port: int) -> None:
    """Of requests that come at once each gets its own answers, in batches of at most `max_batch` inputs or one more."""
    predictor.free.clear()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(ask, port, {"inputs": ["a"]})
        until(lambda: len(predictor.batches) == 1)
        rest = [pool.submit(ask, port, {"inputs": ["b" * n, "c" * n]}) for n in (2, 3, 4)]
        until(lambda: ask(port, path="/health", method="GET")[1]["waiting"] == 3)
        predictor.free.set()
        assert first.result() == (200, {"answers": [1]})
        assert [one.result() for one in rest] == [(200, {"answers": [n, n]}) for n in (2, 3, 4)]
    assert [len(batch) for batch in predictor.batches] == [1, 4, 2]


def test_one_bad_input_among_others(predictor: Slow, port: int) -> None:
    """Only who sent it hears of it."""
    predictor.free.clear()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(ask, port, {"inputs": ["a"]})
        until(lambda: len(predictor.batches) == 1)
        texts = ("good", "refused", "broken")
        rest = [pool.submit(ask, port, {"inputs": [text]}) for text in texts]
        until(lambda: ask(port, path="/health", method="GET")[1]["waiting"] == 3)
        predictor.free.set()
        first.result()
        assert [one.result()[0] for one in rest] == [200, 422, 500]


def test_load(predictor: Slow, port: int) -> None:
    """Of more requests than may wait some are sent away at once, the others answered or, too late, given up."""
    predictor.free.clear()
    with ThreadPoolExecutor(30) as pool:
        asked = [pool.submit(ask, port, {"inputs": ["a" * n]}) for n in range(1, 31)]
        until(lambda: sum(one.done() for one in asked) >= 26)
        found = [one.result(20) for one in asked]
    assert {status for status, _ in found} <= {503, 504}
    assert sum(status == 503 for status, _ in found) >= 20
    predictor.free.set()
    until(lambda: ask(port, path="/health", method="GET")[1]["waiting"] == 0)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask, port, {"inputs": ["a" * (1 + n % 90)]}) for n in range(150)]
        assert [one.result() for one in asked] == [(200, {"answers": [1 + n % 90]}) for n in range(150)]


def test_what_was_given_up_is_not_computed(predictor: Slow, port: int) -> None:
    """Inputs whose time is over before their turn are left out."""
    predictor.free.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, port, {"inputs": ["first"]})
        until(lambda: len(predictor.batches) == 1)
        second = pool.submit(ask, port, {"inputs": ["second"]})
        assert [one.result()[0] for one in (first, second)] == [504, 504]
    predictor.free.set()
    assert ask(port, {"inputs": ["third"]})[0] == 200
    assert predictor.batches == [["first"], ["third"]]


def until(true: Callable[[], bool]) -> None:
    """Wait, ten seconds at most."""
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("name", ["sentiment", "ner", "language_modeling"])
def test_texts_of_a_task(name: str) -> None:
    """A served task gives the answers of `predict`; what is no text is refused."""
    case = CASES[name]
    task = case.task(case.settings(training=_few(case))).fit(case.train, case.test)
    texts = [one if isinstance(one, str) else " ".join(one) for one in case.inputs]
    server = serve(task, limits=LIMITS).start()
    port = int(server.url.rpartition(":")[2])
    with server:
        status, found = ask(port, {"inputs": texts})
        assert status == 200
        same = json.loads(json.dumps([plain(answer) for answer in task.predict(texts)]))
        kept = ("labels", "tags") if name != "language_modeling" else ()
        assert [_only(one, kept) for one in found["answers"]] == [_only(one, kept) for one in same]
        for bad in (3, None, ["a"], "a" * 101, "\ud800"):
            status, answer = ask(port, {"inputs": [bad]})
            assert status in (413, 422), answer


def test_pictures_of_a_task() -> None:
    """They come as files in base64, of any size; what is no picture is refused without our paths."""
    case = CASES["image_classification"]
    task = ImageClassification(case.settings(training=_few(case))).fit(case.train, case.test)
    server = serve(task).start()
    port = int(server.url.rpartition(":")[2])
    with server:
        file = io.BytesIO()
        Image.fromarray(case.test.pixels[0][..., 0]).save(file, "PNG")
        large = io.BytesIO()
        Image.fromarray(case.test.pixels[0][..., 0]).resize((40, 40)).convert("RGB").save(large, "JPEG")
        texts = [base64.b64encode(one.getvalue()).decode() for one in (file, large)]
        status, found = ask(port, {"inputs": texts})
        assert status == 200
        assert tuple(found["answers"][0]["labels"]) == task.predict(case.test.pixels[:1])[0].labels
        for bad in ("no base64!", base64.b64encode(b"no picture").decode(), "", texts[0][:40], 3):
            status, answer = ask(port, {"inputs": [bad]})
            assert status == 422, answer
            assert "/tmp" not in answer["error"]
            assert "regard-" not in answer["error"]


def test_answers_as_json() -> None:
    """The fields of an answer by name; a text is a text."""
    assert plain("text") == "text"
    assert plain(Verdict(("a",), {"a": 1.0}))["labels"] == ("a",)
    found = plain(Sentence(("Ada", "sings"), ("B-person", "O")))
    assert found["words"] == ("Ada", "sings")
    assert found["entities"][0]["label"] == "person"


def test_limits_are_checked() -> None:
    """Each is a number from 1 on."""
    for name in ("max_bytes", "max_inputs", "max_characters", "max_waiting", "max_batch"):
        with pytest.raises(ArgumentError, match=name):
            Limits(**{name: 0})
    with pytest.raises(ArgumentError, match="greater than 0"):
        Limits(seconds=0)


def _few(case: Any) -> Any:
    return dataclasses.replace(case.settings().training, budget=Budget(epochs=None, steps=5))


def _only(answer: Any, kept: tuple[str, ...]) -> Any:
    """Return the fields that rounding does not change."""
    return {name: value for name, value in answer.items() if name in kept} if kept else answer
