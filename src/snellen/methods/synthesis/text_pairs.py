"""Pairs of images and texts for two towers: the same texts for real and synthetic images, and two fair mixtures.

Fan et al. (CVPR 2024) generate images from the texts of the data set itself, so that real and synthetic pairs differ by
the picture alone. A mixture holds more pairs than either; whether it helps therefore has two answers: at as many pairs,
and at as many updates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from snellen.core.errors import InputError
from snellen.core.images import ImageSet

Mixture = Literal["real", "synthetic", "equal pairs", "equal updates"]


@dataclass(frozen=True)
class Pair:
    """One image with its text.

    Attributes:
        text: what it shows.
        image: position in its set.
        synthetic: whether the image is of the synthetic set.
    """

    text: str
    image: int
    synthetic: bool


def text_pairs(real: ImageSet, made: ImageSet, mixture: Mixture) -> list[Pair]:
    """Pairs to train two towers on.

    - *real*, *synthetic*: every text once, with one of its images.
    - *equal pairs*: every text once; texts in turns get their real and their synthetic image.
    - *equal updates*: every text twice, with both of its images; trained for as many updates as the others.

    Args:
        real: images with captions.
        made: images generated from these captions, which are their captions.
        mixture: see above.

    Raises:
        InputError: texts of the two sets differ, or an image without a caption.
    """
    texts, others = _texts(real), _texts(made)
    places = {text: row for row, text in enumerate(others)}
    if sorted(texts) != sorted(others) or len(places) < len(others):
        different = sorted(set(texts) ^ set(others))
        example = f"{different[0]!r} is in one of them alone" if different else "one occurs more than once"
        raise InputError(
            f"{real.name} and {made.name} must have the same texts, each once, and {example}; generate one image for "
            f"the caption of each real one"
        )
    own = [Pair(text, row, synthetic=False) for row, text in enumerate(texts)]
    drawn = [Pair(text, places[text], synthetic=True) for text in texts]
    if mixture == "real":
        return own
    if mixture == "synthetic":
        return drawn
    if mixture == "equal pairs":
        return [own[row] if row % 2 == 0 else drawn[row] for row in range(len(texts))]
    return [pair for both in zip(own, drawn, strict=True) for pair in both]


def _texts(images: ImageSet) -> Sequence[str]:
    captions = images.column("caption")
    lacking = next((row for row, text in enumerate(captions) if not isinstance(text, str) or not text), None)
    if lacking is not None:
        raise InputError(f"{images.name}: image {images.ids[lacking]!r} has no caption")
    return [str(text) for text in captions]
