"""Frost on the window in front of the camera."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.frost_texture import frost_panes
from snellen.methods.corruptions.image_sizes import SMALL_BELOW

#: Every fifth pixel is what OpenCV's bilinear resize to 0.2 of the size comes to.
SHRINK = 5
#: Of the six photographs, the published code draws one of the first five.
DRAWN = 5


def frost(
    images: Tensor,
    rng: Randomness,
    *,
    keep: float,
    amount: float,
    textures: Sequence[Tensor] | None = None,
    parity: bool = False,
) -> Tensor:
    """``keep`` · image + ``amount`` · a random crop of a random texture: (n, 3, h, w) in [0, 1].

    Without textures it is our own procedural frost, which is not the published one: see
    :mod:`snellen.methods.corruptions.frost_texture`. With the six photographs of the authors' repository it is, but for
    two slips of theirs, which ``parity`` repeats: they draw among the first five photographs only, and never the last
    row and column of places.

    Source: Hendrycks and Dietterich, arXiv 1903.12261, and their code.

    >>> import torch
    >>> frost(torch.rand(2, 3, 5, 7), Randomness(0).bind(2), keep=0.8, amount=0.6).shape
    torch.Size([2, 3, 5, 7])

    Args:
        images: (n, 3, h, w) in [0, 1].
        rng: bound to the n examples.
        keep: what is left of the image.
        amount: how much of the texture is added; 0 with ``keep`` 1 is the identity.
        textures: (3, height, width) each, in [0, 1]. For images whose shorter side is below 96 they are shrunk to 0.2
            of their size; what is then smaller than the image is enlarged to cover it.
        parity: draw among the first five textures, and not the last row and column of places where there are others.

    Raises:
        InputError: there is no texture, or one of another shape.
    """
    height, width = images.shape[2:]
    panes = frost_panes(images.device) if textures is None else _checked(textures)
    if min(height, width) < SMALL_BELOW:
        panes = [_shrunk(pane) for pane in panes]
    among = min(len(panes), DRAWN) if parity else len(panes)
    chosen = rng.integers("texture", (), 0, among).tolist()
    places = rng.uniform("place", (2,)).tolist()
    fitted = {index: _covering(panes[index].to(images), height, width) for index in set(chosen)}
    frosted = images * keep
    for image, index, (down, right) in zip(frosted, chosen, places, strict=True):
        pane = fitted[index]
        top = int(down * _places(pane.shape[1] - height, parity))
        left = int(right * _places(pane.shape[2] - width, parity))
        image.add_(pane[:, top : top + height, left : left + width], alpha=amount)
    return frosted.clamp_(0, 1)


def _places(room: int, parity: bool) -> int:
    """How many places there are along an axis with so many pixels to spare."""
    return max(room, 1) if parity else room + 1


def _checked(textures: Sequence[Tensor]) -> Sequence[Tensor]:
    if not len(textures):
        raise InputError("frost got an empty list of textures; give at least one, or None for the procedural ones")
    for index, texture in enumerate(textures):
        if texture.ndim != 3 or texture.shape[0] != 3 or not texture.numel() or not texture.is_floating_point():
            raise InputError(
                f"frost texture {index} must be a float tensor (3, height, width) in [0, 1], "
                f"got {texture.dtype} of shape {tuple(texture.shape)}"
            )
    return textures


def _shrunk(texture: Tensor) -> Tensor:
    rows, columns = (min(SHRINK // 2, side - 1) for side in texture.shape[1:])
    return texture[:, rows::SHRINK, columns::SHRINK]


def _covering(texture: Tensor, height: int, width: int) -> Tensor:
    """The texture, enlarged if it is smaller than an image of this size, its proportions kept."""
    factor = max(height / texture.shape[1], width / texture.shape[2])
    if factor <= 1:
        return texture
    size = [max(side, round(old * factor)) for side, old in zip((height, width), texture.shape[1:], strict=True)]
    return F.interpolate(texture[None], size, mode="bicubic", align_corners=False)[0].clamp_(0, 1)
