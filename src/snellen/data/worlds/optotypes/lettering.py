"""Text over an image: capital letters and digits, five dots wide and seven high, drawn by us."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from snellen.data.worlds.optotypes.factors import COLOUR_VALUES
from snellen.data.worlds.optotypes.scene import Lettering
from snellen.data.worlds.stable_arithmetic import blend

WIDTH, HEIGHT, GAP = 5, 7, 1

#: Rows of dots from above; each row is a binary number of five digits in two hexadecimal ones.
_ROWS = {
    "A": "0e11111f111111", "B": "1e11111e11111e", "C": "0e11101010110e", "D": "1c12111111121c",
    "E": "1f10101e10101f", "F": "1f10101e101010", "G": "0e11101711110f", "H": "1111111f111111",
    "I": "0e04040404040e", "J": "0702020202120c", "K": "11121418141211", "L": "1010101010101f",
    "M": "111b1515111111", "N": "11191513111111", "O": "0e11111111110e", "P": "1e11111e101010",
    "Q": "0e11111115120d", "R": "1e11111e141211", "S": "0f10100e01011e", "T": "1f040404040404",
    "U": "1111111111110e", "V": "11111111110a04", "W": "1111111515150a", "X": "11110a040a1111",
    "Y": "1111110a040404", "Z": "1f01020408101f", "0": "0e11131519110e", "1": "040c040404040e",
    "2": "0e11010204081f", "3": "1f02040201110e", "4": "02060a121f0202", "5": "1f101e0101110e",
    "6": "0608101e11110e", "7": "1f010204080808", "8": "0e11110e11110e", "9": "0e11110f01020c",
}  # fmt: skip

CHARACTERS = "".join(sorted(_ROWS))


@cache
def dots(text: str) -> Tensor:
    """A text as dots: float32 (9, 6 · letters + 1) of 0 and 1, with an empty border of one dot.

    >>> dots("I").sum().item()
    11.0
    """
    canvas = torch.zeros(HEIGHT + 2, (WIDTH + GAP) * len(text) + 1)
    for place, character in enumerate(text):
        rows = _ROWS[character]
        for row in range(HEIGHT):
            bits = int(rows[2 * row : 2 * row + 2], 16)
            for column in range(WIDTH):
                canvas[row + 1, place * (WIDTH + GAP) + column + 1] = bits >> (WIDTH - 1 - column) & 1
    return canvas


#: Where the joined dots are cut: for the letters, and for the rim about them.
_LETTER, _RIM = 0.5, 0.12

#: Light letters have a dark rim and dark letters a light one, so that they can be read on any ground.
_LIGHT_FROM = 0.45

#: Changes when the same text comes to be written otherwise. In 1 the rim had no end below some 400 pixels.
VERSION = 2


def write_lettering(image: Tensor, lettering: Lettering) -> Tensor:
    """Write a text over one image: (3, h, h) in [0, 1] → the same, a new tensor."""
    red, green, blue = COLOUR_VALUES[lettering.colour]
    rim = 0.06 if 0.30 * red + 0.59 * green + 0.11 * blue >= _LIGHT_FROM else 0.96
    height = _joined_dots(lettering, image.shape[-1])
    for colour, cut in (((rim,) * 3, _RIM), ((red, green, blue), _LETTER)):
        coverage = _cut(height, cut, lettering, image.shape[-1]) * lettering.opacity
        image = blend(image, torch.tensor(colour)[:, None, None], coverage)
    return image


def _joined_dots(lettering: Lettering, size: int) -> Tensor:
    """Dots joined linearly, in [0, 1]; cut at one half they have round corners at any resolution."""
    canvas = dots(lettering.text)
    dot = lettering.height / HEIGHT
    place = (torch.arange(size, dtype=torch.float32) + 0.5) * (2 / size) - 1
    row = ((place - lettering.y) / dot + (canvas.shape[0] - 1) / 2).clamp_(0, canvas.shape[0] - 1)
    column = ((place - lettering.x) / dot + (canvas.shape[1] - 1) / 2).clamp_(0, canvas.shape[1] - 1)
    above, left = row.floor().to(torch.int64), column.floor().to(torch.int64)
    below, right = (above + 1).clamp_(max=canvas.shape[0] - 1), (left + 1).clamp_(max=canvas.shape[1] - 1)
    share_y, share_x = (row - above)[:, None], (column - left)[None]
    upper = blend(canvas[above][:, left], canvas[above][:, right], share_x)
    lower = blend(canvas[below][:, left], canvas[below][:, right], share_x)
    return blend(upper, lower, share_y)


def _cut(height: Tensor, level: float, lettering: Lettering, size: int) -> Tensor:
    pixels_in_a_dot = lettering.height / HEIGHT * size / 2
    # Steep enough to be nothing where there is no dot, at any size: a low cut would shade the whole image.
    return (height - level).mul_(max(pixels_in_a_dot, 0.5 / level)).add_(0.5).clamp_(0, 1)
