"""Complete models of our layers, each with a frozen config, files in standard formats, and weights on request."""

from ._beam import Hypothesis
from ._config import TextConfig, TransformerConfig
from ._pretrained import PretrainedModel
from .conditional_field import ConditionalField
from .embedding import CharacterFeatures, TokenEmbedding
from .image_classifier import ImageClassifier, ImageClassifierConfig
from .language_model import LanguageModel, LanguageModelConfig
from .repeats import RepeatFeatures
from .sequence_classifier import SequenceClassifier, SequenceClassifierConfig
from .sequence_to_sequence import SequenceToSequence, SequenceToSequenceConfig
from .token_classifier import TokenClassifier, TokenClassifierConfig

__all__ = [
    "CharacterFeatures",
    "ConditionalField",
    "Hypothesis",
    "ImageClassifier",
    "ImageClassifierConfig",
    "LanguageModel",
    "LanguageModelConfig",
    "PretrainedModel",
    "RepeatFeatures",
    "SequenceClassifier",
    "SequenceClassifierConfig",
    "SequenceToSequence",
    "SequenceToSequenceConfig",
    "TextConfig",
    "TokenClassifier",
    "TokenClassifierConfig",
    "TokenEmbedding",
    "TransformerConfig",
]
