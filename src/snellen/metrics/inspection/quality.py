"""Named troubles of single images, by rules on their properties.

A rule has two halves. The image must be in trouble by an absolute standard (hardly any pixel is bright), and it must be
odd for its set (far darker than the others): X-rays may be dark, and thumbnails may be blurred, if all are. Only a
constant image is a trouble in any set.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.inspection.outliers import robust_z
from snellen.metrics.inspection.properties import ImageProperties

IssueName = Literal[
    "constant",
    "very dark",
    "very bright",
    "low contrast",
    "blurred",
    "mostly clipped",
    "odd aspect ratio",
    "odd size",
]

#: Robust z from which an image is odd for its set.
ODD = 3.5

#: Fewest images that make a set: below, only constant images can be reported.
SMALLEST_SET = 20

#: Standard deviation of luma below which contrast is low.
LOW_CONTRAST = 0.05

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class QualityIssue:
    """The images of a set that have one trouble.

    Attributes:
        name: which.
        indices: int64 (m,), their positions, the worst first.
        values: float64 (m,), the property that the rule tests.
        threshold: the absolute half of the rule as a bound on the property; for odd aspect ratio and size the factor
            from the median.
        why: the rule and the set's own figures, in words.
    """

    name: IssueName
    indices: NDArray[np.int64]
    values: NDArray[np.float64]
    threshold: float
    why: str


@dataclass(frozen=True)
class _Rule:
    """One property in trouble on one side.

    Attributes:
        property: what is compared with the threshold.
        threshold: the absolute half.
        above: whether trouble lies above it.
        judged: what is compared with the set; symmetric enough for a z.
        smallest_scale: smallest unit of that z: differences far below it are none to the eye.
        words: what the threshold means.
    """

    property: Callable[[ImageProperties], Values]
    threshold: float
    above: bool
    judged: Callable[[ImageProperties], Values]
    smallest_scale: float
    words: str


def _log(values: Values) -> Values:
    return np.log(np.maximum(values, 1e-3))


def _clipped(properties: ImageProperties) -> Values:
    return properties.clipped_black + properties.clipped_white


def _sharpness(properties: ImageProperties) -> Values:
    # Where there is hardly any contrast, sharpness is that of rounding and noise: no trouble can be detected.
    return np.where(properties.contrast < LOW_CONTRAST, math.inf, properties.sharpness)


#: Less than half a grey level of contrast and no colour.
CONSTANT_CONTRAST, CONSTANT_COLOUR = 0.5 / 255, 0.01

_RULES: dict[IssueName, _Rule] = {
    "very dark": _Rule(
        lambda one: one.highlight, 0.3, False, lambda one: one.highlight, 0.02, "99 % of the pixels have luma below"
    ),
    "very bright": _Rule(
        lambda one: one.shadow, 0.7, True, lambda one: one.shadow, 0.02, "99 % of the pixels have luma above"
    ),
    "low contrast": _Rule(
        lambda one: one.contrast,
        LOW_CONTRAST,
        False,
        lambda one: _log(one.contrast),
        0.2,
        "the deviation of luma is below",
    ),
    "blurred": _Rule(_sharpness, 0.35, False, lambda one: _log(one.sharpness), 0.2, "fine over coarse detail is below"),
    "mostly clipped": _Rule(_clipped, 0.5, True, _clipped, 0.05, "the share of black and white pixels is above"),
}

#: An aspect ratio is odd from twice or half the median on, a size (root of the area) from three times or a third.
ODD_ASPECT_FACTOR, ODD_SIZE_FACTOR = 2.0, 3.0


def quality_issues(
    properties: ImageProperties, *, widths: ArrayLike | None = None, heights: ArrayLike | None = None
) -> tuple[QualityIssue, ...]:
    """Find the troubles of a set; constant images have no other trouble of light, contrast or sharpness.

    An image can have several troubles. Issues without an image are left out; the order is that of :data:`IssueName`.
    Sets of fewer than 20 images are only searched for constant images. The result does not depend on the order of the
    images, ties aside.

    >>> import torch
    >>> from snellen.metrics.inspection.properties import image_properties
    >>> noise = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> noise[3], noise[5] = 0.5, 0.05 * noise[5]
    >>> [(issue.name, issue.indices.tolist()) for issue in quality_issues(image_properties(noise))]
    [('constant', [3]), ('very dark', [5]), ('low contrast', [5])]

    Args:
        properties: those of n images.
        widths: (n,) of the original files, pixels; None when all have been resized unseen.
        heights: (n,), likewise; both or neither.

    Raises:
        InputError: widths or heights that do not fit the properties.
    """
    constant = (properties.contrast < CONSTANT_CONTRAST) & (properties.colourfulness < CONSTANT_COLOUR)
    found = [
        _issue(
            "constant", constant, properties.contrast, properties.contrast, CONSTANT_CONTRAST, "the image is constant"
        )
    ]
    rest = ~constant
    if int(rest.sum()) >= SMALLEST_SET:
        found += [_by_rule(name, rule, properties, rest) for name, rule in _RULES.items()]
    sizes = _sizes(widths, heights, len(properties))
    if sizes is not None and len(properties) >= SMALLEST_SET:
        wide, tall = sizes
        found.append(_odd("odd aspect ratio", wide / tall, ODD_ASPECT_FACTOR, "width over height", ""))
        found.append(_odd("odd size", np.sqrt(wide * tall), ODD_SIZE_FACTOR, "the root of the area", " pixels"))
    order = list(get_args(IssueName))
    return tuple(sorted((one for one in found if len(one.indices)), key=lambda one: order.index(one.name)))


def _by_rule(name: IssueName, rule: _Rule, properties: ImageProperties, rest: NDArray[np.bool_]) -> QualityIssue:
    values, judged = rule.property(properties), rule.judged(properties)
    sign = 1 if rule.above else -1
    z = np.zeros(len(values))
    z[rest] = sign * robust_z(judged[rest], smallest_scale=rule.smallest_scale)
    trouble = rest & (sign * values > sign * rule.threshold) & (z >= ODD)
    why = (
        f"{rule.words} {rule.threshold:g}, and that is {ODD:g} robust deviations or more from the rest of the set, "
        f"whose median is {np.median(values[rest]):.3g}"
    )
    return _issue(name, trouble, values, -sign * values, rule.threshold, why)


def _odd(name: IssueName, values: Values, factor: float, what: str, unit: str) -> QualityIssue:
    logarithms = np.log(values)
    step = np.abs(logarithms - np.median(logarithms))
    z = np.abs(robust_z(logarithms, smallest_scale=0.05))
    # Half a last digit of grace: 2 to 1 is a factor of 2 despite rounding of the logarithms.
    trouble = (step >= math.log(factor) - 1e-9) & (z >= ODD)
    why = (
        f"{what} differs from the median of the set, {math.exp(np.median(logarithms)):.3g}{unit}, by a factor of "
        f"{factor:g} or more. It differs by {ODD:g} robust deviations of its logarithm or more"
    )
    return _issue(name, trouble, values, -step, factor, why)


def _issue(
    name: IssueName, trouble: NDArray[np.bool_], values: Values, worst_first: Values, threshold: float, why: str
) -> QualityIssue:
    places = np.flatnonzero(trouble)
    places = places[np.argsort(worst_first[places], kind="stable")]
    return QualityIssue(name, places.astype(np.int64), values[places], threshold, why)


def _sizes(widths: ArrayLike | None, heights: ArrayLike | None, count: int) -> tuple[Values, Values] | None:
    if widths is None and heights is None:
        return None
    if widths is None or heights is None:
        raise InputError("widths and heights of the original images come together; one of them is missing")
    wide, tall = np.asarray(widths, dtype=np.float64), np.asarray(heights, dtype=np.float64)
    for what, values in (("widths", wide), ("heights", tall)):
        # Written so that NaN fails too.
        if values.shape != (count,) or not ((values >= 1) & np.isfinite(values)).all():
            raise InputError(f"{what} must be ({count},) and at least 1 pixel each, got {values.shape}")
    return wide, tall
