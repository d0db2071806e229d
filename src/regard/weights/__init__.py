"""The attention weights as a lazy matrix: every entry is `exp(score - lse)`, computed where it is looked at."""

from ._answers import DistanceProfile, Peak, Top
from ._dense import from_dense
from ._keeping import consumed_at_once, keeping
from ._matrix import AttentionWeights, kept
from ._one_look import LINKS, links_of
from ._parts import Parts, parts_of, source_of
from ._restored import RestoredWeights
from ._source import LseOf, SoftmaxSource, WeightSource, pair_products
from ._stored import StoredWeights, Summary
from ._summarise import summarise, summary_cell

__all__ = [
    "LINKS",
    "AttentionWeights",
    "DistanceProfile",
    "LseOf",
    "Parts",
    "Peak",
    "RestoredWeights",
    "SoftmaxSource",
    "StoredWeights",
    "Summary",
    "Top",
    "WeightSource",
    "consumed_at_once",
    "from_dense",
    "keeping",
    "kept",
    "links_of",
    "pair_products",
    "parts_of",
    "source_of",
    "summarise",
    "summary_cell",
]
