"""Examples that every machine already has: nothing is downloaded."""

from .examples import Document, Images, LabelledText, Split, TaggedWords, TextPair

__all__ = ["Document", "Images", "LabelledText", "Split", "TaggedWords", "TextPair"]
