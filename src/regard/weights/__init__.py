"""The attention weights as a lazy matrix: every entry is `exp(score - lse)`, computed where it is looked at."""

from ._matrix import AttentionWeights, DistanceProfile, Peak, Top
from ._sinks import with_sinks
from ._source import WeightSource, pair_products

__all__ = ["AttentionWeights", "DistanceProfile", "Peak", "Top", "WeightSource", "pair_products", "with_sinks"]
