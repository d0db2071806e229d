"""Cheap baselines, fitted to and evaluated on the same examples as the model, which has to beat them."""

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
