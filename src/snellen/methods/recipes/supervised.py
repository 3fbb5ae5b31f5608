"""Supervised training: cross-entropy on the labels, what every other recipe is compared with."""

from __future__ import annotations

from typing import ClassVar

from snellen.training.fitting.recipe import ClassifierRecipe


class Supervised(ClassifierRecipe):
    """Train on labels as they are: one by cross-entropy, several by binary cross-entropy.

    >>> Supervised(architecture="fashion_cnn", side=28, flips=True).title()
    'supervised'
    """

    name: ClassVar[str] = "supervised"
