"""What every trigger is: parameters, and a pure function that stamps images with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness


@dataclass(frozen=True, eq=False)
class Stamped:
    """Images with a trigger.

    Attributes:
        images: (n, 3, h, w), of the type of the images that were given.
        region: where the trigger acts, bool (n, h, w). Outside of it no pixel differs; inside, some may happen not to.
    """

    images: Tensor
    region: Tensor


class Trigger(BaseModel, ABC):
    """A pattern, or a change, that a backdoor answers to.

    The same trigger does the same to an image wherever and whenever it is stamped: in training data, in a test set to
    measure its success, alone or in a batch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @property
    def differs_by_chance(self) -> bool:
        """Whether the trigger draws something for each image, so that equal images may be stamped differently."""
        return False

    def stamp(self, images: Tensor, *, rng: Randomness | None = None) -> Stamped:
        """Stamp images.

        Args:
            images: (n, 3, h, w), uint8, or floating point in [0, 1]. They stay as they are.
            rng: randomness, bound to the ids of the images; only triggers that differ between images by chance need it.
                Without it the positions in the batch stand in for the ids, under the seed 0.

        Raises:
            InputError: another shape or type, or values outside [0, 1].
        """
        if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
            raise InputError(f"a trigger is stamped on images (n, 3, h, w), got {tuple(images.shape)}")
        draws = (rng or Randomness(0)).bind(len(images))
        if images.dtype == torch.uint8:
            # In float64 a byte comes back as itself, and rounding does not depend on how an operation was vectorised.
            changed, region = self._stamp(images.double() / 255, draws)
            return Stamped((changed.clamp(0, 1) * 255).round().to(torch.uint8), region)
        if not images.is_floating_point():
            raise InputError(f"a trigger is stamped on uint8 or floating-point images, got {images.dtype}")
        if len(images) and not bool(((images >= 0) & (images <= 1)).all()):  # written so that NaN fails too
            low, high = images.aminmax()
            raise InputError(f"floating-point images must lie in [0, 1], got {low:g} to {high:g}; divide bytes by 255")
        changed, region = self._stamp(images.double(), draws)
        return Stamped(changed.clamp(0, 1).to(images.dtype), region)

    @abstractmethod
    def _stamp(self, images: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        """Stamp float64 images (n, 3, h, w) in [0, 1]; returns them and the region, bool (n, h, w)."""


def everywhere(images: Tensor) -> Tensor:
    """The region of a trigger that acts on whole images: bool (n, h, w), all true."""
    return torch.ones(len(images), *images.shape[2:], dtype=torch.bool, device=images.device)
