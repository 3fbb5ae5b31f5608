"""Holes that are painted, backgrounds that are edited by words, and a region of the same form elsewhere as a control.

What an edit changes is evidence about what was taken out only beside a control: the same edit of as many pixels that
hold something else.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from snellen.methods.edits.masked_object import Fill, removed
from snellen.models.diffusion.editor import Editor
from snellen.models.diffusion.editor_instructed import InstructedEditor

#: Image (3, h, w), hole bool (h, w), words for what is behind it, seed → the image with the hole painted.
Painter = Callable[[Tensor, Tensor, str, int], Tensor]


def control_region(mask: Tensor, forbidden: Tensor, draw: float) -> Tensor | None:
    """The mask, moved to where it touches neither itself nor what is forbidden; None where there is no such place.

    All moves are compared at once, by their overlap as a correlation. Those that wrap around an edge come last.

    >>> mask = torch.tensor([[True, False, False, False]])
    >>> control_region(mask, torch.tensor([[False, True, False, True]]), 0.5).int().tolist()
    [[0, 0, 1, 0]]

    Args:
        mask: bool (h, w), not empty.
        forbidden: bool (h, w).
        draw: in [0, 1): which of the places.
    """
    height, width = mask.shape
    taken = (mask | forbidden).double()
    spectrum = torch.fft.rfft2(taken) * torch.fft.rfft2(mask.double()).conj()
    free = torch.fft.irfft2(spectrum, s=(height, width)) < 0.5
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    down, right = torch.arange(height)[:, None], torch.arange(width)[None]
    # A move by more than what is left below is one upwards, by h less.
    whole = ((down <= height - 1 - rows[-1]) | (down >= height - rows[0])) & (
        (right <= width - 1 - columns[-1]) | (right >= width - columns[0])
    )
    places = (free & whole if bool((free & whole).any()) else free).nonzero()
    if not len(places):
        return None
    step = places[min(int(draw * len(places)), len(places) - 1)].tolist()
    return torch.roll(mask, step, (0, 1))


def filling_painter(fill: Fill) -> Painter:
    """Fill holes from the same image; the words do not matter.

    Raises:
        MissingExtraError: ``telea`` without OpenCV, when it paints.
    """
    return lambda image, hole, _, __: removed(image[None], hole[None], fill, ring=0)[0]


#: Diffusion models take sides that are multiples of this, pixels.
_MULTIPLE = 64


#: Image (3, h, w), its background, another one, seed → the image before the other one.
Instructed = Callable[[Tensor, str, str, int], Tensor]


def _sized(image: Tensor, multiple: int) -> tuple[Tensor, list[int]]:
    """The image (1, 3, h, w) at the nearest size whose sides are multiples of a number, and that size."""
    size = [max(multiple, round(side / multiple) * multiple) for side in image.shape[1:]]
    large = functional.interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)
    return large.clamp(0, 1), size


def _back(made: Tensor, image: Tensor) -> Tensor:
    """What was made (1, 3, h, w), at the size of an image."""
    made = functional.interpolate(made.to(image), image.shape[1:], mode="bilinear", antialias=True, align_corners=False)
    return made[0].clamp(0, 1)


def inpainting_painter(editor: Editor) -> Painter:
    """Paint holes with an inpainting model, at the nearest size that it makes; pixels beside the hole stay."""

    def paint(image: Tensor, hole: Tensor, words: str, seed: int) -> Tensor:
        large, size = _sized(image, _MULTIPLE)
        free = functional.interpolate(hole[None, None].float(), size, mode="nearest") > 0.5
        if not bool(free.any()):
            free = functional.interpolate(hole[None, None].float(), size, mode="area") > 0
        return torch.where(hole, _back(editor.edit(large, free, [words], [seed]), image), image)

    return paint


def instructed_background(editor: InstructedEditor) -> Instructed:
    """Edit backgrounds by the published instruction, at the nearest size that the editor makes."""

    def edit(image: Tensor, own: str, other: str, seed: int) -> Tensor:
        large, _ = _sized(image, _MULTIPLE)
        return _back(editor.edit(large, [f"turn the background of {own} into {other}"], [seed]), image)

    return edit
