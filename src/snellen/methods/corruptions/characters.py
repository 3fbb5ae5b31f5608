"""Characters that a device or a clinician wrote into the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.marks import PUBLISHED_SIDE, mark_draws, place, upper_whole

#: Strokes of each letter as points "xy" on a grid, both in hexadecimal, y from the bottom: descenders reach down to 0,
#: letters stand on 3, a small letter ends at 9, a tall one at c (12).
_BOWL = "13 43 55 57 49 19 07 05 13"
STROKES = {
    "a": (_BOWL, "59 53"),
    "b": ("0c 03", _BOWL),
    "c": ("58 49 19 07 05 13 43 54",),
    "d": (_BOWL, "5c 53"),
    "e": ("06 56 57 49 19 07 05 13 43 54",),
    "f": ("4c 3c 2b 23", "09 49"),
    "g": (_BOWL, "59 51 40 10 01"),
    "h": ("0c 03", "07 19 49 57 53"),
    "i": ("09 03", "0b 0c"),
    "j": ("19 11 00", "1b 1c"),
    "k": ("0c 03", "59 05", "16 53"),
    "l": ("0c 03",),
    "m": ("09 03", "07 19 49 57 53", "57 69 99 a7 a3"),
    "n": ("09 03", "07 19 49 57 53"),
    "o": (_BOWL,),
    "p": ("09 00", _BOWL),
    "q": (_BOWL, "59 50"),
    "r": ("09 03", "07 19 39"),
    "s": ("58 49 19 08 07 16 46 55 54 43 13 04",),
    "t": ("1c 14 23 33", "09 39"),
    "u": ("09 05 13 43 55", "59 53"),
    "v": ("09 23 49",),
    "w": ("09 23 49 63 89",),
    "x": ("09 53", "59 03"),
    "y": ("09 23", "49 10"),
    "z": ("09 59 03 53",),
}
ALPHABET = "".join(STROKES)

#: Height of a tall letter above and depth of a descender below the line that the letters stand on, and the empty room
#: between two letters, in steps of the grid.
TALL, DEEP, GAP = 9, 3, 3

#: A segment leaves 1 − peak · (1 − d² / reach²)² of the image, to the power of overlay, at a distance of d < reach
#: pixels from its edge; its width is twice the thickening, in steps of the grid. With a reach of 1.4 and an overlay of
#: 1 this is OpenCV 4's smooth line of thickness 1, within 0.05. Reach, overlay and thickening were fitted by us to
#: words in its font "Hershey duplex", whose strokes are doubled: at scales of 0.14 to 0.18 the sum of opacities is
#: within 2 %, and its power spectrum within 20 %.
_PEAK, _REACH = 0.91, 1.28
_OVERLAY, _THICKENING = 0.76, 0.19


@cache
def segments(letter: str) -> tuple[tuple[int, int, int, int], ...]:
    """Line segments of a letter as x, y, x, y in steps of the grid, y upwards from the line that letters stand on."""
    lines = [[(int(point[0], 16), int(point[1], 16) - DEEP) for point in line.split()] for line in STROKES[letter]]
    return tuple((*start, *end) for line in lines for start, end in pairwise(line))


@cache
def advance(letter: str) -> int:
    """Width of a letter and the room after it, in steps of the grid."""
    return max(max(x, to_x) for x, _, to_x, _ in segments(letter)) + GAP


def word_opacity(word: Sequence[str], step: float) -> tuple[Tensor, int, int]:
    """Opacity of a word: (height, width) in [0, 1], with the row and column in it of the point where the word begins.

    Args:
        word: letters.
        step: of the grid, pixels.
    """
    lines, start = [], GAP / 2
    for letter in word:
        lines += [(x + start, y, to_x + start, to_y) for x, y, to_x, to_y in segments(letter)]
        start += advance(letter)
    x, y, to_x, to_y = torch.tensor(lines).mul_(step).T.contiguous()
    border = math.ceil(_REACH + _THICKENING * step)
    above, below, width = int(TALL * step) + border, int(DEEP * step) + border, int(start * step) + border
    right = torch.arange(-border, width + 1, dtype=torch.float32)[:, None] - x
    up = torch.arange(above, -below - 1, -1, dtype=torch.float32)[:, None, None] - y
    along_x, along_y = to_x - x, to_y - y
    length = (along_x**2 + along_y**2).clamp_(min=1e-9)
    share = (right * (along_x / length) + up * (along_y / length)).clamp_(0, 1)
    distance = (right - share * along_x).square_().add_((up - share * along_y).square_())
    distance = distance.sqrt_().sub_(_THICKENING * step).clamp_(min=0)
    kept = distance.square_().div_(_REACH**2).neg_().add_(1).clamp_(min=0).square_().mul_(-_PEAK).add_(1)
    return 1 - kept.prod(2).pow_(_OVERLAY), above, border


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
