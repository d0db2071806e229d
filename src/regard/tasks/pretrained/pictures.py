"""Classes of pictures by a pretrained encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..._values import check_shares, check_sizes
from ...corpora import Images
from ...errors import ArgumentError
from ...integrations.transformers import load_image_processor
from ...training import TrainingSettings
from .._task import Attention, MakeBatch
from ..image_classification import ImageClassification
from ._fine_tuned import FineTuned, numbered
from ._models import named_weights
from ._settings import FineTuning, recipe

AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class FineTunedImagesSettings(FineTuning):
    """Classes of pictures from a pretrained encoder."""

    shift: int = 2
    """Augmentation: pictures are shifted by up to this many of their pixels along each axis."""
    flip: bool = False
    """Augmentation: whether half of the pictures are mirrored left to right; wrong for digits and letters."""
    label_smoothing: float = 0.1
    """Label smoothing: the share of the target's probability that is spread over all labels."""
    class_weights: bool = False
    """Whether rare labels count more in the loss (balanced, at most 20-fold), and in the baseline's."""
    training: TrainingSettings = field(default_factory=recipe(epochs=4, tokens_per_step=6400, at_once=6400))
    """How to train."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "shift", low=0)
        check_shares(self, "label_smoothing")


class FineTunedImages(FineTuned, ImageClassification, of=ImageClassification):
    """Gives a picture its class by a pretrained encoder: ViT, DeiT, Swin, DINOv2, ...

    Pictures are scaled and normalised by the model's own image processor; grey ones become grey ones of three channels.
    """

    head: ClassVar[str] = "AutoModelForImageClassification"
    Settings = FineTunedImagesSettings  # type: ignore[assignment]

    def _learn(self, examples: Images) -> None:
        self._learn_labels(examples)

    def _changes(self) -> dict[str, Any]:
        return numbered(self.labels_)

    def _build(self) -> nn.Module:
        model = super()._build()
        self._processor = load_image_processor(self.settings.model, model.config)
        return model

    def _load_model(self, folder: Path) -> nn.Module:
        model = super()._load_model(folder)
        self._processor = load_image_processor(str(folder), model.config)
        return model

    def _save_model(self, model: nn.Module, folder: Path) -> None:
        super()._save_model(model, folder)
        self._processor.save_pretrained(folder)

    def _prepared(self, model: nn.Module, pixels: Tensor) -> Tensor:
        """Return bytes (B, C, H, W) as the model's input, (B, channels, size, size)."""
        config: Any = model.config
        channels: int = config.num_channels
        if pixels.shape[1] != channels:
            pixels = pixels.float().mean(1, keepdim=True).round().to(torch.uint8).expand(-1, channels, -1, -1)
        made: Tensor = self._processor(
            images=list(pixels.numpy()), return_tensors="pt", input_data_format="channels_first"
        )["pixel_values"]
        return made

    def _encode(self, examples: Images) -> tuple[list[int], MakeBatch]:
        model = self.model_
        pixels = self._pixels(examples.pixels)
        targets = self._targets(examples)
        height, width = self._prepared(model, pixels[:1]).shape[-2:]
        side = getattr(model.config, "patch_size", None)
        patches = -(-height // side) * -(-width // side) if isinstance(side, int) else 49

        def batch(indices: NDArray[np.int64], random: np.random.Generator) -> tuple[Tensor, Tensor]:
            rows = torch.from_numpy(indices)
            return self._prepared(model, self._varied(pixels[rows], random)), targets[rows]

        return [patches] * len(examples), batch

    def _loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        images, targets = batch
        return self._label_cost(model(pixel_values=images).logits.float(), targets)

    @torch.no_grad()
    def _logits(self, model: nn.Module, inputs: Any) -> Tensor:
        device = next(model.parameters()).device
        scores = torch.zeros(len(inputs), len(self.labels_))
        starts = (range(start, min(start + AT_ONCE, len(inputs))) for start in range(0, len(inputs), AT_ONCE))
        for part in self._going(starts, len(inputs)):
            some = slice(part.start, part.stop)
            pixels = self._prepared(model, self._pixels(inputs[some])).to(device)
            scores[some] = model(pixel_values=pixels).logits.float().cpu()
        return scores

    def _attention(self, model: nn.Module, one: Any) -> Attention:
        """Return the layers that see the whole picture: all of a ViT's, the last ones of Swin's."""
        pixels = self._prepared(model, self._pixels(one[None])).to(next(model.parameters()).device)
        weights = named_weights(model(pixel_values=pixels, output_attentions=True), "attentions")
        if not weights:
            raise ArgumentError(f"A {type(model).__name__} returns no attention weights.")
        tokens = list(weights.values())[-1].shape[-1]
        weights = {name: some for name, some in weights.items() if some.shape[0] == 1 and some.shape[-1] == tokens}
        side = getattr(model.config, "patch_size", None)
        rows, columns = _grid(tokens, pixels.shape[-2:], side)
        extra = tokens - rows * columns
        front = ["[class]", *(f"[register {number}]" for number in range(1, extra))][:extra]
        places = [f"{row},{column}" for row in range(rows) for column in range(columns)]
        return Attention(weights, tuple(front + places), grid=(rows, columns))

    def _state(self) -> dict[str, Any]:
        return {**self._label_state(), "shape": list(self.shape_)}

    def _restore(self, state: dict[str, Any]) -> None:
        self._restore_labels(state)
        self.shape_ = tuple(state["shape"])


def _grid(tokens: int, pixels: Sequence[int], side: Any) -> tuple[int, int]:
    """Return rows and columns of patches among tokens; layers that have merged patches have a square of them."""
    if isinstance(side, int):
        rows, columns = (-(-size // side) for size in pixels)
        if rows * columns <= tokens:
            return rows, columns
    square = math.isqrt(tokens)
    return square, square
