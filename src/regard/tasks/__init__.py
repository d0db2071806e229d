"""Tasks on a user's own data: `fit, predict, evaluate, save, load`; figures always beside those of a cheap baseline.

| name | class | examples |
|---|---|---|
| `ner` | `NamedEntities` | `TaggedWords` |
| `sentiment` | `Sentiment` | `LabelledText` |
| `summarization` | `Summarization` | `TextPair` |
| `translation` | `Translation` | `TextPair` |
| `language_modeling` | `LanguageModeling` | `Document` |
| `image_classification` | `ImageClassification` | `Images` |
"""

from __future__ import annotations

import os
from typing import Any

from ..errors import ArgumentError, nearest
from . import pretrained
from ._classes import Verdict
from ._evaluation import Evaluation
from ._report import Report
from ._task import Attention, NotFittedError, Task, TaskSettings, read_description
from .image_classification import ImageClassification, ImageClassificationSettings
from .language_modeling import LanguageModeling, LanguageModelingSettings
from .ner import Entity, NamedEntities, NamedEntitySettings, Sentence
from .sentiment import Sentiment, SentimentSettings
from .summarization import Summarization, SummarizationSettings
from .translation import Translation, TranslationSettings

__all__ = [
    "TASKS",
    "Attention",
    "Entity",
    "Evaluation",
    "ImageClassification",
    "ImageClassificationSettings",
    "LanguageModeling",
    "LanguageModelingSettings",
    "NamedEntities",
    "NamedEntitySettings",
    "NotFittedError",
    "Report",
    "Sentence",
    "Sentiment",
    "SentimentSettings",
    "Summarization",
    "SummarizationSettings",
    "Task",
    "TaskSettings",
    "Translation",
    "TranslationSettings",
    "Verdict",
    "load",
    "pretrained",
    "read_description",
]

TASKS: dict[str, type[Task[Any, Any]]] = {
    task.name: task
    for task in (NamedEntities, Sentiment, Summarization, Translation, LanguageModeling, ImageClassification)
}
"""Every task by its name."""


def load(folder: str | os.PathLike[str]) -> Task[Any, Any]:
    """Read a trained task from the folder that `save`, or `regard train --out`, wrote."""
    name = read_description(folder)["task"]
    if name not in TASKS:
        raise ArgumentError(f"{folder} holds a task {name!r}, which this version does not know.{nearest(name, TASKS)}")
    return TASKS[name].load(folder)
