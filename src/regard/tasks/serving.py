"""A local server of answers: JSON in, JSON out, concurrent requests computed together.

| request | answer |
|---|---|
| `POST /predict`, `{"inputs": ["a text", ...]}` | `{"answers": [...]}`, in order |
| `GET /health` | `{"status": "ok", "waiting": 0}`, or status 503 |
| `GET /` | what is served, and the limits |

An error is `{"error": "..."}`: 400 and 422 for what cannot be read, 401 without the token, 403 from another page, 404,
405, 408 for a body that does not come, 413 for too much, 415 for what is no JSON, 421 for another Host, 503 where too
many wait, 504 where an answer takes too long, 500 for a fault of ours, whose details stay on this side.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import dataclasses
import json
import logging
import queue
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import NoneType
from typing import TYPE_CHECKING, Any

from .._server import OwnAddress, Served, address, bound, from_own_page, is_loopback, same
from .._values import check_fields, check_sizes, instance
from ..errors import ArgumentError, DataError, RegardError, needed
from ._task import Task
from .image_classification import ImageClassification
from .ner import Sentence
from .reading import PictureOptions, read_pictures, why_no_text

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Limits", "application", "plain", "serve"]

Values = Sequence[Any]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What one client may ask for, and all of them together."""

    max_bytes: int = 4_000_000
    """Most bytes of a request."""
    max_inputs: int = 256
    """Most inputs of a request."""
    max_characters: int = 20_000
    """Most characters of a text."""
    max_waiting: int = 64
    """Most requests that wait; another one is sent away at once, with status 503."""
    max_batch: int = 32
    """Inputs that are computed at once, of as many requests as wait."""
    seconds: float = 30.0
    """Most seconds until an answer, and until the body of a request is there."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_sizes(self, "max_bytes", "max_inputs", "max_characters", "max_waiting", "max_batch")
        if not self.seconds > 0:
            raise ArgumentError(f"seconds is {self.seconds:g}; it must be greater than 0.")


def plain(answer: Any) -> Any:
    """Return a task's answer as JSON values: a text as it is, else the fields of the answer by name."""
    if not dataclasses.is_dataclass(answer) or isinstance(answer, type):
        return answer
    found = dataclasses.asdict(answer)
    return (
        {**found, "entities": [dataclasses.asdict(one) for one in answer.entities]}
        if isinstance(answer, Sentence)
        else found
    )


def serve(
    task: Task[Any, Any],
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    token: str | None = None,
    limits: Limits | None = None,
    pictures: PictureOptions | None = None,
) -> Served:
    """Return a server of a task's answers that listens and is not running yet: `run()` or `start()` it.

    Args:
        task: fitted or loaded. Pictures are sent as base64 of a file's bytes, in any format that training reads.
        host: the address to listen on; any but the loopback address needs a token, and nothing is encrypted.
        port: 0 takes a free one.
        token: what each request must bring, `Authorization: Bearer TOKEN`; None: no token.
        limits: what clients may ask for.
        pictures: how pictures are brought to the model's size.

    Raises:
        ArgumentError: a wrong address or limit, or another host without a token.
        MissingExtraError: the extra `view` is not installed.
        NotFittedError: the task has learnt nothing.

    >>> server = serve(load("runs/ner")).start()  # doctest: +SKIP
    """
    instance("task", task, Task, "a fitted task")
    instance("host", host, str, "a name or an address")
    instance("token", token, (str, NoneType), "a text or None")
    instance("pictures", pictures, (PictureOptions, NoneType), "PictureOptions or None")
    limits = Limits() if limits is None else instance("limits", limits, Limits, "Limits or None")
    if token == "":
        raise ArgumentError("token is empty; give a secret, or None for no token.")
    if not is_loopback(host) and token is None:
        raise ArgumentError(
            f"host is {host!r}, which others can reach: give a token that their requests must bring, and know that "
            "nothing is encrypted. Or tunnel to 127.0.0.1."
        )
    listening = bound(host, port)
    port = listening.getsockname()[1]
    about = {"task": task.name, "inputs": "pictures, base64" if isinstance(task, ImageClassification) else "texts"}
    try:
        task._check_fitted()
        check = _picture_of(task, pictures) if isinstance(task, ImageClassification) else _text_of(limits)
        app = application(task.predict, check, about, OwnAddress(host, port), token=token, limits=limits)
    except RegardError:
        listening.close()
        raise
    return Served(
        app, listening, address(host, port), timeout_keep_alive=5, limit_concurrency=4 * limits.max_waiting + 8,
        timeout_graceful_shutdown=2,
    )  # fmt: skip


def application(
    predict: Callable[[list[Any]], Sequence[Any]],
    check: Callable[[Any], Any],
    about: dict[str, Any],
    here: Callable[[Any], bool],
    *,
    token: str | None = None,
    limits: Limits | None = None,
) -> Starlette:
    """Return the server as an ASGI application.

    Args:
        predict: called in one thread, with inputs of several requests at once.
        check: returns an input as `predict` takes it, or raises `RegardError`.
        about: what `GET /` says besides the limits.
        here: whether the headers of a request name this server.
        token, limits: as in `serve`.
    """
    with needed("The server needs starlette and uvicorn:", "view"):
        from starlette.applications import Starlette
        from starlette.exceptions import HTTPException
        from starlette.middleware import Middleware
        from starlette.routing import Route
    limits = limits or Limits()
    batches = _Batches(predict, limits)

    async def answer(request: Request) -> Response:
        until = time.monotonic() + limits.seconds
        try:
            async with asyncio.timeout(limits.seconds):
                body = await _body(request, limits.max_bytes)
        except TimeoutError:
            return _json({"error": "The request did not arrive in time."}, 408)
        if body is None:
            return _json({"error": f"A request may have {limits.max_bytes:,} bytes."}, 413)
        try:
            values = await asyncio.to_thread(_values, body, check, limits)
        except _TooMany as error:
            return _json({"error": str(error)}, 413)
        except RegardError as error:
            return _json({"error": str(error)}, 422)
        except ValueError as error:
            return _json({"error": f"The request cannot be read: {error}"}, 400)
        return await _computed(batches, values, until)

    async def health(request: Request) -> Response:
        good = batches.alive()
        return _json({"status": "ok" if good else "stopped", "waiting": batches.waiting()}, 200 if good else 503)

    async def front(request: Request) -> Response:
        return _json({**about, "limits": dataclasses.asdict(limits)})

    async def refused(request: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 500)
        said = {404: "There is POST /predict, GET /health and GET /.", 405: "POST /predict; GET elsewhere."}
        return _json({"error": said.get(status, "This cannot be answered.")}, status, getattr(error, "headers", None))

    return Starlette(
        routes=[
            Route("/predict", answer, methods=["POST"]),
            Route("/health", health),
            Route("/", front),
        ],
        middleware=[Middleware(_Gate, here=here, token=token)],
        exception_handlers={HTTPException: refused, Exception: refused},
    )


class _Gate:
    """Checks every request before any route."""

    def __init__(self, app: ASGIApp, here: Callable[[Any], bool], token: str | None) -> None:
        self.app, self.here, self.token = app, here, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        from starlette.requests import Request

        refused = self._answer(Request(scope))
        await (refused or self.app)(scope, receive, send)

    def _answer(self, request: Request) -> Response | None:
        if not self.here(request.headers):
            return _json({"error": "This server answers to its own address only."}, 421)
        if not from_own_page(request.headers):
            return _json({"error": "This server does not answer to pages."}, 403)
        given = request.headers.get("authorization", "")
        if self.token is not None and not same(given, f"Bearer {self.token}"):
            return _json(
                {"error": "Bring the token: Authorization: Bearer TOKEN."}, 401, {"www-authenticate": "Bearer"}
            )
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        # A page may send a text without asking, but JSON only after a question that is not answered here.
        if request.method == "POST" and kind != "application/json":
            return _json({"error": "Send content-type: application/json."}, 415)
        return None


class _TooMany(ArgumentError):
    """More than the limits allow."""


@dataclass
class _Waiting:
    """The inputs of one request."""

    values: Values
    until: float
    answers: Future[list[Any]] = dataclasses.field(default_factory=Future)


class _Batches:
    """One thread that computes; what waits meanwhile is computed together."""

    def __init__(self, predict: Callable[[list[Any]], Sequence[Any]], limits: Limits) -> None:
        self._predict, self._limits = predict, limits
        self._queue: queue.Queue[_Waiting] = queue.Queue(limits.max_waiting)
        self._thread = Thread(target=self._run, name="regard-predict", daemon=True)
        self._thread.start()

    def alive(self) -> bool:
        """Return whether the thread runs."""
        return self._thread.is_alive()

    def waiting(self) -> int:
        """Return how many requests wait."""
        return self._queue.qsize()

    def submit(self, values: Values, until: float) -> Future[list[Any]]:
        """Put inputs in the queue; raises `queue.Full`."""
        one = _Waiting(values, until)
        self._queue.put_nowait(one)
        return one.answers

    def _run(self) -> None:
        while True:
            group = [self._queue.get()]
            while sum(len(one.values) for one in group) < self._limits.max_batch:
                try:
                    group.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            # Nobody waits any more for what is too late or was called off.
            now = time.monotonic()
            left = [one for one in group if one.until > now and one.answers.set_running_or_notify_cancel()]
            if left:
                self._compute(left)

    def _compute(self, group: list[_Waiting]) -> None:
        try:
            answers = list(self._predict([value for one in group for value in one.values]))
            for one in group:
                one.answers.set_result([plain(answer) for answer in answers[: len(one.values)]])
                del answers[: len(one.values)]
        except Exception as error:  # noqa: BLE001 - the thread must live; whoever asked is told
            if len(group) > 1:  # only who sent it shall hear of a bad input
                for one in group:
                    self._compute([one])
                return
            if not isinstance(error, RegardError):
                _log.exception("An answer failed")
            group[0].answers.set_exception(error)


async def _computed(batches: _Batches, values: Values, until: float) -> Response:
    if not values:
        return _json({"answers": []})
    try:
        waiting = batches.submit(values, until)
    except queue.Full:
        return _json({"error": "Too many requests wait; try again."}, 503, {"retry-after": "1"})
    try:
        async with asyncio.timeout(max(0.0, until - time.monotonic())):
            return _json({"answers": await asyncio.wrap_future(waiting)})
    except TimeoutError:
        return _json({"error": "The answer takes too long; send less, or raise the limit of seconds."}, 504)
    except RegardError as error:
        return _json({"error": str(error)}, 422)
    except Exception:  # noqa: BLE001 - told in full on this side, by the thread
        return _json({"error": "The answer failed; the server's own output says why."}, 500)


async def _body(request: Request, most: int) -> bytes | None:
    """Return the body of a request; None if it is too long."""
    from starlette.requests import ClientDisconnect

    told = request.headers.get("content-length", "0")
    if not told.isdecimal() or int(told) > most:
        return None
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > most:
                return None
    except ClientDisconnect:
        return b""
    return bytes(body)


def _values(body: bytes, check: Callable[[Any], Any], limits: Limits) -> list[Any]:
    """Read the inputs of a request; raises `ValueError` for what is no such JSON, `RegardError` for a bad input."""
    try:
        given = json.loads(body)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(given, dict) or set(given) != {"inputs"} or not isinstance(given["inputs"], list):
        raise ValueError('it must be {"inputs": [...]}, and nothing else')
    inputs = given["inputs"]
    if len(inputs) > limits.max_inputs:
        raise _TooMany(f"There are {len(inputs):,} inputs; a request may have {limits.max_inputs:,}.")
    found = []
    for number, one in enumerate(inputs):
        try:
            found.append(check(one))
        except RegardError as error:
            raise type(error)(f"Input {number}: {error}") from error
    return found


def _text_of(limits: Limits) -> Callable[[Any], str]:
    def check(given: Any) -> str:
        if not isinstance(given, str):
            raise ArgumentError(f"it is a {type(given).__name__}; give a text.")
        if len(given) > limits.max_characters:
            raise _TooMany(f"it has {len(given):,} characters; a text may have {limits.max_characters:,}.")
        rule = why_no_text(given)
        if rule is not None:
            raise ArgumentError(f"it is no text: {rule}")
        return given

    return check


def _picture_of(task: ImageClassification, options: PictureOptions | None) -> Callable[[Any], Any]:
    height, width, channels = task.shape_
    fitted = dataclasses.replace(options or PictureOptions(), size=(height, width), grey=channels == 1)

    def check(given: Any) -> Any:
        if not isinstance(given, str):
            raise ArgumentError(f"it is a {type(given).__name__}; give the bytes of a picture's file as base64.")
        try:
            contents = base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            raise ArgumentError("it is not base64; give the bytes of a picture's file as base64.") from None
        with tempfile.TemporaryDirectory(prefix="regard-") as folder:
            file = Path(folder) / secrets.token_hex(8)
            file.write_bytes(contents)
            try:
                return read_pictures([file], fitted)[0]
            except RegardError as error:  # the name of our file means nothing to the client
                said = str(error).replace(str(file), "the picture")
                raise DataError(said) from None

    return check


def _json(values: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    from starlette.responses import Response

    text = json.dumps(values, ensure_ascii=False).encode("utf-8", errors="backslashreplace")
    sent = {"cache-control": "no-store", "x-content-type-options": "nosniff", **(headers or {})}
    return Response(text, status, sent, "application/json")
