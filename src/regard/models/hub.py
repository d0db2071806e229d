"""Download from and upload to the Hugging Face hub. `huggingface_hub` is imported only when a name is used."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ModelFileError, needed

_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def local_folder(folder_or_name: str | os.PathLike[str], files: Sequence[str], revision: str | None) -> Path:
    """Return the folder itself, or the hub's cache folder after downloading `files` of a repository."""
    folder = Path(folder_or_name)
    if folder.is_dir():
        return folder
    name = os.fspath(folder_or_name)
    if not _NAME.fullmatch(name):
        raise ModelFileError(f"There is no folder {name!r}, and it is no name of the hub, which look like 'me/model'.")
    hub = _library()
    try:
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=list(files)))
    except (OSError, ValueError) as error:  # every error of the hub and of its connection is one of these
        raise ModelFileError(
            f"There is no folder {name!r}, and the model was not found on the Hugging Face hub: {_first_line(error)}"
        ) from error


def upload(folder: str, name: str, *, private: bool, message: str, leave_out: Sequence[str] = ()) -> str:
    """Upload a folder to the repository `name`, created if necessary, and return its address.

    `leave_out` are patterns of files that stay here.
    """
    hub = _library()
    try:
        api = hub.HfApi()
        address = str(api.create_repo(name, private=private, exist_ok=True))
        api.upload_folder(folder_path=folder, repo_id=name, commit_message=message, ignore_patterns=list(leave_out))
    except (OSError, ValueError) as error:
        raise ModelFileError(f"The model could not be uploaded to {name!r}: {_first_line(error)}") from error
    return address


def _library() -> Any:
    why = "Models of the Hugging Face hub need huggingface_hub, which the base install leaves out. Install it with"
    with needed(why, "hf"):
        import huggingface_hub
    return huggingface_hub


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no reason given'])[0]}"
