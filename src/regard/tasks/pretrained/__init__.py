"""Tasks that start from a pretrained model of Hugging Face transformers.

A task built with settings of this room is one of its classes: `NamedEntities(NamedEntities.FineTuning(model="..."))`.

| task | model | settings |
|---|---|---|
| `ner` | any `AutoModelForTokenClassification` | `FineTunedEntitiesSettings` |
| `sentiment` | any `AutoModelForSequenceClassification` | `FineTunedSentimentSettings` |
"""

from ._fine_tuned import FineTuned
from ._settings import FineTuning
from .entities import FineTunedEntities, FineTunedEntitiesSettings
from .texts import FineTunedSentiment, FineTunedSentimentSettings

__all__ = [
    "FineTuned",
    "FineTunedEntities",
    "FineTunedEntitiesSettings",
    "FineTunedSentiment",
    "FineTunedSentimentSettings",
    "FineTuning",
]
