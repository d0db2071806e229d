"""The attention weights as a lazy matrix: every entry is `exp(score - lse)`, computed when it is read."""

from .._inputs import KEPT_TOP, Summary
from ._answers import DistanceProfile, Peak, Top
from ._dense import from_dense
from ._keeping import consumed_at_once, keeping, summary_is_enough
from ._matrix import AttentionWeights, kept
from ._memory import free_bytes
from ._parts import Parts, inputs_of, lse_of, of_heads, parts_of, source_of, with_batch
from ._softmax_source import SoftmaxSource, pair_products
from ._source import LseOf, WeightSource
from ._summary import has_summary, summarise, top_of, with_summary

__all__ = [
    "KEPT_TOP",
    "AttentionWeights",
    "DistanceProfile",
    "LseOf",
    "Parts",
    "Peak",
    "SoftmaxSource",
    "Summary",
    "Top",
    "WeightSource",
    "consumed_at_once",
    "free_bytes",
    "from_dense",
    "has_summary",
    "inputs_of",
    "keeping",
    "kept",
    "lse_of",
    "of_heads",
    "pair_products",
    "parts_of",
    "source_of",
    "summarise",
    "summary_is_enough",
    "top_of",
    "with_batch",
    "with_summary",
]
