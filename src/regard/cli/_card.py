"""The model card of a run, `README.md`, and its upload to the Hugging Face hub."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, needed
from ..models.hub import upload
from ..tasks import Evaluation, Task
from ..tasks.pretrained import FineTuning
from ._program import program
from ._sections import numbers

CARD = "README.md"
# What the hub calls the tasks.
KINDS = {
    "ner": "token-classification",
    "sentiment": "text-classification",
    "summarization": "summarization",
    "translation": "translation",
    "language_modeling": "text-generation",
    "image_classification": "image-classification",
}
# What the first row of figures is of.
WHAT = {
    "model": "this model",
    "mix": "this model mixed with the baseline, as `regard` answers",
    "baseline": "the baseline, with which `regard` answers",
}
ALONE = "The files of the model hold the transformer alone, and so do libraries that load it without regard."
# Not uploaded: checkpoints to resume from, and paths of this machine.
LEFT_OUT = ["checkpoints/*", "source.json", "tensorboard/*", "*.tmp"]


def write_card(task: Task[Any, Any], evaluation: Evaluation, folder: Path, source: Sequence[str]) -> Path:
    """Write the card of a finished run: data, figures beside the baseline's, command; return its path."""
    start = task.settings.model if isinstance(task.settings, FineTuning) else None
    local = start is not None and Path(start).exists()
    head: dict[str, Any] = {"pipeline_tag": KINDS[task.name], "tags": ["regard"]}
    if start is not None:
        head["library_name"] = "transformers"
        if not local:  # a name on the hub
            head["base_model"] = start
    names = list(evaluation.figures)
    rows = [["", *names], ["---", *["---:"] * len(names)], [WHAT[evaluation.uses], *numbers(evaluation.figures, names)]]
    if evaluation.alone:
        rows.append(["the transformer alone", *numbers(evaluation.alone, names)])
    if evaluation.baseline:
        rows.append([evaluation.baseline_name, *numbers(evaluation.baseline, names)])
    part = f" of the {evaluation.data} data" if evaluation.data else ""
    done = task.training_
    said = [
        "---",
        *(f"{name}: {json.dumps(value)}" for name, value in head.items()),
        "---",
        f"# {task.name}, trained with regard",
        "",
        *([f"Fine-tuned from `{Path(start).name if local else start}`."] if start is not None else []),
        f"Training data: {', '.join(Path(one).name for one in source)}. "
        f"{done.step:,} steps, {done.epochs:.2g} epochs, {done.seconds / 60:.1f} minutes.",
        "",
        f"Figures on {evaluation.count:,} examples{part}:",
        "",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        *([evaluation.note, ""] if evaluation.note else []),
        *([ALONE, ""] if evaluation.uses != "model" else []),
        "The command:",
        "",
        "```console",
        f"$ {program()} {shlex.join(sys.argv[1:])}",
        "```",
        *_use(task, folder),
    ]
    path = folder / CARD
    path.write_text("\n".join(said) + "\n", encoding="utf-8", errors="backslashreplace")
    return path


def _use(task: Task[Any, Any], folder: Path) -> list[str]:
    use = ["", "Use it:", "", "```python"]
    head = getattr(task, "head", None)
    if head is not None:
        use += [f"from transformers import {head}", "", f'model = {head}.from_pretrained("{folder.name}")', ""]
    return [*use, "import regard.tasks", "", f'task = regard.tasks.load("{folder.name}")', "```"]


def check_push(name: str) -> None:
    """Raise, before training, if an upload cannot work: a wrong name, no package, no login."""
    with needed("--push needs the package huggingface_hub:", "hf"):
        import huggingface_hub.utils
        from huggingface_hub.errors import HFValidationError
    library: Any = huggingface_hub
    try:
        library.utils.validate_repo_id(name)
    except HFValidationError as error:
        raise ArgumentError(f"--push is {name!r}, which is no name of the hub, like owner/name: {error}") from error
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise ArgumentError("--push needs the network, and HF_HUB_OFFLINE is set; unset it, or leave --push out.")
    if library.get_token() is None:
        raise ArgumentError("--push needs a login on the Hugging Face hub: run `hf auth login`, or set HF_TOKEN.")


def push(folder: Path, name: str) -> str:
    """Upload a run, without its checkpoints; return its address. If that fails the run is still on disk."""
    return upload(str(folder), name, private=False, message="Upload the run", leave_out=LEFT_OUT)
