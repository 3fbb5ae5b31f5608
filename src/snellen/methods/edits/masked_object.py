"""From a mask to the one object that is edited, and why some masks name none.

The rules: values above the threshold are the object (a mask is never blurred); of several parts, which touch neither
at sides nor at corners, the largest is the object, or all of them together are; holes are background and stay holes.
What the mask shows beside the largest part is taken out of the background with it, so that no second object is left.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import InputError, RejectedImageError

#: Which parts of a mask are the object.
Parts = Literal["largest", "all"]

#: An object of fewer pixels says nothing of size or direction.
LEAST_PIXELS = 9


def binarised(mask: Tensor, threshold: float = 0.5) -> Tensor:
    """A mask as bool: bytes are shares of 255.

    >>> binarised(torch.tensor([[0, 127, 128, 255]], dtype=torch.uint8)).tolist()
    [[False, False, True, True]]

    Args:
        mask: (..., h, w), bool, uint8 or float in [0, 1].
        threshold: values above it are the object, in [0, 1).

    Raises:
        InputError: another type.
    """
    if mask.dtype == torch.bool:
        return mask
    if mask.dtype == torch.uint8:
        return mask.double() / 255 > threshold
    if not mask.is_floating_point():
        raise InputError(f"a mask is bool, uint8 or float in [0, 1]; got {mask.dtype}")
    return mask > threshold


def largest_part(mask: Tensor) -> Tensor:
    """The largest part of a mask whose pixels touch at sides or corners; of equal ones, the first from the top.

    >>> largest_part(torch.tensor([[True, False, True], [False, False, True]])).tolist()
    [[False, False, True], [False, False, True]]

    Args:
        mask: bool (h, w), not empty.
    """
    labels = _labels(mask.cpu().numpy())
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return torch.from_numpy(labels == int(sizes.argmax())).to(mask.device)


def object_of(mask: Tensor, parts: Parts = "largest") -> Tensor:
    """The object that is edited, bool (h, w).

    Args:
        mask: bool (h, w).
        parts: which parts of it are the object.

    Raises:
        RejectedImageError: an empty mask, one of very few pixels, one that is all of the image, or one that touches
            all four borders; the message says which.
        InputError: no bool (h, w).
    """
    if mask.dtype != torch.bool or mask.ndim != 2:
        raise InputError(f"the mask of one object is bool (h, w); got {mask.dtype} {tuple(mask.shape)}")
    count = int(mask.sum())
    if not count:
        raise RejectedImageError("its mask is empty: nobody knows where the object is")
    if count == mask.numel():
        raise RejectedImageError("its mask is all of the image: there is no background to edit")
    found = largest_part(mask) if parts == "largest" else mask
    if int(found.sum()) < LEAST_PIXELS:
        raise RejectedImageError(f"its object has {int(found.sum())} pixels, and at least {LEAST_PIXELS} are needed")
    if bool(found[0].any() and found[-1].any() and found[:, 0].any() and found[:, -1].any()):
        raise RejectedImageError("its object touches all four borders: the image shows a part of it at most")
    return found


def widened(mask: Tensor, pixels: int) -> Tensor:
    """A mask and what lies within some pixels of it, in a square: bool (..., h, w)."""
    if pixels < 1:
        return mask
    wide = torch.nn.functional.max_pool2d(mask.float().reshape(-1, 1, *mask.shape[-2:]), 2 * pixels + 1, 1, pixels)
    return wide.bool().reshape(mask.shape)


def _labels(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """A number for each part, from 1; 0 outside: runs of rows that are joined where those of two rows touch."""
    parents = [0]

    def root(label: int) -> int:
        while parents[label] != label:
            parents[label] = parents[parents[label]]
            label = parents[label]
        return label

    labels = np.zeros(mask.shape, dtype=np.int64)
    before: list[tuple[int, int, int]] = []
    for number, row in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(np.int8)))
        runs: list[tuple[int, int, int]] = []
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            label = len(parents)
            parents.append(label)
            for other, first, last in before:
                if first <= end and start <= last:  # ends are exclusive, so corners count as touching
                    one, two = sorted((root(label), root(other)))
                    parents[two] = one
            runs.append((label, start, end))
            labels[number, start:end] = label
        before = runs
    roots = np.array([root(label) for label in range(len(parents))])
    found: NDArray[np.int64] = roots[labels]
    return found
