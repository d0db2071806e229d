"""Handwritten digits: 1,797 real images, included in scikit-learn."""

from __future__ import annotations

import numpy as np

from ..errors import ArgumentError, needed
from .examples import Images, Split

HELD_OUT = 270


def digits(*, size: int | None = None) -> Split[Images]:
    """Return handwritten digits of 8 × 8 pixels in one channel, with the labels "0" to "9".

    `size`: at most this many images to train on, the first ones; None for all 1,257.

    The parts are consecutive, 1,257 / 270 / 270 in the order of the data set: neighbours are by the same writer, so a
    shuffled split would test on writers that were trained on (one writer may be on both sides of a border). The
    17 levels of grey are scaled to 0 to 255. No image is in two parts. Takes 0.1 s, after the import.

    Source: E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI, 1998 (CC BY 4.0); as shipped
    by scikit-learn. Raises `MissingExtraError` without it.

    >>> split = digits()
    >>> split.train.pixels.shape, len(split.dev), len(split.test)
    ((1257, 8, 8, 1), 270, 270)
    """
    if size is not None and size < 1:
        raise ArgumentError(f"size is {size}; it counts images to train on. Give at least 1, or None for all.")
    with needed("The corpus of digits needs scikit-learn:", "train"):
        from sklearn.datasets import load_digits
    loaded = load_digits()
    pixels = np.rint(np.asarray(loaded.images) * (255 / 16)).astype(np.uint8)[..., None]
    labels = tuple(str(int(label)) for label in loaded.target)
    dev, test = len(pixels) - 2 * HELD_OUT, len(pixels) - HELD_OUT
    stop = dev if size is None else min(size, dev)
    return Split(
        Images(pixels[:stop], labels[:stop]),
        Images(pixels[dev:test], labels[dev:test]),
        Images(pixels[test:], labels[test:]),
        f"Handwritten digits, {stop} / {HELD_OUT} / {HELD_OUT} images of 8 x 8 pixels (UCI, CC BY 4.0, from "
        "scikit-learn), split in the order of the data set so that few writers stand in two parts.",
    )
