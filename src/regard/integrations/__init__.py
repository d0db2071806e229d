"""Other people's models on regard's attention: `regard.integrations.transformers` for Hugging Face."""

from . import transformers
from ._checkpointing import runs_again
from ._fast_attention import FastAttention, use_fast_attention
from ._mask_reader import LOW, MaskReader, spreads
from ._modes import ASIDE, FAST_PATHS, Mode, has_nested
from ._module_calls import Standing, StandingEverywhere

__all__ = [
    "ASIDE",
    "FAST_PATHS",
    "LOW",
    "FastAttention",
    "MaskReader",
    "Mode",
    "Standing",
    "StandingEverywhere",
    "has_nested",
    "runs_again",
    "spreads",
    "transformers",
    "use_fast_attention",
]
