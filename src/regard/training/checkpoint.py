"""Checkpoints on disk: complete or absent, and verified before they are used.

A checkpoint is a folder `step-000000123` of safetensors and JSON. It is written under a temporary name,
every file is flushed to the disk, and the folder is renamed when it is complete. `manifest.json` holds
the size and SHA-256 of each file; a checkpoint that does not match its manifest is skipped, and the
one before it is used.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file, save_file
from torch import Tensor

from .. import _files
from ..errors import RegardError

FORMAT = 1
MANIFEST = "manifest.json"
STATE = "state.json"
TENSORS = "tensors.safetensors"
NAME = re.compile(r"step-(\d{9})")


class CheckpointError(RegardError, RuntimeError):
    """A checkpoint could not be written, read, or does not belong to this run."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that agrees with its manifest."""

    path: Path
    step: int
    state: dict[str, Any]

    def tensors(self) -> dict[str, Tensor]:
        """Read the tensors of a run that was not sharded."""
        return load_file(self.path / TENSORS)


class Checkpoints:
    """The checkpoints of one run, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, step: int) -> Path:
        """Return where the checkpoint of a step lies."""
        return self.folder / f"step-{step:09d}"

    def unfinished(self, step: int) -> Path:
        """Return where the checkpoint of a step lies while it is written."""
        return self.folder / f"unfinished-{step:09d}"

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint, complete or damaged, newest first."""
        if not self.folder.is_dir():
            return []
        found = (NAME.fullmatch(entry.name) for entry in self.folder.iterdir() if entry.is_dir())
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def newest(self, skipped: Callable[[Path, str], None]) -> Checkpoint | None:
        """Return the newest complete checkpoint; call `skipped` with each one that is damaged."""
        for step in self.steps():
            try:
                return self.read(step)
            except CheckpointError as error:
                skipped(self.path(step), str(error))
        return None

    def read(self, step: int) -> Checkpoint:
        """Return the checkpoint of a step.

        Raises:
            CheckpointError: it does not match its manifest.
        """
        path = self.path(step)
        try:
            manifest = json.loads((path / MANIFEST).read_bytes())
            if manifest["format"] != FORMAT:
                raise CheckpointError(f"{path} has format {manifest['format']}; this version reads {FORMAT}.")
            files = {str(name): (int(size), str(digest)) for name, (size, digest) in manifest["files"].items()}
            if digest_of_listing(files) != manifest["digest"]:
                raise CheckpointError(f"{path / MANIFEST} is damaged.")
            for name, (size, digest) in files.items():
                check_file(path / name, size, digest)
            state = json.loads((path / STATE).read_bytes())
            if state["step"] != step:
                raise CheckpointError(f"{path} holds step {state['step']}.")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{path} cannot be read: {type(error).__name__}: {error}.") from error
        return Checkpoint(path, step, state)

    @contextmanager
    def writing(self, step: int) -> Iterator[Path]:
        """Yield a new folder to write into; if the block ends without error, it becomes the step's checkpoint.

        Raises:
            CheckpointError: the disk cannot be written; earlier checkpoints are untouched.
        """
        unfinished = self.unfinished(step)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            yield unfinished
            _write_manifest(unfinished)
            _files.replace_folder(unfinished, self.path(step))  # a damaged one of the same step, skipped on resuming
            _files.sync(self.folder)
        except (OSError, safetensors.SafetensorError) as error:
            raise CheckpointError(
                f"The checkpoint of step {step} could not be written to {self.folder}: {error}. "
                "Older checkpoints are untouched; make room and train again to go on from the newest."
            ) from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)  # already renamed if all went well

    def clean(self, keep: int, best: int | None, now: int) -> None:
        """Remove unfinished checkpoints, and all but the best and the newest `keep` up to step `now`.

        Checkpoints after step `now` were skipped as damaged: they do not count among those to keep.
        """
        steps = self.steps()
        whole = [step for step in steps if step <= now][:keep]
        for step in steps:
            if step not in whole and step != best:
                shutil.rmtree(self.path(step), ignore_errors=True)
        for entry in self.folder.glob("unfinished-*"):
            shutil.rmtree(entry, ignore_errors=True)


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the part of the state that is not tensors, as JSON."""
    (folder / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")


def write_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors."""
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, folder / TENSORS)
    _files.give_usual_mode(folder / TENSORS)


def check_file(path: Path, size: int, digest: str) -> None:
    """Raise unless a file has this size and SHA-256."""
    found = path.stat().st_size
    if found != size:
        raise CheckpointError(f"{path} has {found} bytes, {size} were written.")
    if _digest(path) != digest:
        raise CheckpointError(f"{path} is not what was written.")


def digest_of_listing(files: Mapping[str, tuple[int, str]]) -> str:
    """Return a digest of the manifest's own lines."""
    listing = json.dumps(sorted((name, size, digest) for name, (size, digest) in files.items()))
    return hashlib.sha256(listing.encode()).hexdigest()


def _write_manifest(folder: Path) -> None:
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            _files.sync(path)
            files[str(path.relative_to(folder))] = (path.stat().st_size, _digest(path))
    text = json.dumps({"format": FORMAT, "files": files, "digest": digest_of_listing(files)}, indent=1)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    _files.sync(folder / MANIFEST)
    _files.sync(folder)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
