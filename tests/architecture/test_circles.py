"""No module imports itself by way of others, and no room reaches for what another keeps private; what remains, by name.

The two lists below may only become shorter: an entry that is no longer true fails as well.
"""

from tests.architecture.circles import Source, circles, trespasses
from tests.architecture.floors import module_path
from tests.architecture.test_floors import PACKAGE

CIRCLES = []
TRESPASSES = {
    "studies._linear_heads _join", "studies._linear_heads _of_another", "studies._linear_heads _of_itself",
}  # fmt: skip


def _package() -> dict[tuple[str, ...], Source]:
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        module, is_package = module_path(file, PACKAGE)
        if module:
            found[module] = Source(file.read_text("utf-8"), is_package)
    return found


def test_circles_of_imports() -> None:
    """Those that are left, and no other."""
    assert circles(_package()) == CIRCLES


def test_rooms_keep_to_themselves() -> None:
    """Files that still use private attributes of another room, and no other."""
    assert trespasses(_package()) == TRESPASSES


def test_a_circle_is_seen() -> None:
    """Of two modules, of three, inside a function or for a type alone; a chain is none."""

    def of(**sources: str) -> list[list[str]]:
        return circles({("room", name): Source(text, False) for name, text in sources.items()})

    assert of(a="from .b import x", b="from .c import x", c="import torch") == []
    assert of(a="from . import b", b="def f():\n    from .a import x") == [["room.a", "room.b"]]
    three = of(a="from .b import x", b="from .c import x", c="if TYPE_CHECKING:\n    from .a import x")
    assert three == [["room.a", "room.b", "room.c"]]


def test_a_trespass_is_seen() -> None:
    """Reading a private attribute that another room sets; one's own, PyTorch's and a public one are left alone."""
    one = Source("class A:\n    def __init__(self):\n        self._inner = 1\n    def _run(self): ...", False)

    def of(text: str) -> set[str]:
        return trespasses({("one", "a"): one, ("two",): Source(text, False)})

    assert of("def f(a):\n    return a._inner + a._run()") == {"two _inner", "two _run"}
    assert of("def f(a):\n    a._inner = 1\n    return a._inner") == set()
    assert of("import torch\ntorch._run()\nx._version + x.inner") == set()
