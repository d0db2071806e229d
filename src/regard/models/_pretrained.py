"""A model on disk: `config.json` and `model.safetensors` in a folder, or in a repository of the Hugging Face hub."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from .. import _files
from ..errors import ArgumentError, ModelFileError, nearest
from . import hub

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
_FORMAT = 1
_SHOWN = 5

ConfigT = TypeVar("ConfigT")


class PretrainedModel(nn.Module, Generic[ConfigT]):
    """A module that is built from a frozen config, with saving and loading of both."""

    config_class: ClassVar[type]
    config: ConfigT

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write `config.json` and `model.safetensors` into `folder`, which is created if necessary.

        Each file is written under a temporary name, synced and renamed, so that a reader never sees an incomplete file.
        Other files of the folder are kept. Shared weights are written once.
        """
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        described = {
            "format": _FORMAT,
            "model": type(self).__name__,
            "regard_version": _version(),
            "config": dataclasses.asdict(self.config),  # type: ignore[call-overload]
        }
        _files.write(place / WEIGHTS, save(tensors, metadata={"format": "pt"}))
        _files.write(place / CONFIG, (json.dumps(described, indent=2) + "\n").encode())

    @classmethod
    def from_pretrained(cls, folder_or_hub_name: str | os.PathLike[str], *, revision: str | None = None) -> Self:
        """Build the model that a folder, or a repository of the Hugging Face hub, describes; in evaluation mode.

        Args:
            folder_or_hub_name: a folder written by `save_pretrained`, or a name such as "me/ner-in-code".
            revision: branch, tag or commit on the hub.

        Raises:
            ModelFileError: a file is missing, damaged, of another model, or does not fit its config; the hub cannot
                be reached.
            MissingExtraError: the name is one of the hub and `huggingface_hub` is not installed.
        """
        folder = hub.local_folder(folder_or_hub_name, (CONFIG, WEIGHTS), revision)
        config = cls._config_of(_described(folder / CONFIG), folder / CONFIG)
        model = cls(config)
        _fill(model, _tensors(folder / WEIGHTS), folder / WEIGHTS)
        return model.eval()

    def push_to_hub(self, name: str, *, private: bool = False, message: str = "Upload the model") -> str:
        """Upload what `save_pretrained` writes to the repository `name` of the Hugging Face hub; return its address.

        The repository is created if necessary. Needs a login (`hf auth login`), and `huggingface_hub`.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return hub.upload(folder, name, private=private, message=message)

    @classmethod
    def _config_of(cls, described: Mapping[str, Any], file: Path) -> Any:
        if described["model"] != cls.__name__:
            raise ModelFileError(
                f"{file} describes a {described['model']}, not a {cls.__name__}. Load it with "
                f"{described['model']}.from_pretrained."
            )
        fields = {field.name: field for field in dataclasses.fields(cls.config_class)}
        given = dict(described["config"])
        for name in given:
            if name not in fields:
                raise ModelFileError(
                    f"{file} has the setting {name!r}, which {cls.config_class.__name__} does not know."
                    f"{nearest(name, fields)} Was it written by a newer regard ({described.get('regard_version')})?"
                )
        for name, field in fields.items():
            if name not in given and field.default is dataclasses.MISSING:
                raise ModelFileError(f"{file} lacks the setting {name!r}, which {cls.config_class.__name__} needs.")
        made = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        try:
            return cls.config_class(**made)
        except ArgumentError as error:
            raise ModelFileError(f"{file}: {error}") from error


def _version() -> str | None:
    try:
        return importlib.metadata.version("regard")
    except importlib.metadata.PackageNotFoundError:  # run from the source tree
        return None


def _described(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelFileError(f"{file} does not exist; a model's folder holds {CONFIG} and {WEIGHTS}.") from None
    except (ValueError, OSError) as error:
        raise ModelFileError(f"{file} cannot be read: {error}. Save or download the model again.") from error
    if not isinstance(found, dict) or not isinstance(found.get("config"), dict) or "model" not in found:
        raise ModelFileError(f"{file} is no config of a regard model: it lacks 'model' or 'config'.")
    if found.get("format") != _FORMAT:
        raise ModelFileError(
            f"{file} has format {found.get('format')!r} and this regard reads {_FORMAT}; use the version that wrote "
            f"it ({found.get('regard_version')}), or a newer one."
        )
    return found


def _tensors(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise ModelFileError(f"{file} does not exist; a model's folder holds {CONFIG} and {WEIGHTS}.")
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{file} cannot be read: {error}. Save or download the model again.") from error


def _fill(model: nn.Module, tensors: Mapping[str, Tensor], file: Path) -> None:
    wanted = model.state_dict()
    wrong = [f"{name} is missing" for name in wanted if name not in tensors]
    wrong += [f"{name} is unknown" for name in tensors if name not in wanted]
    wrong += [
        f"{name} has shape {tuple(tensors[name].shape)} in place of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise ModelFileError(
            f"{file} does not fit its {CONFIG}: {'; '.join(wrong[:_SHOWN])}{more}. Were they saved together?"
        )
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(tensors[name])
