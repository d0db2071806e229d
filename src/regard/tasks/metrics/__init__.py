"""Metrics; each result is a frozen dataclass with `figures()` and a one-line `str`."""

from .classes import ClassScores, classification_scores
from .entities import EntityScores, Span, entities, entity_scores, strict_entities
from .likelihood import LikelihoodScores, likelihood_scores
from .rouge import RougeScores, rouge_scores
from .translations import TranslationScores, translation_scores

__all__ = [
    "ClassScores",
    "EntityScores",
    "LikelihoodScores",
    "RougeScores",
    "Span",
    "TranslationScores",
    "classification_scores",
    "entities",
    "entity_scores",
    "likelihood_scores",
    "rouge_scores",
    "strict_entities",
    "translation_scores",
]
