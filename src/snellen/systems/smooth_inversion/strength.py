"""How long a change may be: chosen from the model, so that ordinary classes are hardly reached.

One length does not fit all models. Where it is too short, not even a planted class is reached; where it is too long,
every class is, and none stands out. So the length is the one at which the *middle* class is reached from a small share
of the other images. The search for it begins at a multiple of the model's adversarial radius on these images, and never
goes beyond a share of the longest change that images of this size and these channels allow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.randomness import Randomness
from snellen.methods.attacks.calibrated_strength import calibrate
from snellen.methods.attacks.fab import FAB

#: Images whose adversarial radius is measured.
_RADII = 16

#: First length that is tried, in adversarial radii: changes that carry over are several times as long as those that do
#: not.
_TIMES = 5.0

#: Longest change, as a share of that from a black image to a white one.
_LONGEST = 0.125

#: Lengths that are tried at most.
MOST_LENGTHS = 6

#: How far the middle class may lie from the share that is wanted.
_TOLERANCE = 0.04


@dataclass(frozen=True)
class Strength:
    """The length of a search.

    Attributes:
        epsilon: largest l2 length of the change, over all pixels and channels in [0, 1].
        radius: median l2 length of the least change that alters a decision; None where it was not measured or found.
        reached: share of other images that changes towards the middle class send there; None where it was given.
    """

    epsilon: float
    radius: float | None = None
    reached: float | None = None


def longest_change(height: int, width: int) -> float:
    """Largest length that is tried on images of a size, all three channels counted.

    >>> round(longest_change(32, 32), 2), round(longest_change(224, 224), 1)
    (6.93, 48.5)
    """
    return float(_LONGEST * (3 * height * width) ** 0.5)


def adversarial_radius(classifier: Classifier, images: Tensor, *, rng: Randomness) -> float | None:
    """Median l2 length of the least changes that alter decisions on the first images (n, 3, h, w); None: none found."""
    shown = images[:_RADII]
    with torch.inference_mode():
        decided = classifier.predict(classifier(shown)).clone()
    found = FAB(norm="l2", steps=10, target_classes=3).attack(classifier, shown, decided, rng=rng)
    lengths = found.distance[found.success & (found.distance > 0)]
    return float(lengths.median()) if len(lengths) else None


def choose_strength(
    classifier: Classifier,
    images: Tensor,
    reached_at: Callable[[float], float],
    *,
    wanted: float,
    rng: Randomness,
) -> Strength:
    """The length at which the middle class is reached from a wanted share of the other images.

    Args:
        classifier: with gradients.
        images: (n, 3, h, w) in [0, 1].
        reached_at: length → share of other images that changes of that length send to the middle class.
        wanted: share in (0, 1).
        rng: of the radius.
    """
    most, radius = longest_change(*images.shape[2:]), adversarial_radius(classifier, images, rng=rng)
    start = most / 4 if radius is None else min(max(_TIMES * radius, most / 64), most)
    found = calibrate(reached_at, wanted=wanted, start=start, tolerance=_TOLERANCE, most=MOST_LENGTHS, ceiling=most)
    return Strength(found.epsilon, radius, found.success)
