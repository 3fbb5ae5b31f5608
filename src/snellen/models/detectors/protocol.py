"""What a detector must offer, and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from snellen.core.errors import InputError


@dataclass(frozen=True, eq=False)
class Detected:
    """Boxes of one phrase in one image, the surest first; none where it was not found.

    >>> found = Detected(boxes=torch.tensor([[1.0, 0.0, 3.0, 1.0]]), scores=torch.tensor([0.9]))
    >>> found.region(2, 4).int().tolist()
    [[0, 1, 1, 0], [0, 0, 0, 0]]

    Attributes:
        boxes: float32 (m, 4), edges (x0, y0, x1, y1) in pixels of the image: (0, 0, w, h) is all of it.
        scores: float32 (m,) in [0, 1].
    """

    boxes: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def region(self, height: int, width: int) -> Tensor:
        """Pixels whose centre lies in any of the boxes: bool (height, width)."""
        x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
        left, top, right, bottom = (edge[:, None] for edge in self.boxes.cpu().unbind(1))
        across, down = (left <= x) & (x < right), (top <= y) & (y < bottom)
        return (down[:, :, None] & across[:, None, :]).any(0)


class Detector(Protocol):
    """Images and phrases → boxes. Frozen, without gradients; an image's boxes do not depend on the others."""

    @property
    def name(self) -> str:
        """Shown in reports and messages."""

    def identity(self) -> str:
        """Hash of the weights (sha256)."""

    def detect(self, images: Sequence[Tensor], phrases: Sequence[str], *, threshold: float = 0.3) -> list[Detected]:
        """Find one phrase in each image.

        Args:
            images: n images, float (3, h, w) in [0, 1], of any sizes.
            phrases: n phrases in plain words: "a wooden chair".
            threshold: least score of a box, in [0, 1].

        Raises:
            InputError: images or phrases that cannot be used, or another number of them.
        """


def check_requests(images: Sequence[Tensor], phrases: Sequence[str], threshold: float, *, name: str) -> None:
    """Refuse what no detector can look for.

    Raises:
        InputError: see :meth:`Detector.detect`.
    """
    if len(images) != len(phrases):
        raise InputError(f"{name} looks for one phrase in each image; got {len(images)} images, {len(phrases)} phrases")
    for image in images:
        if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point() or not image.numel():
            raise InputError(f"{name} takes images as float (3, h, w); got {image.dtype} {tuple(image.shape)}")
        if not bool(((image >= 0) & (image <= 1)).all()):
            raise InputError(f"{name} takes images in [0, 1]; got values outside of it, or NaN. Divide bytes by 255")
    empty = [place for place, phrase in enumerate(phrases) if not phrase.strip(" .")]
    if empty:
        raise InputError(f"{name}: phrase {empty[0]} is empty; name what is to be found")
    if not 0 <= threshold <= 1:
        raise InputError(f"{name}: the least score of a box lies in [0, 1]; got {threshold}")
