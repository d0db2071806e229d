"""Examples that every machine already has: nothing is downloaded.

| corpus | form | what |
|---|---|---|
| `code_text` | `Document` | the standard library's own source |
| `code_entities` | `TaggedWords` | the kinds of the names in it |
| `code_summaries` | `TextPair` | its functions and the first line of their docstring |
| `digits` | `Images` | 1,797 handwritten digits |
| `dates` | `TextPair` | dates in many languages, and as "2026-11-20" |
| `opinions` | `LabelledText` | opinions from a small grammar: synthetic |
| `nested_operations` | `LabelledText` | ListOps, nested lists under operators: synthetic |

Each returns a `Split` into train, dev and test, the same at each call.
"""

from .code import code_entities, code_summaries, code_text
from .dates import dates
from .digits import digits
from .examples import Document, Images, LabelledText, Split, TaggedWords, TextPair
from .listops import nested_operations
from .opinions import opinions

__all__ = [
    "Document",
    "Images",
    "LabelledText",
    "Split",
    "TaggedWords",
    "TextPair",
    "code_entities",
    "code_summaries",
    "code_text",
    "dates",
    "digits",
    "nested_operations",
    "opinions",
]
