"""Decoding one picture to what an image viewer would show.

Rotated by its EXIF orientation, converted from its colour profile to sRGB, 16 bits scaled to 8, transparency on
white, the first of several frames.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...errors import DataError, needed

if TYPE_CHECKING:
    from PIL.Image import Image

Fit = Literal["pad", "crop", "stretch"]

ORIENTATION = 0x0112
GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L")
# What Pillow raises for files that are truncated, damaged, or not pictures.
DAMAGED = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)


@dataclass(frozen=True)
class Header:
    """The header of a picture's file."""

    size: tuple[int, int]
    """Height and width after rotation."""
    grey: bool
    """Whether it is greyscale."""
    turned: bool
    """Whether EXIF rotates or mirrors it."""
    frames: int
    """Number of frames in the file."""
    clear: bool
    """Whether parts of it may be transparent."""


def read_header(file: Path) -> Header:
    """Read the header of a picture's file.

    Raises:
        DataError: it is no picture, or a damaged one.
    """
    with _Opened(file) as opened:
        position = opened.getexif().get(ORIENTATION, 1)
        height, width = opened.height, opened.width
        # Pillow gives the size of a TIFF after rotation.
        if position in (5, 6, 7, 8) and opened.format != "TIFF":
            height, width = width, height
        several = getattr(opened, "n_frames", 1) if opened.format in ("GIF", "PNG", "WEBP", "TIFF") else 1
        return Header((height, width), opened.mode in GREY, position in range(2, 9), several, _is_clear(opened))


def decode(file: Path, *, grey: bool) -> Image:
    """Decode a picture: mode `L` if grey, else `RGB`.

    Raises:
        DataError: it is no picture, or a damaged one.
    """
    from PIL import ImageOps

    with _Opened(file) as opened:
        picture = _in_bytes(ImageOps.exif_transpose(opened))
        picture = _in_known_colours(picture, opened.info.get("icc_profile"))
        if _is_clear(picture):
            picture = _on_white(picture)
        return picture.convert("L" if grey else "RGB")


def fitted(picture: Image, size: tuple[int, int], fit: Fit) -> Image:
    """Scale a picture to a height and width, keeping its aspect ratio unless `stretch` is asked for."""
    from PIL import Image, ImageOps

    wide, scale = (size[1], size[0]), Image.Resampling.BILINEAR
    if picture.size == wide:
        return picture
    if fit == "stretch":
        return picture.resize(wide, scale)
    if fit == "crop":
        return ImageOps.fit(picture, wide, scale)
    white: Any = 255 if picture.mode == "L" else (255, 255, 255)
    return ImageOps.pad(picture, wide, scale, color=white)


class _Opened:
    """An open picture file, all of whose errors become a `DataError`."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> Image:
        with needed("Pictures need Pillow:", "train"):
            from PIL import Image
        try:
            self._opened = Image.open(self._file)
        except (*DAMAGED, Image.DecompressionBombError) as error:
            raise self._wrong(error) from error
        return self._opened

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._opened.close()
        if isinstance(error, DAMAGED) and not isinstance(error, DataError):
            raise self._wrong(error) from error

    def _wrong(self, error: BaseException) -> DataError:
        return DataError(f"{self._file}: the picture cannot be read: {str(error) or type(error).__name__}.")


def _in_bytes(picture: Image) -> Image:
    """Return a picture with 8 bits a channel: 16 bits are scaled, where Pillow would clip at 255."""
    from PIL import Image

    if picture.mode in ("I;16", "I;16B", "I;16L"):
        return Image.fromarray((np.asarray(picture).astype(np.uint32) // 257).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError(f"its levels are of mode {picture.mode}, without a known range; save it with 8 or 16 bits")
    return picture


def _in_known_colours(picture: Image, profile: bytes | None) -> Image:
    """Convert a picture to sRGB, if it has a readable colour profile."""
    if not profile or picture.mode not in ("RGB", "RGBA", "CMYK"):
        return picture
    from PIL import ImageCms

    mode = "RGBA" if picture.mode == "RGBA" else "RGB"
    try:
        meant = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        known = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        changed = ImageCms.profileToProfile(picture, meant, known, outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
    return picture if changed is None else changed


def _is_clear(picture: Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info


def _on_white(picture: Image) -> Image:
    from PIL import Image

    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer).convert("RGB")
