"""A model of Hugging Face transformers and its inputs, from the hub or a folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import ArgumentError, MissingExtraError, install_line, nearest
from ..recordings import Grid
from ..tasks.reading import open_picture

__all__ = ["Prepared", "prepare"]

# owner/name, or a name alone.
_HUB_NAME = re.compile(r"(?:\w[\w.-]*/)?\w[\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Prepared:
    """A model and what to call it with."""

    model: nn.Module
    inputs: dict[str, Any]
    tokenizer: Any = None
    encoding: Any = None
    """What the tokenizer returned, None for a picture."""
    image: Path | None = None

    def grid(self, tokens: int) -> Grid | None:
        """Return where the patches lie in sequences of so many tokens, None where these are not one a patch."""
        patch = getattr(getattr(self.model, "config", None), "patch_size", None)
        if self.image is None or not isinstance(patch, int):
            return None
        height, width = (size // patch for size in self.inputs["pixel_values"].shape[-2:])
        extra = tokens - height * width  # a class token, registers
        return Grid(height, width, first=extra, image=self.image) if 0 <= extra <= 8 else None


def prepare(name: str, texts: tuple[str, ...], image: Path | None) -> Prepared:
    """Load a model and its tokenizer or image processor, and encode; raises `ArgumentError`, `MissingExtraError`."""
    _check_name(name)
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Models of the Hugging Face hub need the package transformers, which the base install leaves out. "
            f"Install it with {install_line('hf')}."
        ) from error
    library: Any = transformers
    library.utils.logging.disable_progress_bar()
    try:
        model = library.AutoModel.from_pretrained(name).eval()
        reader = (library.AutoTokenizer if image is None else library.AutoImageProcessor).from_pretrained(name)
    except (OSError, ValueError, ImportError) as error:
        raise ArgumentError(
            f"{name!r} cannot be loaded from the hub or as a folder: {_first(error)}{_near(name)}"
        ) from error
    model = _part(model, image is not None)
    if image is not None:
        return Prepared(model, dict(reader(images=open_picture(image), return_tensors="pt")), image=image)
    if len(texts) > 1 and reader.pad_token is None:
        reader.pad_token = reader.eos_token
    reader.padding_side = "right"
    encoding = reader(list(texts), padding=len(texts) > 1, return_tensors="pt")
    if not encoding["input_ids"].shape[1]:
        raise ArgumentError("The texts hold no token.")
    return Prepared(model, dict(encoding), reader, encoding)


def _check_name(name: str) -> None:
    """Raise if a name can only mean a folder here, and there is none: asking the hub for it takes half a minute."""
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
    """Return which folder with a model or a trained task was meant, perhaps."""
    folder = Path(name).parent
    around = folder.iterdir() if folder.is_dir() else ()
    known = [str(one) for one in around if (one / "task.json").is_file() or (one / "config.json").is_file()]
    return nearest(name, known)


def _part(model: Any, picture: bool) -> nn.Module:
    """Return the part that reads: of two towers the one for this input, of encoder and decoder the encoder."""
    tower: nn.Module | None = getattr(model, "vision_model" if picture else "text_model", None)
    if tower is not None:
        return tower
    if getattr(model.config, "is_encoder_decoder", False):
        encoder: nn.Module = model.get_encoder()
        return encoder
    whole: nn.Module = model
    return whole


def _first(error: Exception) -> str:
    # Their messages go on for a paragraph of advice.
    return str(error).strip().split("\n")[0].removesuffix(".") + "."
