"""Examples that every machine already has: nothing is downloaded."""

from .code import code_entities, code_summaries, code_text
from .examples import Document, Images, LabelledText, Split, TaggedWords, TextPair

__all__ = ["Document", "Images", "LabelledText", "Split", "TaggedWords", "TextPair", "code_entities", "code_summaries", "code_text"]
