"""The package is imported on systems that have no POSIX."""

import subprocess
import sys

IMPORTS = """
import builtins, importlib, pkgutil
import regard
ABSENT = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog", "crypt", "readline", "curses"}
whole = builtins.__import__
def other(name, globals=None, *rest, **named):
    if (globals or {}).get("__name__", "").startswith("regard") and name.split(".")[0] in ABSENT:
        raise ImportError(f"{globals['__name__']} needs {name}, which Windows lacks")
    return whole(name, globals, *rest, **named)
builtins.__import__ = other
names = [found.name for found in pkgutil.walk_packages(regard.__path__, "regard.")]
for name in names:
    if "libregard" not in name and not name.endswith("__main__"): importlib.import_module(name)
print(len(names))
"""


def test_every_module_is_imported_without_posix() -> None:
    """Modules that only POSIX has are imported where they are used, on POSIX only."""
    run = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert int(run.stdout.split()[-1]) > 150
