"""Adversarial AutoMixup: a classifier and a generator of blends that learns to make them hard for it.

Qin, Jin, Jiang, El-Yacoubi and Gao, "Adversarial AutoMixup", ICLR 2024, arXiv 2312.11954. See
:mod:`snellen.systems.adversarial_mixup.adversarial_mixing` for the step and
:mod:`snellen.systems.adversarial_mixup.mask_generator` for the generator.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from snellen.systems.adversarial_mixup.blend_recipe import BlendRecipe


class AdversarialMixup(BlendRecipe):
    """Train on blends whose masks are learnt: hard for the classifier on one step, easy on the next.

    A step costs about three of a plain training with two parts, four with more.

    >>> AdversarialMixup().title()
    'adversarial-mixup'
    """

    name: ClassVar[str] = "adversarial_mixup"
    treats: ClassVar[tuple[str, ...]] = ("calibration",)

    parts: int = Field(3, ge=2, le=8, description="images in a blend; published: 3 for CIFAR, 2 for ImageNet")
    beta: float = Field(
        0.3, ge=0, le=1, description="weight of hardness against likeness; published: 0.3 CIFAR-100, 0.1 ImageNet"
    )
    cosine_sign: Literal["official", "intent"] = Field(
        "official",
        description="official: blends are driven away from their parts, as the published code does; intent: kept close",
    )
