"""Layers of transformers, as `nn.Module`s: batch first, masks True where a query may look, weights on request.

`from_torch` and `to_torch` convert PyTorch's own layers and ours into each other, parameters included.
"""

from .cache import KeyValueCache, LayerCache, StackCache
from .convert import from_torch, to_torch
from .decoder import Decoder, DecoderLayer
from .dropout import Dropout
from .embeddings import ALiBi, LearnedEncoding, PatchEmbedding, RelativeBias, Rotary, SinusoidalEncoding
from .encoder import Encoder, EncoderLayer
from .feed_forward import FeedForward
from .multi_head_attention import MultiHeadAttention
from .projection import Projection, linear
from .stack import Weights
from .torch_masks import TorchMasks, masks_from_torch
from .transformer import Transformer

__all__ = [
    "ALiBi",
    "Decoder",
    "DecoderLayer",
    "Dropout",
    "Encoder",
    "EncoderLayer",
    "FeedForward",
    "KeyValueCache",
    "LayerCache",
    "LearnedEncoding",
    "MultiHeadAttention",
    "PatchEmbedding",
    "Projection",
    "RelativeBias",
    "Rotary",
    "SinusoidalEncoding",
    "StackCache",
    "TorchMasks",
    "Transformer",
    "Weights",
    "from_torch",
    "linear",
    "masks_from_torch",
    "to_torch",
]
