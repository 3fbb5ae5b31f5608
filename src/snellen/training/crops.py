"""Random resized crops of a batch, with the boxes that were cut.

Szegedy et al., "Going deeper with convolutions", CVPR 2015, arXiv 1409.4842, section 6, as torchvision's
``RandomResizedCrop`` draws them, but of continuous edges and for a whole batch at once. Who needs to know what a crop
shows (targets of its own, masks) gets the boxes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.training.transforms import BatchTransform

#: Boxes that are tried before the largest central one is taken, as in torchvision.
_TRIES = 10


def draw_boxes(
    rng: Randomness,
    *,
    smallest: float,
    ratios: tuple[float, float] = (3 / 4, 4 / 3),
    aspects: Tensor | None = None,
) -> Tensor:
    """Draw a box for each example that ``rng`` is bound to.

    The share of the image's area is uniform in [smallest, 1], the logarithm of width over height uniform between those
    of ``ratios``, both in the pixels of the original; a box that does not fit is drawn anew, ten times at most.

    Args:
        rng: bound to n examples.
        smallest: least share of the area, in (0, 1].
        ratios: least and largest width over height.
        aspects: width over height of the original images, (n,), where frames were squeezed; 1 by default.

    Returns:
        (n, 4): left, top, right, bottom as shares of width and height, in [0, 1].

    Raises:
        InputError: a share or ratios out of range.
    """
    if not 0 < smallest <= 1 or not 0 < ratios[0] <= ratios[1]:
        raise InputError(f"a crop takes a share in (0, 1] and ratios 0 < least ≤ largest; got {smallest}, {ratios}")
    drawn = rng.uniform("crop", (_TRIES, 4))
    area = smallest + (1 - smallest) * drawn[..., 0]
    ratio = (math.log(ratios[0]) + math.log(ratios[1] / ratios[0]) * drawn[..., 1]).exp()
    aspect = torch.ones(len(drawn)) if aspects is None else aspects.float().cpu()
    width, height = (area * ratio / aspect[:, None]).sqrt(), (area / ratio * aspect[:, None]).sqrt()
    fits = (width <= 1) & (height <= 1)
    first, row = fits.int().argmax(1), torch.arange(len(drawn))
    largest = aspect.clamp(*ratios) / aspect  # of the central box, relative to the image's own shape
    w = torch.where(fits.any(1), width[row, first], largest.clamp(max=1))
    h = torch.where(fits.any(1), height[row, first], (1 / largest).clamp(max=1))
    central = torch.where(fits.any(1)[:, None], drawn[row, first, 2:], torch.tensor(0.5))
    left, top = (1 - w) * central[:, 0], (1 - h) * central[:, 1]
    return torch.stack([left, top, left + w, top + h], 1).clamp(0, 1)


def cut_boxes(images: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Cut a box out of each image and scale it to side × side pixels.

    Bilinear samples at half-pixel centres; where a frame is larger than the result, several samples are averaged for
    each pixel, so that fine patterns do not alias.

    Args:
        images: (n, c, h, w).
        boxes: (n, 4): left, top, right, bottom in [0, 1].
        side: of the result, pixels.

    Returns:
        (n, c, side, side).

    >>> image = torch.arange(16.0).view(1, 1, 4, 4)
    >>> cut_boxes(image, torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 2).flatten().tolist()
    [2.5, 4.5, 10.5, 12.5]
    """
    dense = max(1, math.ceil(max(images.shape[2:]) / side))
    at = (torch.arange(side * dense, device=images.device, dtype=images.dtype) + 0.5) / (side * dense)
    left, top, right, bottom = boxes.to(images).unbind(1)
    x = left[:, None] + (right - left)[:, None] * at
    y = top[:, None] + (bottom - top)[:, None] * at
    shape = (len(images), len(at), len(at))
    grid = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], 3) * 2 - 1
    samples = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return F.avg_pool2d(samples, dense) if dense > 1 else samples


def random_resized_crops(smallest: float = 0.08) -> BatchTransform:
    """Cut a random box of every image and scale it back to the size of the image, which must be square.

    >>> rng = Randomness(0).for_examples(["a"])
    >>> random_resized_crops(0.5)(torch.ones(1, 3, 8, 8), torch.zeros(1), rng)[0].shape
    torch.Size([1, 3, 8, 8])
    """

    def crop(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        if images.shape[2] != images.shape[3]:
            raise InputError(f"random crops need square images, got {images.shape[3]} × {images.shape[2]} pixels")
        return cut_boxes(images, draw_boxes(rng, smallest=smallest), images.shape[2]), targets

    return crop
