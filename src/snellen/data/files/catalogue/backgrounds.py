"""What stands behind a cut-out: a function from the number of the cut-out to a picture."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.randomness import derive_seed

#: Number of a cut-out in its set → picture (RGB, any size; its middle is cut to the frame).
Background = Callable[[int], Image.Image]

WHITE = (255, 255, 255)


def plain_background(colour: tuple[int, int, int] = WHITE) -> Background:
    """One colour (red, green, blue; 0 to 255) behind every cut-out.

    >>> plain_background((0, 128, 255))(7).getpixel((0, 0))
    (0, 128, 255)

    Raises:
        InputError: not three numbers from 0 to 255.
    """
    if len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
        raise InputError(f"a colour is red, green and blue from 0 to 255; got {colour}")
    picture = Image.new("RGB", (1, 1), tuple(colour))
    return lambda number: picture


def background_images(images: ImageSet, *, seed: int = 0) -> Background:
    """A random picture of a set behind each cut-out, a folder of photos say; the draw depends on seed and number alone.

    Args:
        images: pictures to draw from, with replacement; a picture that cannot be read raises RejectedImageError.
        seed: of the draws.

    Raises:
        InputError: an empty set.
    """
    count = len(images)
    if not count:
        raise InputError(f"{images.name} holds no pictures to stand behind anything")
    return lambda number: images.read(derive_seed(seed, "background", number) % count)
