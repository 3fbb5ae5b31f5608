"""Capital letters and digits, five dots wide and seven high, drawn by us."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

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
