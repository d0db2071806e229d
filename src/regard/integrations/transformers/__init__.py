"""Hugging Face transformers on regard: an attention implementation for any of its models, and their weights as ours.

`register()` adds the implementation "regard"; a model built or loaded with `attn_implementation="regard"` then runs
every mask as spans, and `output_attentions=True` returns lazy `AttentionWeights`. The package `transformers` itself
is imported when a function needs it.
"""

from .._fast_attention import FastAttention, use_fast_attention
from ._attention import attention_forward, register
from ._convert import to_regard
from ._loading import has_head, load_image_processor, load_pretrained
from ._masks import regard_mask
from ._reach import NAME, Reach, reach, why_not
from ._span_mask import SpanMask

__all__ = [
    "NAME",
    "FastAttention",
    "Reach",
    "SpanMask",
    "attention_forward",
    "has_head",
    "load_image_processor",
    "load_pretrained",
    "reach",
    "regard_mask",
    "register",
    "to_regard",
    "use_fast_attention",
    "why_not",
]
