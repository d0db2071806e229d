"""The classes of examples refuse inconsistent values."""

import numpy as np
import pytest

from regard.corpora import Images, TaggedWords
from regard.errors import ArgumentError, DtypeError, ShapeError


def test_each_word_has_one_tag() -> None:
    """A missing tag is refused with both counts."""
    with pytest.raises(ArgumentError, match="2 words and 1 tags"):
        TaggedWords(("a", "b"), ("O",))


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 3, 4, 1)])
def test_images_are_a_stack_with_labels(shape: tuple[int, ...]) -> None:
    """Wrong rank and a wrong number of labels are refused."""
    with pytest.raises(ShapeError, match=r"\(N, H, W, C\)"):
        Images(np.zeros(shape, np.uint8), ("a", "b"))


def test_pixels_are_bytes() -> None:
    """Pixels of another dtype are refused, since their range would be unknown."""
    with pytest.raises(DtypeError, match="float32"):
        Images(np.zeros((1, 2, 2, 1), np.float32), ("a",))


def test_length_of_a_stack() -> None:
    """A stack is as long as it has images."""
    assert len(Images(np.zeros((3, 2, 2, 1), np.uint8), ("a", "b", "a"))) == 3
