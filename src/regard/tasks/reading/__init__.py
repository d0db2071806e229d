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
accepts is taken, and when none does the error has the reason of each. `account` says what was read.
"""

from ._files import LeftOut, Notes, Read
from .account import Account, account, doubts_between
from .pictures import PictureOptions, read_images, read_pictures
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
    "read_documents",
    "read_images",
    "read_labelled",
    "read_pairs",
    "read_pictures",
    "read_tagged",
    "to_iob2",
]
