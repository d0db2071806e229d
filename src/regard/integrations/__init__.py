"""Other people's models on regard's attention: `regard.integrations.transformers` for Hugging Face."""

from . import transformers
from ._fast_attention import FastAttention, use_fast_attention
from ._mask_reader import MaskReader
from ._sink_attention import sink_attention

__all__ = ["FastAttention", "MaskReader", "sink_attention", "transformers", "use_fast_attention"]
