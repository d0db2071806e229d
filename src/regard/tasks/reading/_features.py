"""The names of numeric labels, which data sets of the Hugging Face hub keep in a file beside the data."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def beside(path: Path) -> dict[str, list[str]]:
    """Return label names by column, from `dataset_info.json` or `README.md` beside a file or its folder."""
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
    """Replace numbers by their names, also in lists; numbers without a name stay.

    >>> named([0, 1, 7], ["O", "B-x"])
    ['O', 'B-x', 7]
    """
    if isinstance(value, list):
        return [named(one, names) for one in value]
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names)
    return names[value] if known else value


def _of_features(features: Any) -> dict[str, list[str]]:
    """Return the label names of features, given by column or as a list of columns."""
    columns = features.items() if isinstance(features, Mapping) else [(one["name"], one) for one in features]
    found = {}
    for column, feature in columns:
        names = _names(feature)
        if names:
            found[column] = names
    return found


def _names(feature: Any) -> list[str] | None:
    """Return the label names of a feature, at any depth: as a list, or by number as in a README."""
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
    """Return the names in the YAML head of a data card; needs PyYAML, a dependency of the hub's packages."""
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
