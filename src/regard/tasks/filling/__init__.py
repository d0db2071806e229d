"""The inputs of a file for a trained task, and the file once more with the task's answers in it.

| source | inputs | written |
|---|---|---|
| CSV, TSV, JSONL, JSON, Parquet | a row each | the same rows; the column of labels (targets, tags) filled, `confidence` added |
| CoNLL columns | a sentence each | the same lines; tags filled, columns `start`, `end` and `confidence` added |
| texts with spans | a text each | the same rows with the entities found |
| lines of text | a line each, or the whole file | a line for each |
| folders, pictures | a file each | a table of `path`, `label`, `confidence` |

Order and number of the answers are those of the inputs. An answer is a dictionary of fields: `label` and `confidence`,
`target`, `text`; of tagged words `tags`, `spans`, `entities` and `confidences`.
"""  # noqa: E501 - a table

from ._inputs import Fields, Inputs
from ._plain import files_of, read_files, read_lines, read_pixels
from ._tables import read_table
from ._tagged import are_columns, read_columns, read_tagged_records, tagged_lines

__all__ = [
    "Fields",
    "Inputs",
    "are_columns",
    "files_of",
    "read_columns",
    "read_files",
    "read_lines",
    "read_pixels",
    "read_table",
    "read_tagged_records",
    "tagged_lines",
]
