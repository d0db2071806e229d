"""Reading a user's files: every row is read, or left out with a reason, or an error names file, line and rule.

| form | entry | sources |
|---|---|---|
| `TaggedWords` | `read_tagged` | CoNLL columns, parallel lines, tables |
| `LabelledText` | `read_labelled` | tables, a file or folder for each label |
| `TextPair` | `read_pairs` | parallel files, tables |
| `Document` | `read_documents` | text files and folders, tables |
| `Images` | `read_images` | folders and tables of pictures, IDX |

Tables are CSV, TSV, JSONL, JSON and Parquet; where a table will do, the name of a data set of the
Hugging Face hub (`owner/name:split`) will too. Each reader has *name, why_not, run*; the first that
accepts the source is used; if none does, the error lists the reason of each. `account` summarises what was read.
"""

from ._columns import Columns, places
from ._files import (
    LeftOut,
    Notes,
    Read,
    given_lines,
    open_bytes,
    plain_suffix,
    rough_lines,
    split_lines,
    whole_text,
    why_no_text,
)
from ._folders import files_below
from ._records import is_records, records
from ._schemes import to_iob2
from ._separated import cells_text, open_cells, split_rows
from ._sheets import BOUNDARY, Block, Row, Sheet, lines_sheet, table_sheet, tag_share
from ._spans import SPAN_KEYS, TEXT, are_span_texts, is_han
from ._tables import is_cells, is_table, parts_of, rows, unescaped, value_at, why_no_table
from .account import Account, account, doubts_between, labels
from .pictures import SUFFIXES as PICTURE_SUFFIXES
from .pictures import PictureOptions, open_picture, path_column, read_idx, read_images, read_pictures
from .sources import told
from .tagged import TaggedOptions, flat_record, prefix_of, read_tagged, word_and_tag
from .texts import LabelledOptions, PairOptions, TextOptions, read_documents, read_labelled, read_pairs

__all__ = [
    "BOUNDARY",
    "PICTURE_SUFFIXES",
    "SPAN_KEYS",
    "TEXT",
    "Account",
    "Block",
    "Columns",
    "LabelledOptions",
    "LeftOut",
    "Notes",
    "PairOptions",
    "PictureOptions",
    "Read",
    "Row",
    "Sheet",
    "TaggedOptions",
    "TextOptions",
    "account",
    "are_span_texts",
    "cells_text",
    "doubts_between",
    "files_below",
    "flat_record",
    "given_lines",
    "is_cells",
    "is_han",
    "is_records",
    "is_table",
    "labels",
    "lines_sheet",
    "open_bytes",
    "open_cells",
    "open_picture",
    "parts_of",
    "path_column",
    "places",
    "plain_suffix",
    "prefix_of",
    "read_documents",
    "read_idx",
    "read_images",
    "read_labelled",
    "read_pairs",
    "read_pictures",
    "read_tagged",
    "records",
    "rough_lines",
    "rows",
    "split_lines",
    "split_rows",
    "table_sheet",
    "tag_share",
    "to_iob2",
    "told",
    "unescaped",
    "value_at",
    "whole_text",
    "why_no_table",
    "why_no_text",
    "word_and_tag",
]
