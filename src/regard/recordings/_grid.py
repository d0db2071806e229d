"""Tokens that are the patches of an image."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._values import described, size
from ..errors import ArgumentError, ShapeError

# What a browser shows without running anything: no SVG. A kind is known by its first bytes.
_KINDS = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


@dataclass(frozen=True)
class Grid:
    """Says that tokens are patches of an image, row by row, so that attention to them can be laid over it.

    Raises `ArgumentError`, `ShapeError`.

    >>> grid = Grid(2, 3, first=1, image=np.zeros((20, 30, 3), np.uint8))
    >>> grid.media_type
    'image/png'
    """

    rows: int
    """Patches from top to bottom."""
    columns: int
    """Patches from left to right."""
    first: int = 0
    """Token of the first patch; 1 behind a class token."""
    image: Any = None
    """The image: path or bytes of a PNG, JPEG, GIF or WebP, or a uint8 array (height, width) or (height, width, 3)."""

    def __post_init__(self) -> None:
        """Check the numbers, and read the image."""
        for name, low in (("rows", 1), ("columns", 1), ("first", 0)):
            object.__setattr__(self, name, size(name, getattr(self, name), low))
        if self.image is not None:
            object.__setattr__(self, "image", _bytes(self.image))
            _kind(self.image)

    @property
    def media_type(self) -> str | None:
        """The MIME type of the image, None without one."""
        return None if self.image is None else _kind(self.image)

    def check(self, size: int) -> None:
        """Raise `ShapeError` unless a sequence of `size` tokens holds all patches."""
        last = self.first + self.rows * self.columns
        if last > size:
            raise ShapeError(
                f"a grid of {self.rows} × {self.columns} patches from token {self.first} ends at token {last}, the "
                f"sequence has {size}."
            )


def _bytes(image: Any) -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | Path):
        try:
            return Path(image).read_bytes()
        except OSError as error:
            raise ArgumentError(f"the image {str(image)!r} cannot be read: {error}.") from error
    try:
        pixels = np.asarray(image)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"the image is {described(image)}, which is no array: {error}.") from None
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or 0 in pixels.shape or pixels.shape[2:] not in ((), (3,)):
        raise ShapeError(
            f"the image is {pixels.dtype} of shape {pixels.shape}; give uint8 (height, width) or (height, width, 3), a "
            "path, or the bytes of a PNG or JPEG."
        )
    return _png(pixels)


def _kind(image: bytes) -> str:
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "image/webp"
    for start, kind in _KINDS:
        if image.startswith(start):
            return kind
    raise ArgumentError(f"the image begins with {image[:8]!r}, which is no PNG, JPEG, GIF or WebP.")


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    height, width = pixels.shape[:2]
    lines = pixels.reshape(height, -1)
    # Each line has a byte before it that says how it was filtered: 0, not at all.
    body = zlib.compress(np.concatenate([np.zeros((height, 1), np.uint8), lines], 1).tobytes())
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    return _KINDS[0][0] + b"".join(_chunk(*part) for part in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b"")))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
