"""The black corners of a picture taken through a round eyepiece: a dermatoscope, an endoscope."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.randomness import Randomness


def black_corner(images: Tensor, rng: Randomness, *, radius: float) -> Tensor:
    """Blacken what lies outside the circle round the centre: (n, 3, h, w) in [0, 1] → the same.

    MedMNIST-C (Di Salvo et al. 2024, arXiv 2406.17536). A pixel stays if its distance to (h // 2, w // 2) is at most
    ``int(radius · half)``, with the distance ``half`` from there to the nearest side: the filled circle of OpenCV that
    the authors draw. From about 1.42 on, a square image is left as it is.

    Args:
        images: (n, 3, h, w) in [0, 1].
        rng: not used: the circle is the same in every image.
        radius: of the circle, in half sides.

    >>> black_corner(torch.ones(1, 3, 5, 5), Randomness(0).bind(1), radius=1.0)[0, 0].int()
    tensor([[0, 0, 1, 0, 0],
            [0, 1, 1, 1, 0],
            [1, 1, 1, 1, 1],
            [0, 1, 1, 1, 0],
            [0, 0, 1, 0, 0]], dtype=torch.int32)
    """
    height, width = images.shape[2:]
    row, column = height // 2, width // 2
    reach = int(radius * min(row, column, height - row, width - column))
    rows = torch.arange(height, device=images.device)[:, None] - row
    columns = torch.arange(width, device=images.device)[None] - column
    return images * (rows**2 + columns**2 <= reach**2)
