"""Names of the hub, with a stand-in for the package that reaches it: tests are offline."""

import importlib.machinery
import sys
import types
from typing import Any

import pytest

from regard.corpora import LabelledText, TaggedWords
from regard.errors import DataError
from regard.tasks.reading import TaggedOptions, read_labelled, read_tagged


class Names:
    """A feature whose numbers have names."""

    def int2str(self, number: int) -> str:
        """Return the name of a number."""
        return ["O", "B-x"][number]


class Lists:
    """A feature of lists of another."""

    feature = Names()


class Rows(list):  # type: ignore[type-arg]
    """A data set: rows, and what their columns are."""

    features = {"text": None, "label": Names(), "tokens": None, "tags": Lists()}  # noqa: RUF012


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Put a stand-in in the place of `datasets`, and return what it is asked for."""
    asked: list[tuple[str, str]] = []

    def load_dataset(name: str, split: str) -> Any:
        asked.append((name, split))
        if name == "no/such":
            raise ConnectionError("cannot reach the hub\nmore")
        return Rows([{"text": "a", "label": 1, "tokens": ["a", "b"], "tags": [0, 1]}])

    module = types.ModuleType("datasets")
    module.__spec__ = importlib.machinery.ModuleSpec("datasets", None)
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return asked


def test_name_and_split(hub: list[tuple[str, str]]) -> None:
    """A name that is no path is asked of the hub, the part `train` unless another is named; labels come by name."""
    assert read_labelled("owner/data").examples == [LabelledText("a", ("B-x",))]
    assert read_tagged("data-1.5:test", TaggedOptions()).examples == [TaggedWords(("a", "b"), ("O", "B-x"))]
    assert hub == [("owner/data", "train"), ("data-1.5", "test")]


@pytest.mark.usefixtures("hub")
def test_no_network() -> None:
    """A data set that cannot be had is an error of one line that says what to do."""
    with pytest.raises(DataError, match=r"'no/such' .*ConnectionError: cannot reach the hub\. Check path, name"):
        read_labelled("no/such")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `datasets` the reason is the line that installs it."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "datasets" else find(name))
    with pytest.raises(DataError, match=r'pip install "\.\[train\]"'):
        read_labelled("owner/data")
