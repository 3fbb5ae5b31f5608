"""Published strengths as anchor points of a continuous severity.

Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR 2019,
arXiv 1903.12261: five severities for 224-pixel photos (ImageNet-C) and for 32-pixel ones (CIFAR-10-C). Severity 0 is
the identity; between anchors the parameter is interpolated linearly. Parameters measured in pixels are scaled to other
image sizes, which is then no longer the published setting.
"""

from __future__ import annotations

from dataclasses import dataclass

from snellen.errors import InputError, unknown_name


@dataclass(frozen=True)
class Table:
    """Parameter of one corruption at severities 0 (identity) to 5, for large and small images.

    ``in_pixels``: the parameter is a length and grows with the image.
    """

    identity: float
    large: tuple[float, float, float, float, float]
    small: tuple[float, float, float, float, float]
    in_pixels: bool = False


@dataclass(frozen=True)
class Strength:
    """A parameter, and whether it is exactly a published one for this image size and severity."""

    value: float
    published: bool


LARGE_SIDE, SMALL_SIDE = 224, 32
#: Images with a shorter side below this use the table for small images.
SMALL_BELOW = 96

TABLES: dict[str, Table] = {
    # standard deviation, [0, 1] units
    "gaussian_noise": Table(0.0, (0.08, 0.12, 0.18, 0.26, 0.38), (0.04, 0.06, 0.08, 0.09, 0.10)),
    # standard deviation, pixels
    "gaussian_blur": Table(0.0, (1.0, 2.0, 3.0, 4.0, 6.0), (0.4, 0.6, 0.7, 0.8, 1.0), in_pixels=True),
    # added to the value channel of HSV
    "brightness": Table(0.0, (0.1, 0.2, 0.3, 0.4, 0.5), (0.05, 0.1, 0.15, 0.2, 0.3)),
    # factor on the distance to the channel mean
    "contrast": Table(1.0, (0.4, 0.3, 0.2, 0.1, 0.05), (0.75, 0.5, 0.4, 0.3, 0.15)),
    # factor on the side
    "pixelate": Table(1.0, (0.6, 0.5, 0.4, 0.3, 0.25), (0.95, 0.9, 0.85, 0.75, 0.65)),
}

MAX_SEVERITY = 5.0


def strength(kind: str, severity: float, height: int, width: int) -> Strength:
    """Parameter of a corruption at a severity in [0, 5], for images of this size.

    >>> strength("gaussian_noise", 3, 224, 224)
    Strength(value=0.18, published=True)
    >>> strength("gaussian_blur", 5, 28, 28)
    Strength(value=0.875, published=False)
    """
    if kind not in TABLES:
        raise unknown_name("corruption", kind, TABLES)
    if not 0 <= severity <= MAX_SEVERITY:
        raise InputError(f"severity of {kind} must lie in [0, {MAX_SEVERITY:g}], got {severity!r}")
    table, side = TABLES[kind], min(height, width)
    published_side, anchors = (SMALL_SIDE, table.small) if side < SMALL_BELOW else (LARGE_SIDE, table.large)
    points = (table.identity, *anchors)
    lower = min(int(severity), len(points) - 2)
    value = points[lower] + (severity - lower) * (points[lower + 1] - points[lower])
    at_anchor = severity == int(severity)
    if at_anchor:
        value = points[int(severity)]  # free of rounding
    if table.in_pixels and severity > 0:
        value *= side / published_side
    return Strength(value, published=at_anchor and (height, width) == (published_side, published_side))
