"""Cheap baselines, learnt and judged on the same examples as the model: a model that loses to one is worth nothing."""

from .classes import PixelLogisticRegression, TfidfLogisticRegression
from .ngrams import WittenBell
from .tags import MostFrequentTag
from .texts import FirstWords, NearestSource

__all__ = [
    "FirstWords",
    "MostFrequentTag",
    "NearestSource",
    "PixelLogisticRegression",
    "TfidfLogisticRegression",
    "WittenBell",
]
