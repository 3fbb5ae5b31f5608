"""Characters that a device or a clinician wrote into the picture."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.letters import ALPHABET, word_opacity
from snellen.methods.corruptions.marks import PUBLISHED_SIDE, mark_draws, place, upper_whole

LEAST_LETTERS = 3
#: Least scale of the font, in hundredths, for a published image.
LEAST_SCALE = 14
#: Distance of a word's beginning to the border, and the room kept for each letter, in pixels of a published image.
MARGIN, LETTER_ROOM = 10, 8
#: Step of the font's grid at scale 1, pixels: small letters of 14 pixels, tall ones of 21.
STEP = 7 / 3

_LETTER_BLOCK = 16


def characters(images: Tensor, rng: Randomness, *, words: float, letters: float, scale: float) -> Tensor:
    """Write 1 to ``words`` words of 3 to ``letters`` random letters into each image: (n, 3, h, w) in [0, 1] → the same.

    MedMNIST-C (Di Salvo et al. 2024, arXiv 2406.17536), in a font of our own of the same size and about the same ink as
    the authors' (OpenCV 4's Hershey duplex; in OpenCV 5 the same call gives another font with a third of the ink). Each
    word has a random colour, place and size: a font scale from 0.14 to ``scale`` in hundredths, at which a tall letter
    is 21 · scale pixels high. Letters of the published strengths are three to four pixels high, and hardly read.

    At another size than 224 pixels the places and the least scale are those of the published image times shorter side /
    224.

    Args:
        images: (n, 3, h, w) in [0, 1].
        rng: bound to the n examples.
        words: the largest number of words; below 1 the probability of one.
        letters: the largest number of letters in a word.
        scale: the largest font scale.
    """
    height, width = images.shape[2:]
    unit = min(height, width) / PUBLISHED_SIDE
    numbers = rng.uniform("number of words", (1,)).flatten().tolist()
    blocks = [
        mark_draws(rng, f"letters {block}", math.ceil(words), _LETTER_BLOCK)
        for block in range(max(1, math.ceil(letters / _LETTER_BLOCK)))
    ]
    changed = images.clone()
    for example, draws in enumerate(mark_draws(rng, "words", math.ceil(words), 7)):
        for position, (length, size, across, down, *colour) in enumerate(
            draws[: upper_whole(numbers[example], 1, words)]
        ):
            count = upper_whole(length, LEAST_LETTERS, letters)
            chosen = [share for block in blocks for share in block[example][position]][:count]
            font_scale = upper_whole(size, LEAST_SCALE, 100 * scale / unit) / 100 * unit
            if chosen and font_scale > 0:
                opacity, row, column = word_opacity([ALPHABET[int(share * 26)] for share in chosen], STEP * font_scale)
                left = place(across, MARGIN * unit, width - LETTER_ROOM * unit * count)
                top = place(down, MARGIN * unit, height - MARGIN * unit)
                ink = torch.tensor([int(share * 256) / 255 for share in colour])
                _write(changed[example], opacity, ink, top - row, left - column)
    return changed


def _write(image: Tensor, opacity: Tensor, colour: Tensor, top: int, left: int) -> None:
    """Lay a colour over an image (3, h, w) in place; what lies outside of the image is cut off."""
    region = image[:, max(top, 0) : max(top + opacity.shape[0], 0), max(left, 0) : max(left + opacity.shape[1], 0)]
    part = opacity[max(-top, 0) :, max(-left, 0) :][: region.shape[1], : region.shape[2]]
    region.lerp_(colour.to(image)[:, None, None].expand_as(region), part.to(image).expand_as(region))
