"""Data in one folder for each label: which folders are labels, and which of their files count."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ...errors import DataError
from ._files import Notes, why_no_text

# Files that operating systems and programs put beside data.
BESIDE = frozenset(
    "thumbs.db desktop.ini __macosx __pycache__ @eadir $recycle.bin lost+found ehthumbs.db icon\r".split(" ")
)
PARTS = frozenset(
    "train training dev development val valid validation validate eval evaluation test testing holdout heldout".split()
)
UNLABELLED = frozenset("unsup unsupervised unlabeled unlabelled unlabeled_data no_label nolabel".split())
# Folders with these names hold pictures and their segmentation masks, not classes.
KINDS = frozenset("images image imgs img labels label masks mask annotations annotation".split())


def is_shown(path: Path) -> bool:
    """Return whether a file or folder is the user's own: not hidden, and not created by a system."""
    return not path.name.startswith(".") and path.name.lower() not in BESIDE


def files_below(folder: Path) -> list[Path]:
    """Return the user's own files below a folder, in order."""
    found: list[Path] = []
    for entry in sorted(folder.iterdir()):
        if is_shown(entry):
            found += files_below(entry) if entry.is_dir() else [entry] if entry.is_file() else []
    return found


def class_folders(folder: Path, notes: Notes, *, as_told: bool) -> dict[str, list[Path]]:
    """Return the files of each subfolder by its name, which is the label.

    Raises:
        DataError: the subfolders are parts of the data and not labels, or have subfolders.
    """
    folders = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and is_shown(entry)]
    unlabelled = [entry for entry in folders if entry.name.lower() in UNLABELLED]
    if not as_told:
        labelled = [entry for entry in folders if entry not in unlabelled]
        check_labels(folder, [entry.name for entry in labelled], lambda name: folder / name)
        folders = labelled
        nested = next((inner for one in folders for inner in sorted(one.iterdir()) if _holds_files(inner)), None)
        if nested is not None:
            raise DataError(
                f"{folder} holds folders of folders, {nested.relative_to(folder)} for one: is the label "
                f"{nested.parent.name!r} or {nested.name!r}? Give {nested.parent} for the inner ones; "
                f"with --as-told the outer ones are the labels, {nested.parent.name!r} for all below it."
            )
    found = {entry.name: files_below(entry) for entry in folders}
    for name, files in found.items():
        rule = why_no_text(name)
        if rule is not None:
            raise DataError(f"The label of the folder {str(folder / name)!r} is no text: {rule} Rename the folder.")
        if not files:
            notes.remarks.append(f"the folder {name} is empty: no example has this label.")
    if unlabelled and not as_told:
        count = sum(len(files_below(entry)) for entry in unlabelled)
        named = ", ".join(entry.name for entry in unlabelled)
        notes.remarks.append(f"{count:,} files of {named} were left out: they have no label. --as-told makes it one.")
    loose = [entry for entry in sorted(folder.iterdir()) if entry.is_file() and is_shown(entry)]
    if loose:
        notes.remarks.append(
            f"{len(loose):,} {'file' if len(loose) == 1 else 'files'} beside the folders ({loose[0].name}"
            f"{', ...' if len(loose) > 1 else ''}) {'was' if len(loose) == 1 else 'were'} not read."
        )
    return {name: files for name, files in found.items() if files}


def _holds_files(path: Path) -> bool:
    return path.is_dir() and is_shown(path) and bool(files_below(path))


def check_labels(source: Path, names: Iterable[str], path: Callable[[str], Path]) -> None:
    """Refuse labels that are the names of parts of the data (train, test); `path` is where one lies.

    Raises:
        DataError: with the commands for both interpretations.
    """
    names = list(names)
    parts = [name for name in names if name.lower() in PARTS]
    if len(parts) >= 2 or (parts and len(parts) == len(names)):
        given = " ".join(f"{option} {path(name)}" for option, name in _options(parts))
        raise DataError(
            f"{source} holds {', '.join(parts)}: by their names parts of the data, not labels. "
            f"To read them as parts: {given}. If they are labels: --as-told."
        )
    if names and all(name.lower() in KINDS for name in names):
        raise DataError(
            f"{source} holds {', '.join(names)}: by their names kinds of files, not labels. Give a folder with a "
            "folder for each label. If they are labels: --as-told."
        )


def _options(parts: list[str]) -> list[tuple[str, str]]:
    """Return the command-line options for the parts of the data."""
    found: dict[str, str] = {}
    for name in parts:
        low = name.lower()
        option = (
            "--train" if low.startswith("train") else "--test" if low.startswith(("test", "hold", "held")) else "--dev"
        )
        found.setdefault(option, name)
    return [(option, found[option]) for option in ("--train", "--dev", "--test") if option in found]
