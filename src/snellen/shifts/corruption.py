"""Common corruptions at a continuous severity.

Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR 2019,
arXiv 1903.12261, section 4 and appendix B.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from snellen.corruption.blur import gaussian_blur
from snellen.corruption.colour import brightness, contrast
from snellen.corruption.digital import pixelate
from snellen.corruption.noise import gaussian_noise, same_in_grey
from snellen.corruption.tables import Strength, strength
from snellen.method import Method
from snellen.randomness import Randomness

#: Corruptions without randomness.
OPERATORS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "gaussian_blur": gaussian_blur,
    "brightness": brightness,
    "contrast": contrast,
    "pixelate": pixelate,
}

Kind = Literal["gaussian_noise", "gaussian_blur", "brightness", "contrast", "pixelate"]


class Corruption(Method):
    """One kind of corruption.

    >>> import torch
    >>> images = torch.rand(2, 3, 32, 32)
    >>> blur = Corruption(kind="gaussian_blur")
    >>> torch.equal(blur.shift(images, 0.0), images), torch.equal(blur.shift(images, 2.5), images)
    (True, False)
    """

    name: ClassVar[str] = "corruption"
    finds: ClassVar[tuple[str, ...]] = ("corruption",)

    kind: Kind = Field("gaussian_noise", description="what is done to the images")

    parity: bool = Field(
        False, description="noise as published: drawn for each channel, so that it colours grey images too"
    )

    def shift(self, images: Tensor, severity: float, *, rng: Randomness | None = None) -> Tensor:
        """Corrupt prepared images (n, 3, h, w) in [0, 1]; severity in [0, 5], 0 returns the images unchanged.

        An example's noise is the same draw at every severity, scaled: a curve over severities compares strengths, not
        draws. A grey image (three equal channels) stays grey; ``parity=True`` gives the published noise, which does
        not.
        """
        amount = self.strength(severity, images).value
        if severity == 0:
            return images
        if self.kind == "gaussian_noise":
            draws = (rng or Randomness(0)).bind(len(images)).normal("gaussian_noise", images.shape[1:], like=images)
            return gaussian_noise(images, amount, draws if self.parity else same_in_grey(draws, images))
        return OPERATORS[self.kind](images, amount)

    def strength(self, severity: float, images: Tensor) -> Strength:
        """The operator's parameter at this severity for images of this size, and whether it is a published one."""
        return strength(self.kind, severity, images.shape[2], images.shape[3])
