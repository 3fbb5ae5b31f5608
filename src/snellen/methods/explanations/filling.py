"""What is put where a part of an image is taken away.

A *filling* is bound to n images and makes candidates of them: rows (m,), which image each candidate is made of, and
what is kept of it, (m, h, w) bool, or float in [0, 1] for soft edges → candidates (m, 3, h, w) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from snellen.core.errors import InputError, import_extra

#: (rows int64 (m,), kept (m, h, w) or (m, 3, h, w)) → candidates (m, 3, h, w).
Filling = Callable[[Tensor, Tensor], Tensor]

#: Names of fillings in the fields of methods. ``mean``: the mean colour of the image; ``blur``: the image out of focus.
FillName = Literal["black", "grey", "mean", "blur", "telea"]

#: Standard deviation of the blur, as a share of the shorter edge.
BLUR = 0.1


def filling(name: FillName, images: Tensor) -> Filling:
    """The filling of this name for prepared images (n, 3, h, w).

    Raises:
        MissingExtraError: ``telea`` without OpenCV (extra ``opencv``).
    """
    if name == "telea":
        return telea_filling(images)
    if name == "blur":
        return blurred_filling(images)
    return mean_filling(images) if name == "mean" else constant_filling(images, 0.0 if name == "black" else 0.5)


def background_filling(images: Tensor, backgrounds: Tensor) -> Filling:
    """Show a background, made beforehand, through the holes: kept · image + (1 − kept) · background.

    >>> filled = background_filling(torch.ones(1, 3, 1, 2), torch.zeros(1, 3, 1, 2))
    >>> filled(torch.tensor([0]), torch.tensor([[[True, False]]]))[0, 0].tolist()
    [[1.0, 0.0]]

    Args:
        images: (n, 3, h, w).
        backgrounds: of the same shape, in [0, 1].

    Raises:
        InputError: another shape.
    """
    if images.shape != backgrounds.shape:
        raise InputError(f"expected a background for each image, {tuple(images.shape)}; got {tuple(backgrounds.shape)}")
    backgrounds = backgrounds.to(images)

    def filled(rows: Tensor, kept: Tensor) -> Tensor:
        rows, shown = rows.to(images.device), _with_channels(kept, images)
        if shown.dtype == torch.bool:
            return torch.where(shown, images[rows], backgrounds[rows])
        return torch.lerp(backgrounds[rows], images[rows], shown.to(images.dtype).expand(-1, 3, -1, -1))

    return filled


def constant_filling(images: Tensor, value: float = 0.5) -> Filling:
    """One value everywhere, in [0, 1] pixel units."""
    if not 0 <= value <= 1:
        raise InputError(f"parts are filled with a value in [0, 1], got {value}")
    return background_filling(images, torch.full_like(images, value))


def mean_filling(images: Tensor) -> Filling:
    """The mean colour of each image."""
    return background_filling(images, images.mean((2, 3), keepdim=True).expand_as(images))


def blurred_filling(images: Tensor, sigma: float | None = None) -> Filling:
    """Each image under a Gaussian blur, mirrored at its edges.

    Args:
        images: (n, 3, h, w).
        sigma: standard deviation, pixels; by default :data:`BLUR` of the shorter edge.

    Raises:
        InputError: no positive sigma.
    """
    height, width = images.shape[-2:]
    deviation = BLUR * min(height, width) if sigma is None else sigma
    if not 0 < deviation < float("inf"):
        raise InputError(f"a blur needs a standard deviation above 0 pixels, got {deviation}")
    blurred = images
    for axis, length in ((2, height), (3, width)):
        blurred = torch.tensordot(blurred, _blurring(length, deviation).to(images), ([axis], [1])).movedim(-1, axis)
    return background_filling(images, blurred.clamp(0, 1))


def telea_filling(images: Tensor, radius: float = 3.0) -> Filling:
    """Inpaint each hole from its edge, anew for each candidate, on 8 bits: OpenCV, on the CPU.

    Telea, "An image inpainting technique based on the fast marching method", Journal of Graphics Tools 9(1), 2004.
    Where nothing is kept there is no edge, and the mean colour takes its place.

    Args:
        images: (n, 3, h, w).
        radius: of the neighbourhood, pixels.

    Raises:
        MissingExtraError: OpenCV is missing (extra ``opencv``).
    """
    cv2 = import_extra("cv2", "opencv", "inpainting by Telea's method")
    pixels = (images.detach().cpu() * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    means = images.detach().mean((2, 3)).cpu()

    def filled(rows: Tensor, kept: Tensor) -> Tensor:
        if kept.dtype != torch.bool or kept.ndim != 3:
            raise InputError(
                f"inpainting takes holes with hard edges, bool (m, h, w); got {kept.dtype} {tuple(kept.shape)}. Use "
                f"the filling blur or mean for soft masks and for single channels"
            )
        made = torch.empty(len(rows), *images.shape[1:])
        for place, (row, shown) in enumerate(zip(rows.tolist(), kept.cpu().numpy(), strict=True)):
            if not shown.any():
                made[place] = means[row][:, None, None]
                continue
            painted = cv2.inpaint(pixels[row], (~shown).astype(np.uint8), radius, cv2.INPAINT_TELEA)
            made[place] = torch.from_numpy(painted).permute(2, 0, 1) / 255
        made = made.to(images)
        return torch.where(_with_channels(kept, images), images[rows.to(images.device)], made)

    return filled


def _with_channels(kept: Tensor, images: Tensor) -> Tensor:
    """(m, h, w) → (m, 1, h, w), on the device of the images; refuse another size."""
    if kept.shape[-2:] != images.shape[-2:] or kept.ndim not in (3, 4):
        raise InputError(f"masks for {tuple(images.shape)} are (m, h, w) or (m, 3, h, w); got {tuple(kept.shape)}")
    return (kept[:, None] if kept.ndim == 3 else kept).to(images.device)


def _blurring(length: int, deviation: float) -> Tensor:
    """Matrix (length, length) of a Gaussian blur along one axis: its rows sum to 1, edges are mirrored (float64)."""
    reach = min(int(4 * deviation + 0.5), 4 * length)
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / deviation) ** 2)
    weights /= weights.sum()
    places = torch.arange(length)[:, None] + offsets.long()[None]
    period = 2 * length
    places = places.remainder(period)
    places = torch.where(places >= length, period - 1 - places, places)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    return matrix.scatter_add(1, places, weights.expand(length, -1))
