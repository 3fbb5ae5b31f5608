"""Views of a batch as from aside: corners of images are moved inwards, as in torchvision's ``RandomPerspective``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.training.transforms import BatchTransform

#: Corners of an image, from −1 to 1: top left, top right, bottom right, bottom left.
_CORNERS = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def random_perspectives(distortion: float, *, share: float = 0.5) -> BatchTransform:
    """Move the corners of a share of the images inwards, by up to ``distortion`` of half the height and width.

    What comes in from outside is black.

    >>> seen, _ = random_perspectives(0.2, share=1.0)(torch.ones(1, 3, 8, 8), torch.zeros(1), Randomness(0).bind(1))
    >>> 0 < float(seen.mean()) < 1
    True

    Raises:
        InputError: a value out of range.
    """
    if not 0 <= distortion < 1 or not 0 <= share <= 1:
        raise InputError(f"a perspective takes a distortion in [0, 1) and a share in [0, 1]; got {distortion}, {share}")

    def look(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        drawn = rng.uniform("perspective", (9,), like=images)
        chosen = (drawn[:, 8] < share).float()[:, None, None]
        corners = _CORNERS.to(images)
        moved = corners * (1 - distortion * drawn[:, :8].unflatten(1, (4, 2)) * chosen)
        seen = warp(images, moved)
        return torch.where(chosen[..., None] > 0, seen, images), targets

    return look


def warp(images: Tensor, corners: Tensor) -> Tensor:
    """Put the corners of images (n, c, h, w) to ``corners`` (n, 4, 2): x and y from −1 to 1; black outside.

    >>> image = torch.arange(16.0).view(1, 1, 4, 4)
    >>> torch.allclose(warp(image, _CORNERS[None]), image, atol=1e-4)
    True
    """
    count, _, height, width = images.shape
    homography = _homographies(corners.double(), _CORNERS.to(corners.device).double())
    x = (torch.arange(width, device=images.device).double() + 0.5) / width * 2 - 1
    y = (torch.arange(height, device=images.device).double() + 0.5) / height * 2 - 1
    at = torch.stack([x.expand(height, width), y[:, None].expand(height, width), torch.ones(height, width).to(x)], -1)
    found = at.view(1, -1, 3) @ homography.transpose(1, 2)
    grid = (found[..., :2] / found[..., 2:]).view(count, height, width, 2)
    return F.grid_sample(images, grid.to(images.dtype), mode="bilinear", padding_mode="zeros", align_corners=False)


def _homographies(sources: Tensor, aims: Tensor) -> Tensor:
    """Matrices (n, 3, 3) that send four points (n, 4, 2) to four others (4, 2), in homogeneous coordinates."""
    count = len(sources)
    x, y = sources.unbind(2)
    u, v = aims.expand(count, 4, 2).unbind(2)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    across = torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], 2)
    down = torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], 2)
    solved = torch.linalg.solve(torch.cat([across, down], 1), torch.cat([u, v], 1))
    return torch.cat([solved, torch.ones(count, 1).to(solved)], 1).view(count, 3, 3)
