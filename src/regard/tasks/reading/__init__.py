"""Reading a user's files: every row is read, or left out with a reason, or an error names file, line and rule.

| form | entry | sources |
|---|---|---|
| `TaggedWords` | `read_tagged` | CoNLL columns, parallel lines, tables |
| `LabelledText` | `read_labelled` | tables, a file or folder for each label |
| `TextPair` | `read_pairs` | parallel files, tables |
| `Document` | `read_documents` | text files and folders, tables |
| `Images` | `read_images` | folders of pictures, IDX |

Tables are CSV, TSV, JSONL, JSON and Parquet; where a table will do, the name of a data set of the
Hugging Face hub (`owner/name:split`) will too. Each reader has *name, why_not, run*; the first that
accepts the source is used; if none does, the error lists the reason of each. `account` summarises what was read.
"""

from ._files import LeftOut, Notes, Read, given_lines, open_bytes, split_lines, why_no_text
from ._spans import is_han
from .account import Account, account, doubts_between
from .pictures import PictureOptions, open_picture, read_images, read_pictures
from .tagged import TaggedOptions, read_tagged, to_iob2
from .texts import LabelledOptions, PairOptions, TextOptions, read_documents, read_labelled, read_pairs

__all__ = [
    "Account",
    "LabelledOptions",
    "LeftOut",
    "Notes",
    "PairOptions",
    "PictureOptions",
    "Read",
    "TaggedOptions",
    "TextOptions",
    "account",
    "doubts_between",
    "given_lines",
    "is_han",
    "open_bytes",
    "open_picture",
    "read_documents",
    "read_images",
    "read_labelled",
    "read_pairs",
    "read_pictures",
    "read_tagged",
    "split_lines",
    "to_iob2",
    "why_no_text",
]
