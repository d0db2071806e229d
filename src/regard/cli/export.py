"""`regard export RUN`: a trained task's model as programs that run without regard."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Export:
    """Write a trained task's model as ONNX (onnxruntime runs it) or as a program of torch.export, and check it.

    Beside the programs lie export.json, which says what goes in, what comes out and how texts become numbers, and the
    tokenizer. Batch and lengths are free. Exit status: 0, or 2 for a model that cannot be exported.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder that `regard train --out` wrote."""
    to: Literal["onnx", "torch"] = "onnx"
    """The format: .onnx of standard operators, or .pt2, which `torch.export.load` reads."""
    out: Path | None = None
    """Folder for the files; export-onnx or export-torch in the run's folder unless given."""
    json: bool = False
    """Print one JSON object, for scripts."""

    def run(self) -> int:
        """Write the files, and print them."""
        from ..tasks import load
        from ..tasks.exporting import export

        found = export(load(self.folder), self.out or self.folder / f"export-{self.to}", self.to)
        if self.json:
            files = [path.name for path in found.files]
            print(json.dumps({"folder": str(found.folder), "files": files, "largest_difference": found.difference}))
            return 0
        print(
            f"Written to {found.folder}: {', '.join(path.name for path in found.files)}.\n"
            f"Checked on other batch sizes and lengths: it differs from the model by at most {found.difference:.1g}."
        )
        if found.predict_uses != "model":
            print(f"It is the transformer alone; `regard predict` answers by the {found.predict_uses} of this run.")
        return 0
