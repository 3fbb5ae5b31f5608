"""The shots: K real images of each class, nested in K, of the split that may be trained on; and what prompts call them.

Adaptation of the generator, of the classifier, and the count of copies all take the shots from here, so that they see
the same ones. The one shot of K = 1 is among the two of K = 2, and so on.
"""

from __future__ import annotations

import warnings

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.data.class_balance import first_of_each, rows_by_class, synthetic
from snellen.methods.synthesis.manifest_rows import BLANK, Source


class FewerShotsWarning(UserWarning):
    """A class has fewer images than shots were wanted, or some that cannot be read: all others are taken."""


def domain_template(domain: str = "") -> str:
    """The published prompt, which names the domain of the data set.

    Published: aircraft, car, satellite, food, texture, pet, flower, scene; none for ImageNet and Caltech101.

    >>> domain_template("texture"), domain_template()
    ('a texture photo of a {}', 'a photo of a {}')
    """
    return f"a {domain} photo of a {BLANK}" if domain else f"a photo of a {BLANK}"


def few_shots(images: ImageSet, count: int, seed: int = 0) -> Source:
    """The first ``count`` training images of each class, in an order that their ids and the seed decide.

    Args:
        images: real, with one label each; of images with splits, those of ``train`` alone are taken.
        count: K. A class with fewer gives all that it has, with a warning.
        seed: of the order: another one draws other shots.

    Returns:
        Classes and shots, in turns over the classes.

    Raises:
        InputError: a count below 1, no labels or class names, no training images, a class without any, or generated
            images among them.
    """
    source = Source.of_images(images)
    assert source.images is not None
    made = int(synthetic(source.images).sum())
    if made:
        raise InputError(f"shots are real images, and {made} of {images.name} were generated or edited")
    rows = rows_by_class(source.images)
    empty = next((name for name, found in rows.items() if not found), None)
    if empty is not None:
        raise InputError(f"{images.name} has no training image of class {empty!r}: there is nothing to adapt to")
    fewer = {name: len(found) for name, found in rows.items() if len(found) < count}
    if fewer:
        name, least = min(fewer.items(), key=lambda one: one[1])
        warnings.warn(
            f"{len(fewer)} classes have fewer than {count} training images, {name!r} has {least}: all are taken",
            FewerShotsWarning,
            stacklevel=2,
        )
    return Source(source.classes, first_of_each(source.images, count, seed=seed, allow_fewer=True))
