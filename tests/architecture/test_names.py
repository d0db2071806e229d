"""The top level of the package: few names, each documented, and cheap to import."""

import subprocess
import sys
import types
from importlib.metadata import distribution

import regard

NAMES_AT_MOST = 20


def test_few_names_at_the_top() -> None:
    """`regard.__all__` names at most twenty things, each once, and each exists."""
    assert 0 < len(regard.__all__) <= NAMES_AT_MOST
    assert len(set(regard.__all__)) == len(regard.__all__)
    missing = [name for name in regard.__all__ if not hasattr(regard, name)]
    assert not missing


def test_nothing_else_is_public_at_the_top() -> None:
    """A name without underscore that is not in `__all__` is a module, not a second public name."""
    stray = [
        name
        for name, value in vars(regard).items()
        if not name.startswith("_") and name not in regard.__all__ and not isinstance(value, types.ModuleType)
    ]
    assert not stray


def test_each_public_name_has_its_own_docstring() -> None:
    """The docstring is written by hand: not a builtin's, not the signature a dataclass fills in."""
    bare = []
    for name in regard.__all__:
        value = getattr(regard, name)
        if isinstance(value, str):  # __version__
            continue
        text = (value if hasattr(value, "__name__") else type(value)).__doc__
        if not (text or "").strip() or text.startswith(f"{name}("):
            bare.append(name)
    assert not bare


def test_import_is_light() -> None:
    """`import regard` loads no third-party package beyond the base install's three."""
    code = """
import sys, torch, numpy, safetensors, safetensors.torch
before = {name.partition(".")[0] for name in sys.modules}
import regard
after = {name.partition(".")[0] for name in sys.modules}
print(" ".join(sorted(after - before - set(sys.stdlib_module_names))))
"""
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["regard"]


def test_base_install_needs_three_packages() -> None:
    """What is not an extra is torch, numpy and safetensors."""
    required = distribution("regard").requires or []
    base = sorted(line for line in required if "extra" not in line)
    assert base == ["numpy", "safetensors", "torch>=2.10"]


def test_rooms_are_reached_from_the_top() -> None:
    """After `import regard` alone, `regard.tasks` is there; a name that no room has is an AttributeError."""
    rooms = "backends cli corpora integrations layers linear models recorder tasks training viewer weights".split()
    code = f"""
import regard
for name in {rooms}:
    if getattr(regard, name).__name__ != "regard." + name:
        raise SystemExit(name)
regard.integrations.transformers.register
if hasattr(regard, "attic") or hasattr(regard, "_attic"):
    raise SystemExit("attic")
"""
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
