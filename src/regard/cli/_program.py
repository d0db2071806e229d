"""How this program was started, for messages that tell the user what to type next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path


def program() -> str:
    """Return what to type for `regard`: its name if it is on the PATH, else how this program was started."""
    given = Path(sys.argv[0])
    if given.name == "__main__.py":
        return f"{_typed(Path(sys.executable))} -m regard"
    return _typed(given) if given.name == "regard" else "regard"


def _typed(file: Path) -> str:
    found = shutil.which(file.name)
    if found is not None and os.path.realpath(Path(found).parent) == os.path.realpath(file.parent):
        return file.name
    near = os.path.relpath(file)
    return shlex.quote(str(file) if near.startswith("..") else near)
