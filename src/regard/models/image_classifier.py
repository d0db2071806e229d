"""Image classification: a vision transformer that also learns from few images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from .._values import check_sizes, instance, tensor
from ..errors import ArgumentError, DtypeError, ShapeError
from ..layers import Dropout, Encoder, PatchEmbedding, Projection, Weights
from ..layers.stack import output_and_weights
from ._config import TransformerConfig
from ._images import ConvolutionalStem, GridRotary, grid_sinusoidal
from ._pooling import AttentionPooling, ClassToken
from ._pretrained import PretrainedModel
from ._start import STD, start_head, start_stack

Stem = Literal["conv", "patch"]
ImagePooling = Literal["attention", "mean", "class"]


@dataclass(frozen=True, kw_only=True)
class ImageClassifierConfig(TransformerConfig):
    """Settings of an `ImageClassifier`; sinusoidal and rotary positions tell rows and columns apart."""

    num_labels: int
    """How many labels there are."""
    height: int
    """Height of an image in pixels."""
    width: int
    """Width of an image in pixels."""
    in_channels: int = 3
    """Colours of a pixel: 1 for grey, 3 for red, green, blue."""
    patch_size: int = 4
    """Side of a patch in pixels; a power of two for the convolutional stem."""
    stem: Stem = "conv"
    """How pixels become tokens: convolutions, which learn faster from few images, or a linear map of each patch."""
    pooling: ImagePooling = "attention"
    """How tokens become one vector: attention pooling, their mean, or a class token in front."""
    positions: Literal["learned", "sinusoidal", "rotary", "none"] = "learned"
    """The kind of positional encoding."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self, "num_labels", "height", "width", "in_channels", "patch_size")
        if self.stem == "conv" and (self.patch_size < 2 or self.patch_size & (self.patch_size - 1)):
            raise ArgumentError(
                f"patch_size is {self.patch_size} and stem 'conv', which halves the sides step by step; give a power "
                "of two (2, 4, 8), or stem='patch'."
            )
        if self.stem == "patch" and (self.height % self.patch_size or self.width % self.patch_size):
            raise ArgumentError(
                f"Images of {self.height} x {self.width} are not whole patches of {self.patch_size}; choose a "
                "patch_size that divides both sides, or stem='conv', which rounds up."
            )
        if self.positions == "rotary" and (self.embed_dim // self.num_heads) % 4:
            raise ArgumentError(
                f"Heads are {self.embed_dim // self.num_heads} wide, and rotary positions of rows and columns need a "
                "multiple of 4; choose another embed_dim or num_heads, or other positions."
            )

    def _check_lengths(self) -> None:
        """Skip the check of `max_length`: the size of the images gives the number of positions."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        return -(-self.height // self.patch_size), -(-self.width // self.patch_size)

    def position(self, *, causal: bool = False) -> GridRotary | None:
        """Return the position module of the attention layers; None if positions are added to the tokens, or unused."""
        return GridRotary(self.grid) if self.positions == "rotary" else None


class ImageClassifier(PretrainedModel[ImageClassifierConfig]):
    """Pixels to tokens, a pre-norm encoder, pooling to one vector, and a linear map to labels.

    Shapes: `images` floating `(B, in_channels, height, width)` to logits `(B, num_labels)`.

    `grid` says how many rows and columns the tokens make: token `r · columns + c` stands at row `r`, column `c`; with
    `pooling="class"` there is one more in front of them. So weights of tokens can be drawn over the image.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929; Hassani et al. 2021, arXiv:2104.05704, for the convolutional stem
    and the learnt weighting.

    >>> model = ImageClassifier(ImageClassifierConfig(num_labels=10, height=8, width=8, in_channels=1, embed_dim=16))
    >>> model(torch.zeros(2, 1, 8, 8)).shape, model.grid
    (torch.Size([2, 10]), (2, 2))
    """

    config_class = ImageClassifierConfig
    encoding: Tensor | None

    def __init__(self, config: ImageClassifierConfig) -> None:
        super().__init__()
        self.config = instance("config", config, ImageClassifierConfig, "a ImageClassifierConfig")
        self.grid = rows, columns = config.grid
        dim = config.embed_dim
        self.stem: nn.Module
        if config.stem == "conv":
            self.stem = ConvolutionalStem(dim, config.patch_size.bit_length() - 1, in_channels=config.in_channels)
        else:
            self.stem = PatchEmbedding(dim, config.patch_size, in_channels=config.in_channels)
        if config.positions == "learned":
            self.encoding = nn.Parameter(torch.randn(rows * columns, dim) * STD)
        else:
            table = grid_sinusoidal(rows, columns, dim) if config.positions == "sinusoidal" else None
            self.register_buffer("encoding", table, persistent=False)
        self.class_token = ClassToken(dim) if config.pooling == "class" else None
        self.pooling = AttentionPooling(dim) if config.pooling == "attention" else None
        self.dropout = Dropout(config.dropout)
        self.encoder = Encoder(config.encoder_layer(), config.num_layers)
        start_stack(self.encoder, config.stochastic_depth)
        self.head = Projection(dim, config.num_labels)
        start_head(self.head)

    def forward(self, images: Tensor, *, need_weights: bool = False) -> Tensor | tuple[Tensor, Weights]:
        """Return the logits; with `need_weights=True` also the weights of every layer by name.

        Raises `ShapeError` for images of another size, `DtypeError` for pixels that are not floating.
        """
        config = self.config
        if tensor("images", images).ndim != 4 or images.shape[1:] != (config.in_channels, config.height, config.width):
            raise ShapeError(
                f"images has shape {tuple(images.shape)}; the rule is (B, in_channels, height, width) with "
                f"{(config.in_channels, config.height, config.width)}. Resize them, or build the model for this size."
            )
        if not images.is_floating_point():
            raise DtypeError(f"images is {images.dtype}; give floating pixels, such as images.float() / 255.")
        x = self.stem(images)
        if self.encoding is not None:
            x = x + self.encoding.to(x.dtype)
        if self.class_token is not None:
            x = self.class_token(x)
        encoded = self.encoder(self.dropout(x), need_weights=need_weights)
        x, weights = output_and_weights(encoded, need_weights, "encoder")
        logits: Tensor = self.head(self._pooled(x))
        return (logits, weights) if need_weights else logits

    def _pooled(self, x: Tensor) -> Tensor:  # (B, embed_dim)
        if self.pooling is not None:
            weighted: Tensor = self.pooling(x)
            return weighted
        return x.mean(1) if self.class_token is None else x[:, 0]
