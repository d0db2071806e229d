"""Loading models, tokenizers and image processors of transformers from the hub or a folder; errors are one line."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import ArgumentError, nearest
from ._package import hugging_face

# owner/name, or a name alone.
_HUB_NAME = re.compile(r"(?:\w[\w.-]*/)?\w[\w.-]*", re.ASCII)
_MARKS = ("task.json", "config.json")


def load_pretrained(kind: str, name: str, **options: Any) -> Any:
    """Load what `name` holds: a folder, or a repository of the Hugging Face hub.

    Args:
        kind: a class of transformers with `from_pretrained`: `AutoModel`, `AutoTokenizer`, `AutoConfig`, ...
        options: passed on to `from_pretrained`.

    Raises:
        ArgumentError: there is no such folder or repository, or it does not hold this kind.
        MissingExtraError: transformers is not installed.
    """
    _check_name(name)
    library = hugging_face()
    try:
        with _quiet(library):
            return getattr(library, kind).from_pretrained(name, **options)
    except (OSError, ValueError, ImportError, KeyError) as error:
        # transformers' messages continue with a paragraph of advice.
        first = str(error).strip().split("\n")[0].removesuffix(".")
        raise ArgumentError(f"{name!r} cannot be loaded from the hub or as a folder: {first}.{_near(name)}") from error


def load_image_processor(name: str, config: Any) -> Any:
    """Load a model's image processor; for one without, pictures get the model's size and values from -1 to 1."""
    try:
        return load_pretrained("AutoImageProcessor", name)
    except ArgumentError:
        if (Path(name) / "preprocessor_config.json").exists():
            raise
        size = config.image_size
        height, width = size if isinstance(size, list | tuple) else (size, size)
        with _quiet(hugging_face()):
            return hugging_face().ViTImageProcessor(size={"height": height, "width": width})


def has_head(config: Any, head: str) -> bool:
    """Return whether transformers has a model of a configuration with a head, `AutoModelForCausalLM` for one."""
    return type(config) in getattr(hugging_face(), head)._model_mapping


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Leave out progress bars and the table of weights that a new head lacks."""
    logger = library.utils.logging
    before = logger.get_verbosity()
    logger.disable_progress_bar()
    logger.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logger.set_verbosity(before)


def _check_name(name: str) -> None:
    """Raise if a name can only mean a missing local folder: asking the hub for it would take half a minute."""
    path = Path(name)
    inside = path.parent != Path() and path.parent.is_dir()
    if path.is_dir() or (_HUB_NAME.fullmatch(name) and not inside):
        return
    here = f" The hub was not asked, for {path.parent} is a folder here." if inside and not path.is_absolute() else ""
    raise ArgumentError(
        f"There is no folder {name}.{_near(name)}{here} Give one that holds a model or a trained task, or a name on "
        "the hub."
    )


def _near(name: str) -> str:
    """Return a similar existing folder with a model or a trained task, as a suggestion."""
    folder = Path(name).parent
    around = folder.iterdir() if folder.is_dir() else ()
    return nearest(name, [str(one) for one in around if any((one / mark).is_file() for mark in _MARKS)])
