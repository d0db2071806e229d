"""The package is imported on systems that have no POSIX, and no Triton."""

import subprocess
import sys

IMPORTS = """
import builtins, importlib, importlib.util, pkgutil, sys
sys.modules["triton"] = None # as where it is not installed: it has wheels for Linux alone
import regard, torch
ABSENT = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog", "crypt", "readline", "curses"}
whole = builtins.__import__
def other(name, globals=None, *rest, **named):
    if (globals or {}).get("__name__", "").startswith("regard") and name.split(".")[0] in ABSENT:
        raise ImportError(f"{globals['__name__']} needs {name}, which Windows lacks")
    return whole(name, globals, *rest, **named)
builtins.__import__ = other
names = [found.name for found in pkgutil.walk_packages(regard.__path__, "regard.")]
need_triton = []
for name in names:
    if "libregard" in name or name.endswith("__main__"): continue
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "triton": raise
        need_triton.append(name)
q = torch.zeros(1, 2, 3, 8)
assert regard.attention(q, q, q).shape == q.shape
print(repr(regard.explain(q, q, q)).replace("\\n", " "))
print(*need_triton)
del sys.modules["triton"]
if importlib.util.find_spec("triton"):
    for name in need_triton: importlib.import_module(name)
print(len(names))
"""


def test_every_module_is_imported_without_posix_and_triton() -> None:
    """Modules that only POSIX has are imported where they are used, on POSIX only; Triton where its kernels start."""
    run = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    *explained, need_triton, modules = run.stdout.splitlines()
    assert "needs Triton, which is not installed" in " ".join(explained)
    # What a call asks before it has a kernel to start does not import it; nor does anything outside of the backend.
    room = "regard.backends.triton."
    unasked = {room + name for name in ("_available", "_backend", "_call", "_device", "_launch", "_table")}
    assert all(name.startswith(room) and name not in unasked for name in need_triton.split()), need_triton
    assert room + "kernels.forward" in need_triton.split()
    assert int(modules) > 150
