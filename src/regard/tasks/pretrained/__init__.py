"""Tasks that start from a pretrained model of Hugging Face transformers.

A task built with settings of this room is one of its classes: `NamedEntities(NamedEntities.FineTuning(model="..."))`.

| task | model | settings |
|---|---|---|
| `ner` | any `AutoModelForTokenClassification` | `FineTunedEntitiesSettings` |
| `sentiment` | any `AutoModelForSequenceClassification` | `FineTunedSentimentSettings` |
| `summarization` | any `AutoModelForSeq2SeqLM` | `FineTunedSummarizationSettings` |
| `translation` | any `AutoModelForSeq2SeqLM` | `FineTunedTranslationSettings` |
| `language_modeling` | any causal `AutoModelForCausalLM` | `FineTunedLanguageModelSettings` |
| `image_classification` | any `AutoModelForImageClassification` | `FineTunedImagesSettings` |
"""

from ._fine_tuned import FineTuned
from ._settings import FineTuning
from .entities import FineTunedEntities, FineTunedEntitiesSettings
from .language import FineTunedLanguageModel, FineTunedLanguageModelSettings
from .pairs import (
    FineTunedSummarization,
    FineTunedSummarizationSettings,
    FineTunedTranslation,
    FineTunedTranslationSettings,
)
from .pictures import FineTunedImages, FineTunedImagesSettings
from .texts import FineTunedSentiment, FineTunedSentimentSettings

__all__ = [
    "FineTuned",
    "FineTunedEntities",
    "FineTunedEntitiesSettings",
    "FineTunedImages",
    "FineTunedImagesSettings",
    "FineTunedLanguageModel",
    "FineTunedLanguageModelSettings",
    "FineTunedSentiment",
    "FineTunedSentimentSettings",
    "FineTunedSummarization",
    "FineTunedSummarizationSettings",
    "FineTunedTranslation",
    "FineTunedTranslationSettings",
    "FineTuning",
]
