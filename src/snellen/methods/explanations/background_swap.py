"""The same object before another background, made of images whose objects are known.

Xiao, Engstrom, Ilyas and Madry, "Noise or Signal: The Role of Image Backgrounds in Object Recognition", ICLR 2021,
arXiv 2006.09994: decisions before backgrounds of other images beside decisions before fitting ones. Here the control is
the image's *own* background, put together in the same way: what a seam, a filled hole and a moved background do by
themselves is in both.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Least and largest share of an image that an object may take to be put before other backgrounds.
LEAST_SHARE, MOST_SHARE = 0.01, 0.95


def shows_object(mask: Tensor) -> bool:
    """Whether a mask, bool (h, w), holds an object with something around it."""
    return LEAST_SHARE <= float(mask.double().mean()) <= MOST_SHARE


def without_object(image: Tensor, mask: Tensor) -> Tensor:
    """The background alone: the object's pixels are taken from the same image, moved by halves, thirds and quarters.

    What no such step uncovers gets the mean colour of the background; an image that is all object stays as it is.

    >>> image = torch.tensor([[[0.0, 1.0, 0.25, 0.5]]]).expand(3, 1, 4)
    >>> without_object(image, torch.tensor([[False, True, False, False]]))[0].tolist()
    [[0.0, 0.5, 0.25, 0.5]]

    Args:
        image: (3, h, w).
        mask: bool (h, w), the object.
    """
    if bool(mask.all()):
        return image
    height, width = mask.shape
    filled, hole = image.clone(), mask.clone()
    for share in (2, 3, 4, -3, -4):
        for down, right in ((0, width // share), (height // share, 0), (height // share, width // share)):
            if not bool(hole.any()):
                return filled
            usable = hole & ~torch.roll(mask, (down, right), (0, 1))
            filled = torch.where(usable, torch.roll(image, (down, right), (1, 2)), filled)
            hole = hole & ~usable
    mean = image[:, ~mask].mean(1)[:, None, None]
    return torch.where(hole, mean, filled)


def before_backgrounds(images: Tensor, masks: Tensor, backgrounds: Tensor, steps: Tensor) -> Tensor:
    """Objects before backgrounds that are pushed around the edges.

    Args:
        images: (n, 3, h, w), with the objects.
        masks: bool (n, h, w).
        backgrounds: (n, 3, h, w), of :func:`without_object`.
        steps: int64 (n, 2), pixels down and to the right, below h and w.
    """
    rolled = [
        torch.roll(one, (down, right), (1, 2)) for one, (down, right) in zip(backgrounds, steps.tolist(), strict=True)
    ]
    return torch.where(masks[:, None], images, torch.stack(rolled)) if rolled else images
