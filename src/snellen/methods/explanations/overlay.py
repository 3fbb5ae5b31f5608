"""Evidence maps as pictures: over the image in two colours, regions cut out of it, and the place that is meant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

#: Viridis at 0, ⅛, …, 1 (van der Walt and Smith 2015): lightness rises evenly, so that all kinds of colour vision, and
#: a black and white print, see the same order; nothing in it is grey, as what is no tile is.
SCALE = np.array(
    [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ],
    dtype=np.float64,
)


def scale_colours(values: ArrayLike) -> NDArray[np.uint8]:
    """Colours of values in [0, 1]: (…) → uint8 (…, 3), linear between those of :data:`SCALE`.

    >>> scale_colours([0.0, 1.0]).tolist()
    [[68, 1, 84], [253, 231, 37]]
    """
    places = np.clip(np.asarray(values, dtype=np.float64), 0, 1)
    stops = np.linspace(0, 1, len(SCALE))
    return np.stack([np.interp(places, stops, channel) for channel in SCALE.T], axis=-1).round().astype(np.uint8)


#: Colours of evidence for and against, RGB in [0, 1]: orange and blue of Okabe and Ito (2008), which all kinds of
#: colour vision distinguish.
FOR, AGAINST = (0.90, 0.38, 0.0), (0.0, 0.35, 0.70)

#: How much of the image's own light is left where there is no evidence; outside of a region that is cut out.
FADED, OUTSIDE = 0.75, 0.2


def overlay(image: Tensor, evidence: Tensor) -> Tensor:
    """Evidence over a faded grey copy of the image: orange speaks for the class, blue against it.

    The strongest evidence, of either sign, is full colour; a map without any leaves the grey copy.

    >>> picture = overlay(torch.ones(3, 1, 2), torch.tensor([[0.0, 2.0]]))
    >>> picture[:, 0, 1].tolist() == [torch.tensor(part).item() for part in FOR]
    True

    Args:
        image: float (3, h, w) in [0, 1].
        evidence: float (h, w), signed; NaN counts as none.

    Returns:
        float (3, h, w) in [0, 1].
    """
    grey = (image * torch.tensor([0.299, 0.587, 0.114], device=image.device)[:, None, None]).sum(0)
    faded = (1 - FADED * (1 - grey)).expand(3, -1, -1) * torch.ones_like(image)
    known = evidence.nan_to_num(0.0, 0.0, 0.0).to(image)
    largest = known.abs().max()
    if not float(largest):
        return faded
    strength = known / largest
    for colour, share in ((FOR, strength.clamp(min=0)), (AGAINST, (-strength).clamp(min=0))):
        faded = faded + share * (torch.tensor(colour).to(image)[:, None, None] - faded)
    return faded.clamp(0, 1)


def cut_out(image: Tensor, region: Tensor) -> Tensor:
    """The image with what lies outside of a region darkened: float (3, h, w), bool (h, w) → (3, h, w)."""
    return torch.where(region.to(image.device), image, image * OUTSIDE)


def pointed(picture: Tensor, point: Sequence[float] | None) -> Tensor:
    """The picture with a small cross, white on black, around a place (x, y); unchanged without one, or with NaN.

    >>> int((pointed(torch.full((3, 9, 9), 0.5), (4.0, 4.0)) != 0.5).any(0).sum()) > 8
    True
    """
    if point is None or any(value != value for value in point):
        return picture
    x, y = (round(value) for value in point)
    height, width = picture.shape[1:]
    arm = max(2, round(min(height, width) / 28))
    marked = picture.clone()
    for half, colour in ((max(1, arm // 3), 0.0), (max(0, arm // 3 - 1), 1.0)):
        across = slice(max(x - arm, 0), x + arm + 1)
        down = slice(max(y - arm, 0), y + arm + 1)
        marked[:, max(y - half, 0) : y + half + 1, across] = colour
        marked[:, down, max(x - half, 0) : x + half + 1] = colour
    return marked
