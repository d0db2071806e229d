"""Cheap baselines, fitted to the same examples as the model; what development data prefers is what a run keeps."""

from ._saving import Baseline, read, write
from .classes import PictureKernelRidge, TfidfLogisticRegression
from .ngrams import WittenBell
from .tags import FeatureChain, MostFrequentTag
from .texts import FirstWords, NearestSource

__all__ = [
    "Baseline",
    "FeatureChain",
    "FirstWords",
    "MostFrequentTag",
    "NearestSource",
    "PictureKernelRidge",
    "TfidfLogisticRegression",
    "WittenBell",
    "read",
    "write",
]
