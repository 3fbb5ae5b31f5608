"""The two interleaved halves of an image, a checkerboard of pixels, and what a network is shown of one.

A half is kept packed: (n, c, 2, h/2, w/2), the kept pixels of even rows and of odd rows. Nothing here mixes halves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from snellen.core.errors import InputError

#: The halves: 0 holds the pixels whose row and column add up to an even number, 1 the others.
HALVES = (0, 1)

#: How a network is shown a half, see :data:`VIEWS`.
View = Literal["contrast", "zeros", "fill"]


def half_masks(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Which pixels belong to each half: bool (h, w) twice; every pixel is in exactly one.

    >>> half_masks(2, 4)[0].int().tolist()
    [[1, 0, 1, 0], [0, 1, 0, 1]]

    Raises:
        InputError: an odd height or width, of which there are no halves of equal size in every 2 x 2 block.
    """
    check_even(height, width)
    even = (torch.arange(height)[:, None] + torch.arange(width)) % 2 == 0
    return even, ~even


def pick(images: Tensor, half: int) -> Tensor:
    """The pixels of a half, (n, c, h, w) → (n, c, 2, h/2, w/2).

    Raises:
        InputError: an odd height or width.
    """
    check_even(*images.shape[-2:])
    return torch.stack([images[..., 0::2, half::2], images[..., 1::2, 1 - half :: 2]], -3)


def place(packed: Tensor, half: int, others: Tensor | None = None) -> Tensor:
    """Put a packed half back to its pixels, (n, c, 2, h/2, w/2) → (n, c, h, w); the other pixels are 0.

    Args:
        packed: values of the kept pixels.
        half: which half they are.
        others: values of the other pixels, packed in the same way, instead of 0.

    >>> image = torch.rand(1, 3, 4, 6)
    >>> torch.equal(place(pick(image, 0), 0) + place(pick(image, 1), 1), image)
    True
    """
    count, channels, _, rows, columns = packed.shape
    canvas = packed.new_zeros(count, channels, 2 * rows, 2 * columns)
    canvas[..., 0::2, half::2], canvas[..., 1::2, 1 - half :: 2] = packed[:, :, 0], packed[:, :, 1]
    if others is not None:
        canvas[..., 0::2, 1 - half :: 2], canvas[..., 1::2, half::2] = others[:, :, 0], others[:, :, 1]
    return canvas


def contrast(packed: Tensor, half: int) -> Tensor:
    """The published view: to each kept pixel the maximum of its 2 x 2 block is added, in which the others are 0."""
    return place(packed + packed.amax(2, keepdim=True).clamp_min(0), half)


def filled(packed: Tensor, half: int) -> Tensor:
    """Other pixels are the mean of the kept ones above, below, left and right, as far as there are any."""
    even, odd = packed[:, :, 0], packed[:, :, 1]
    count, _, rows, columns = even.shape
    # In an even row, kept pixels stand at columns half, half + 2, …, in an odd one at the others: of the pixel between
    # two kept ones, the row's own neighbours are kept pixels here and one further (or before), the others' come from
    # the rows above and below, at the same place.
    total, number = even.new_zeros(count, even.shape[1], 2, rows, columns), even.new_zeros(2, rows, columns)
    for row, (own, vertical, step) in enumerate(((even, odd, 1 - 2 * half), (odd, even, 2 * half - 1))):
        total[:, :, row] += own + vertical
        number[row] += 2
        beside = slice(0, -1) if step == 1 else slice(1, None), slice(1, None) if step == 1 else slice(0, -1)
        total[:, :, row, :, beside[0]] += own[..., beside[1]]
        number[row, :, beside[0]] += 1
        # An even row has its further vertical neighbour above it, in the odd row before; an odd row below it.
        here, there = (slice(1, None), slice(0, -1)) if row == 0 else (slice(0, -1), slice(1, None))
        total[:, :, row, here] += vertical[..., there, :]
        number[row, here] += 1
    return place(packed, half, total / number)


#: Packed half (n, c, 2, h/2, w/2) and its number → images (n, c, h, w), as a function of that half alone.
VIEWS: dict[View, Callable[[Tensor, int], Tensor]] = {"contrast": contrast, "zeros": place, "fill": filled}


def check_even(height: int, width: int) -> None:
    """Refuse what has no halves.

    Raises:
        InputError: an odd height or width.
    """
    if height % 2 or width % 2:
        raise InputError(
            f"images of {height} x {width} pixels have no two interleaved halves; expected an even height and width: "
            f"resize or pad the images"
        )
