"""The names of numbered labels, as data sets of the Hugging Face hub keep them in a file beside the data."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["beside", "named"]


def beside(path: Path) -> dict[str, list[str]]:
    """Return the names by column that lie beside a file, or beside its folder: `dataset_info.json`, `README.md`."""
    for folder in (path.parent, path.resolve().parent.parent):
        try:
            found = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
            names = _of_features(found.get("features") or next(iter(found.values()))["features"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration):
            names = {}
        names = names or _in_readme(folder / "README.md")
        if names:
            return names
    return {}


def named(value: Any, names: list[str]) -> Any:
    """Return the name of a number, also in lists; what has none stays.

    >>> named([0, 1, 7], ["O", "B-x"])
    ['O', 'B-x', 7]
    """
    if isinstance(value, list):
        return [named(one, names) for one in value]
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names)
    return names[value] if known else value


def _of_features(features: Any) -> dict[str, list[str]]:
    """Return the names of features, written by column or as a list of columns."""
    columns = features.items() if isinstance(features, Mapping) else [(one["name"], one) for one in features]
    found = {}
    for column, feature in columns:
        names = _names(feature)
        if names:
            found[column] = names
    return found


def _names(feature: Any) -> list[str] | None:
    """Return the names of a feature, however deep they lie: as a list, or by number as a README writes them."""
    if isinstance(feature, list):
        return next((names for one in feature if (names := _names(one))), None)
    if not isinstance(feature, Mapping):
        return None
    names = feature.get("names")
    if isinstance(names, Mapping):
        names = [names[key] for key in sorted(names, key=int)]
    if isinstance(names, list) and names and all(isinstance(one, str) for one in names):
        return names
    inner = [value for key, value in feature.items() if key != "name" and isinstance(value, Mapping | list)]
    return next((names for one in inner if (names := _names(one))), None)


def _in_readme(path: Path) -> dict[str, list[str]]:
    """Return the names that the first lines of a data card hold; needs PyYAML, which the hub's own packages bring."""
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError:
        return {}
    try:
        head = path.read_text(encoding="utf-8").split("---")[1]
        info = yaml.safe_load(head)["dataset_info"]
        return _of_features((info[0] if isinstance(info, list) else info)["features"])
    except (OSError, ValueError, KeyError, TypeError, IndexError, yaml.YAMLError):
        return {}
