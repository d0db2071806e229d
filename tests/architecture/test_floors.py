"""Every file of the package imports only what the floors allow, and the check detects each kind of violation."""

from pathlib import Path

import pytest

from tests.architecture.floors import module_path, parse_floors, violations

PACKAGE = Path(__file__).parents[2] / "src" / "regard"


def test_package_keeps_its_floors() -> None:
    """No file of the package imports upwards, or from a sibling that is not explicitly allowed."""
    files = sorted(PACKAGE.rglob("*.py"))
    assert files, f"no Python file under {PACKAGE}"
    found = []
    for file in files:
        module, is_package = module_path(file, PACKAGE)
        found += violations(file.read_text("utf-8"), module, is_package)
    assert not found, "\n".join(found)


def test_table_orders_the_rooms() -> None:
    """The table is read bottom-up, with groups that may import each other."""
    places = parse_floors("top\na | b · c\nbottom")
    assert places == {"bottom": (0, 0), "a": (1, 0), "b": (1, 1), "c": (1, 1), "top": (2, 0)}


@pytest.mark.parametrize(
    ("module", "source", "word"),
    [
        ("masks", "from regard.biases import ALiBi", "sibling"),
        ("masks", "from . import biases", "sibling"),
        ("masks", "import regard.backends.math", "above"),
        ("masks", "def f():\n    from ._attention import attention", "above"),
        ("backends.math", "from .. import weights", "above"),
        ("backends.native.load", "from ...layers import Encoder", "above"),
        ("weights", "from ._attention import attention", "above"),
        ("layers.encoder", "from regard.integrations import timm", "above"),
        ("tasks.ner", "from regard import viewer", "sibling"),
        ("tasks.ner", "from regard import attention", "room that holds it"),
        ("layers.encoder", "import regard", "room that holds it"),
        ("layers.encoder", "from .. import *", "room that holds it"),
        ("linear", "from .backends._contract import run", "private"),
        ("weights", "if TYPE_CHECKING:\n    from .models import LanguageModel", "above"),
        ("attic", "import os", "no floor"),
    ],
)
def test_trespass_is_seen(module: str, source: str, word: str) -> None:
    """An artificial violation of each kind gives exactly one line with its reason."""
    found = violations(source, tuple(module.split(".")), is_package=False)
    assert len(found) == 1
    assert word in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("backends.math", "from ._contract import Backend\nfrom . import fused"),
        ("backends.native.load", "from .. import _contract"),
        ("linear", "from .weights import AttentionWeights\nfrom .errors import ShapeError"),
        ("_attention", "from .backends import ORDER\nfrom .weights import AttentionWeights"),
        ("_inputs", "from . import masks, biases"),
        ("cli.demo", "import regard\nfrom regard.viewer import static"),
        ("masks", "import torch\nfrom collections import abc\nimport regarding"),
        ("__main__", "from .cli import main"),
    ],
)
def test_lawful_import_passes(module: str, source: str) -> None:
    """Allowed imports are not reported."""
    assert violations(source, tuple(module.split(".")), is_package=False) == []


def test_relative_imports_of_a_package_start_inside_it() -> None:
    """In an `__init__`, one dot is the folder itself and two dots its parent."""
    assert violations("from . import encoder", ("layers",), is_package=True) == []
    assert violations("from ..models import x", ("layers",), is_package=True) == [
        "layers:1: layers imports models, which is above it"
    ]
