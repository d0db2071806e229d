"""Loading a model of Hugging Face transformers, from the hub or a folder, and encoding its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import ArgumentError
from ..integrations.transformers import load_pretrained
from ..recordings import Grid
from ..tasks.reading import open_picture


@dataclass(frozen=True)
class Prepared:
    """A model and its encoded inputs."""

    model: nn.Module
    inputs: dict[str, Any]
    tokenizer: Any = None
    encoding: Any = None
    """The tokenizer's result; None for a picture."""
    image: Path | None = None

    def grid(self, tokens: int) -> Grid | None:
        """Return the grid of patches in sequences of this many tokens; None if tokens are not patches."""
        patch = getattr(getattr(self.model, "config", None), "patch_size", None)
        if self.image is None or not isinstance(patch, int):
            return None
        height, width = (size // patch for size in self.inputs["pixel_values"].shape[-2:])
        extra = tokens - height * width  # a class token, registers
        return Grid(height, width, first=extra, image=self.image) if 0 <= extra <= 8 else None


def prepare(name: str, texts: tuple[str, ...], image: Path | None) -> Prepared:
    """Load a model and its tokenizer or image processor, and encode; raises `ArgumentError`, `MissingExtraError`."""
    model = _part(load_pretrained("AutoModel", name).eval(), image is not None)
    reader = load_pretrained("AutoTokenizer" if image is None else "AutoImageProcessor", name)
    if image is not None:
        return Prepared(model, dict(reader(images=open_picture(image), return_tensors="pt")), image=image)
    if len(texts) > 1 and reader.pad_token is None:
        reader.pad_token = reader.eos_token
    reader.padding_side = "right"
    encoding = reader(list(texts), padding=len(texts) > 1, return_tensors="pt")
    if not encoding["input_ids"].shape[1]:
        raise ArgumentError("The texts hold no token.")
    return Prepared(model, dict(encoding), reader, encoding)


def _part(model: Any, picture: bool) -> nn.Module:
    """Return the submodel to run: of two towers the one for this input, of encoder and decoder the encoder."""
    tower: nn.Module | None = getattr(model, "vision_model" if picture else "text_model", None)
    if tower is not None:
        return tower
    if getattr(model.config, "is_encoder_decoder", False):
        encoder: nn.Module = model.get_encoder()
        return encoder
    whole: nn.Module = model
    return whole
