"""`regard serve RUN`: a trained task's answers over HTTP."""

from __future__ import annotations

import dataclasses
import secrets
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._server import is_loopback
from ..tasks import load
from ..tasks.serving import Limits, serve
from ._data import remembered


@dataclass(frozen=True)
class Serve:
    """Answer to JSON over HTTP: POST /predict with {"inputs": [...]}; GET /health, and / for the limits.

    Requests that come together are computed together. Pictures are sent as base64 of a file's bytes. Listens on this
    machine only, unless --host says otherwise; then every request must bring the token that is printed, and nothing is
    encrypted. Ctrl-C and SIGTERM end it. Exit status: 0, or 2 for a run that cannot be served.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder that `regard train --out` wrote."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8765
    """Port to listen on; 0 takes a free one."""
    token: bool = False
    """Demand a token here as well, from other users of this machine; it is printed."""
    limits: Annotated[Limits, tyro.conf.OmitArgPrefixes] = dataclasses.field(default_factory=Limits)
    """What clients may ask for."""

    def run(self) -> int:
        """Serve until interrupted."""
        task = load(self.folder)
        pictures = remembered(self.folder, task.name)[1] if task.name == "image_classification" else None
        token = secrets.token_urlsafe(24) if self.token or not is_loopback(self.host) else None
        server = serve(task, self.host, self.port, token=token, limits=self.limits, pictures=pictures)
        with server as served, suppress(KeyboardInterrupt):
            bring = "" if token is None else f'-H "Authorization: Bearer {token}" '
            print(
                f"{task.name} at {served.url}; Ctrl-C ends it. Try:\ncurl {bring}-H 'Content-Type: application/json' "
                f'-d \'{{"inputs": ["..."]}}\' {served.url}/predict',
                flush=True,
            )
            served.run()
        print("Ended.", file=sys.stderr)
        return 0
