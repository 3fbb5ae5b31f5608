"""AutoMix: a classifier and a generator of blends that learns to make them easy to recognise.

Liu, Li, Wu, Liu, Chen, Wu and Li, "AutoMix: Unveiling the power of mixup for stronger classifiers", ECCV 2022, arXiv
2103.13027. Here as the baseline of Adversarial AutoMixup: the same generator and the same step, always cooperative.
AutoMix has a mask for one image of two and its complement for the other, which is left out, and a loss that pulls the
area of a mask towards the share of the label.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from snellen.systems.adversarial_mixup.adversarial_mixing import MixSettings
from snellen.systems.adversarial_mixup.blend_recipe import BlendRecipe


class AutoMix(BlendRecipe):
    """Train on blends whose masks are learnt so that a teacher recognises their parts.

    >>> AutoMix().title()
    'automix'
    """

    name: ClassVar[str] = "automix"

    area_weight: float = Field(0.1, ge=0, description="weight of the loss that pulls the area of a mask to its share")

    def mixing(self) -> MixSettings:
        """The numbers of the method: no adversarial step."""
        return super().mixing().model_copy(update={"adversarial": False, "beta": 0.0})
