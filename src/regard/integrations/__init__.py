"""Other people's models on regard's attention: `regard.integrations.transformers` for Hugging Face."""

from . import transformers
from ._fast_attention import FastAttention, use_fast_attention

__all__ = ["FastAttention", "transformers", "use_fast_attention"]
