"""Image classification."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from .._values import check_shares, check_sizes
from ..corpora import Images
from ..errors import ArgumentError, ShapeError
from ..models import ImageClassifier, ImageClassifierConfig
from ..training import Batches, Budget, Optimizer, TrainingSettings
from ._batches import which_aside
from ._classes import ClassTask
from ._recipe import Advice, epochs_for, largest, products_in
from ._task import Attention, Goal, MakeBatch, TaskSettings
from .baselines import Baseline, PictureKernelRidge

# Sizes (embed_dim, num_layers) with the number of pictures from which on they are worth their cost.
SIZES = (((192, 6), 500_000), ((128, 4), 200_000), ((96, 3), 20_000), ((64, 2), 0))
# Patches of a picture, about; of a model that the minutes do not hold so many epochs of, a smaller one learns more.
PATCHES, FEWEST_EPOCHS = 50, 10.0


@dataclass(frozen=True)
class ImageClassificationSettings(TaskSettings):
    """Size of the model, and augmentation of the training pictures."""

    embed_dim: int | None = None
    """Width of the model; None: as the number of pictures and the minutes allow."""
    num_heads: int = 4
    """Attention heads of each layer."""
    num_layers: int | None = None
    """Encoder layers; None: as `embed_dim`."""
    dropout: float = 0.1
    """Dropout of the layers, a probability."""
    stem: Literal["conv", "patch"] = "conv"
    """How a picture becomes tokens: `conv` (convolutions, learns from little data) or `patch` (a linear map)."""
    patch_size: int | None = None
    """Pixels along each side of a patch; None: so that a picture has about 50."""
    shift: int | None = None
    """Augmentation: pictures are shifted by up to this many pixels along each axis; None: a fourteenth of the side."""
    flip: bool = False
    """Augmentation: whether half of the pictures are mirrored left to right; wrong for digits and letters."""
    label_smoothing: float = 0.1
    """Label smoothing: the share of the target's probability that is spread over all labels."""
    class_weights: bool = False
    """Whether rare labels count more in the loss (balanced, at most 20-fold), and in the baseline's."""
    training: TrainingSettings = field(
        default_factory=lambda: TrainingSettings(
            optimizer=Optimizer(lr=None, weight_decay=0.05),
            batches=Batches(tokens_per_step=None),
            budget=Budget(epochs="auto"),  # no early stop: most is won while the rate falls
        )
    )
    """How to train."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "embed_dim", "num_heads", "patch_size")
        check_sizes(self, "num_layers", "shift", low=0)
        check_shares(self, "dropout", "label_smoothing")


def _cost(size: tuple[int, int], patch: int, tokens: int) -> float:
    """Return the multiply-adds of a picture's forward pass, attention itself not counted."""
    dim, layers = size
    stem = 18 * dim**2 * max(1, patch.bit_length() - 2)  # convolutions; each halves both sides and doubles the channels
    return tokens * (12 * layers * dim**2 + stem)


class ImageClassification(ClassTask[Images]):
    """Gives a picture its class, by a vision transformer. All pictures have one size."""

    name: ClassVar[str] = "image_classification"
    headline: ClassVar[str] = "accuracy"
    figures: ClassVar[Mapping[str, Goal]] = dict.fromkeys(("accuracy", "macro_f1"), "max")
    Settings = ImageClassificationSettings

    def _advice(self, examples: Images) -> Sequence[Advice]:
        """Decide by the number and the size of the pictures."""
        count, (height, width) = len(examples), examples.pixels.shape[1:3]
        side, halvings = math.sqrt(height * width), round(math.log2(max(1.0, height * width / PATCHES)) / 2)
        patch = self.settings.patch_size or 2 ** max(1, halvings)
        tokens = -(-height // patch) * -(-width // patch)
        sizes = [(one, count * _cost(one, patch, tokens)) for one, least in SIZES if count >= least]
        (dim, layers), held = largest(sizes, products_in(self.settings.training), FEWEST_EPOCHS)
        at_once = 64 if count >= 5000 else 32
        pictures, shape = f"{count:,} pictures", f"pictures of {height} x {width}"
        return (
            Advice({"patch_size": patch}, f"{shape}, {tokens} patches of each"),
            Advice({"shift": max(1, round(side / 14))}, shape),
            Advice({"embed_dim": dim, "num_layers": layers}, pictures + held),
            Advice({"optimizer.lr": round(3e-3 * math.sqrt(64 / dim), 5)}, "for this width"),
            Advice({"batches.tokens_per_step": at_once * tokens}, f"{at_once} pictures a step, of {count:,}"),
            Advice({"budget.epochs": epochs_for(count, 20, 50_000, 200)}, pictures),
        )

    def _learn_labels(self, examples: Images) -> None:
        self._count_labels(self._labels(examples))
        if len(self.labels_) < 2:
            raise ArgumentError(f"Training pictures have {len(self.labels_)} label; two are the least.")
        self.shape_ = self._known("shape_", lambda: tuple(examples.pixels.shape[1:]))

    def _learn(self, examples: Images) -> None:
        self._learn_labels(examples)
        pixels = self._pixels(examples.pixels)
        self.mean_ = self._known("mean_", lambda: pixels.double().mean((0, 2, 3)).div(255).tolist())
        self.std_ = self._known("std_", lambda: pixels.double().std((0, 2, 3)).div(255).clamp_min(1e-3).tolist())

    def _build(self) -> nn.Module:
        settings = self.settings
        height, width, channels = self.shape_
        return ImageClassifier(
            ImageClassifierConfig(
                height=height,
                width=width,
                in_channels=channels,
                num_labels=len(self.labels_),
                patch_size=settings.patch_size,
                stem=settings.stem,
                embed_dim=settings.embed_dim,
                num_heads=settings.num_heads,
                num_layers=settings.num_layers,
                dropout=settings.dropout,
            )
        )

    def _load_model(self, folder: Path) -> nn.Module:
        return ImageClassifier.from_pretrained(folder)

    def _pixels(self, images: NDArray[np.uint8]) -> Tensor:
        """Return pictures as a tensor: (B, C, H, W), bytes."""
        if tuple(images.shape[1:]) != self.shape_:
            raise ShapeError(
                f"Pictures of (height, width, channels) {tuple(images.shape[1:])} were given to a model of "
                f"{self.shape_}; bring them to its size."
            )
        return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))

    def set_aside(self, examples: Images, part: str = "dev") -> tuple[Images, Images]:
        """Split pictures by a digest of each: equal ones stay together."""
        aside = np.array(which_aside([image.tobytes() for image in examples.pixels], self.settings.dev_share, part))
        first, second = (
            Images(examples.pixels[chosen], tuple(np.array(examples.labels)[chosen].tolist()))
            for chosen in (~aside, aside)
        )
        return first, second

    def _scaled(self, pixels: Tensor) -> Tensor:
        """Return pixels, standardised by mean and deviation of the training pictures."""
        mean, std = (torch.tensor(x)[:, None, None] for x in (self.mean_, self.std_))
        return (pixels.float() / 255 - mean) / std

    def _encode(self, examples: Images) -> tuple[list[int], MakeBatch]:
        pixels = self._pixels(examples.pixels)
        targets = self._targets(examples)
        height, width, _ = self.shape_
        patches = -(-height // self.settings.patch_size) * -(-width // self.settings.patch_size)

        def batch(indices: NDArray[np.int64], random: np.random.Generator) -> tuple[Tensor, Tensor]:
            rows = torch.from_numpy(indices)
            return self._scaled(self._varied(pixels[rows], random)), targets[rows]

        return [patches] * len(examples), batch

    def _varied(self, pixels: Tensor, random: np.random.Generator) -> Tensor:
        """Return augmented pictures: shifted, and mirrored if that is allowed."""
        reach, count = self.settings.shift, len(pixels)
        if self.settings.flip:
            mirrored = torch.from_numpy(random.random(count) < 0.5)
            pixels = torch.where(mirrored[:, None, None, None], pixels.flip(-1), pixels)
        if not reach:
            return pixels
        wide = F.pad(pixels, (reach,) * 4)
        down, right = torch.from_numpy(random.integers(0, 2 * reach + 1, (2, count, 1)))
        height, width, _ = self.shape_
        rows = (down + torch.arange(height))[:, None, :, None]
        columns = (right + torch.arange(width))[:, None, None, :]
        channels = torch.arange(pixels.shape[1])[None, :, None, None]
        return wide[torch.arange(count)[:, None, None, None], channels, rows, columns]

    def _loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        images, targets = batch
        return self._label_cost(model(images).float(), targets)

    def _inputs(self, examples: Images) -> Any:
        return examples.pixels

    def _checked(self, inputs: Any) -> Any:
        """Return pictures as one array; accepts lists of pictures, and grey ones without a channel axis."""
        try:
            stack = np.stack([np.asarray(image) for image in inputs])
        except ValueError as error:
            raise ShapeError(f"Pictures do not stack: {error}. Bring all of them to one size.") from error
        stack = stack[..., None] if stack.ndim == 3 else stack
        if stack.dtype != np.uint8 or stack.ndim != 4:
            raise ShapeError(
                f"Pictures are {stack.dtype} of shape {stack.shape}; the rule is uint8, (N, height, width, channels)."
            )
        return stack

    def _labels(self, examples: Images) -> list[tuple[str, ...]]:
        return [(label,) for label in examples.labels]

    @torch.no_grad()
    def _logits(self, model: nn.Module, inputs: Any) -> Tensor:
        device = next(model.parameters()).device
        scores = torch.zeros(len(inputs), len(self.labels_))
        starts = (range(start, min(start + 256, len(inputs))) for start in range(0, len(inputs), 256))
        for part in self._going(starts, len(inputs)):
            some = slice(part.start, part.stop)
            scores[some] = model(self._scaled(self._pixels(inputs[some])).to(device)).float().cpu()
        return scores

    def _attention(self, model: nn.Module, one: Any) -> Attention:
        pixels = self._scaled(self._pixels(one[None])).to(next(model.parameters()).device)
        _, weights = model(pixels, need_weights=True)
        rows, columns = model.grid  # type: ignore[misc]
        places = [f"{row},{column}" for row in range(rows) for column in range(columns)]
        return Attention(weights, tuple(places), grid=(rows, columns))

    def _fit_baseline(self, train_examples: Images) -> Baseline:
        return PictureKernelRidge.fit(train_examples, balanced=self.settings.class_weights)

    def _state(self) -> dict[str, Any]:
        return {**self._label_state(), "shape": list(self.shape_), "mean": self.mean_, "std": self.std_}

    def _restore(self, state: dict[str, Any]) -> None:
        self._restore_labels(state)
        self.mean_, self.std_ = list(state["mean"]), list(state["std"])
        self.shape_ = tuple(state["shape"])
