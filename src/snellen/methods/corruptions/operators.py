"""Which operators there are, and how their parameters behave between published severities and image sizes.

An operator is a function (images (n, 3, h, w) in [0, 1], randomness bound to them, *, parameters) → images.

Severity 0 is the identity, 1 to 5 are the published settings. Between two anchors every parameter is interpolated
linearly (or its reciprocal, see :class:`snellen.methods.corruptions.operators.Parameter`); below severity 1 from the
value at which the operator does nothing, or, where no parameter has one, by fading in the result of severity 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from snellen.core.errors import InputError
from snellen.methods.corruptions.blur import defocus_blur, gaussian_blur, kernel_blur, motion_blur, zoom_blur
from snellen.methods.corruptions.characters import characters
from snellen.methods.corruptions.colour import (
    add_saturation,
    brightness,
    contrast,
    enhance_brightness,
    enhance_contrast,
    gamma,
    saturate,
    shadow,
)
from snellen.methods.corruptions.digital import jpeg_compression, low_resolution, pixelate
from snellen.methods.corruptions.elastic import elastic_transform
from snellen.methods.corruptions.frost import frost
from snellen.methods.corruptions.glass import glass_blur
from snellen.methods.corruptions.marks import black_corner, bubble, stain_deposit
from snellen.methods.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from snellen.methods.corruptions.nrtk_kinds import NRTK_KINDS
from snellen.methods.corruptions.textures import FROST, INKS
from snellen.methods.corruptions.weather import fog, snow, spatter


@dataclass(frozen=True)
class Parameter:
    """How a parameter is interpolated.

    Attributes:
        identity: value at severity 0, at which the operator does nothing; None keeps the value of severity 1.
        reciprocal: interpolated as 1 / value, because that is what the change grows with.
        pixels: a length, which grows with the image.
        whole: an integer in the published code; what training draws is cut to one.
        odd: as ``whole``, and cut to an odd one.
    """

    identity: float | None = None
    reciprocal: bool = False
    pixels: bool = False
    whole: bool = False
    odd: bool = False


@dataclass(frozen=True)
class Operator:
    """A corruption operator.

    Attributes:
        function: images, randomness, parameters by keyword → images.
        parameters: in the order of the published tables. If none has an identity, severities below 1 fade in the
            result of severity 1.
        batched: parameters may be tensors (n, 1, 1, 1), a value for each image.
        noise: what it does to a grey image is drawn once for all channels, not turned grey afterwards.
        channelwise: does the same to each channel, but for draws of noise: grey images need one channel alone, which
            the function takes as (n, 1, h, w).
        textures: not empty: takes textures of the user; without, it draws its own, which are not the published ones.
            These are the sha256 of the published files, in the order of their names.
        own: draws something of our own, so that no setting is exactly a published one.
        mended: the published code has a fault that changes results; the function takes ``parity`` to repeat it.
    """

    function: Callable[..., Tensor]
    parameters: Mapping[str, Parameter]
    batched: bool = False
    noise: bool = False
    channelwise: bool = False
    textures: tuple[str, ...] = ()
    own: bool = False
    mended: bool = False

    @property
    def fades(self) -> bool:
        """Whether severities below 1 are a mixture of the image and severity 1."""
        return all(parameter.identity is None for parameter in self.parameters.values())


_HELD, _LENGTH = Parameter(), Parameter(pixels=True)
_FROM_ZERO, _LENGTH_FROM_ZERO, _FROM_ONE = Parameter(0.0), Parameter(0.0, pixels=True), Parameter(1.0)

OPERATORS: dict[str, Operator] = {
    "gaussian_noise": Operator(gaussian_noise, {"deviation": _FROM_ZERO}, batched=True, noise=True, channelwise=True),
    "shot_noise": Operator(
        shot_noise, {"photons": Parameter(math.inf, reciprocal=True)}, batched=True, noise=True, channelwise=True
    ),
    "impulse_noise": Operator(impulse_noise, {"share": _FROM_ZERO}, batched=True, noise=True, channelwise=True),
    "speckle_noise": Operator(speckle_noise, {"deviation": _FROM_ZERO}, batched=True, noise=True, channelwise=True),
    "gaussian_blur": Operator(gaussian_blur, {"deviation": _LENGTH_FROM_ZERO}, channelwise=True),
    "kernel_blur": Operator(kernel_blur, {"kernel": Parameter(1.0, pixels=True, odd=True)}, channelwise=True),
    "defocus_blur": Operator(defocus_blur, {"radius": _LENGTH_FROM_ZERO, "alias": _LENGTH_FROM_ZERO}, channelwise=True),
    "glass_blur": Operator(
        glass_blur,
        {"deviation": _LENGTH_FROM_ZERO, "displacement": _LENGTH_FROM_ZERO, "passes": _HELD},
        channelwise=True,
        mended=True,
    ),
    "motion_blur": Operator(motion_blur, {"radius": _LENGTH, "deviation": _LENGTH_FROM_ZERO}, channelwise=True),
    "zoom_blur": Operator(zoom_blur, {"end": _FROM_ONE, "step": _HELD}, channelwise=True),
    "snow": Operator(
        snow,
        {
            "location": _HELD,
            "scale": _HELD,
            "zoom": _HELD,
            "threshold": _HELD,
            "radius": _LENGTH,
            "deviation": _LENGTH,
            "keep": _HELD,
        },
    ),
    "frost": Operator(frost, {"keep": _FROM_ONE, "amount": _FROM_ZERO}, textures=FROST, mended=True),
    "fog": Operator(fog, {"amount": _FROM_ZERO, "decay": _HELD}, channelwise=True),
    "spatter": Operator(
        spatter,
        {
            "location": _HELD,
            "scale": _HELD,
            "deviation": _LENGTH,
            "threshold": _HELD,
            "strength": _HELD,
            "mud": _HELD,
        },
    ),
    "brightness": Operator(brightness, {"amount": _FROM_ZERO}, batched=True, channelwise=True),
    "contrast": Operator(contrast, {"factor": _FROM_ONE}, batched=True, channelwise=True),
    "saturate": Operator(saturate, {"factor": _FROM_ONE, "offset": _FROM_ZERO}, batched=True),
    "elastic_transform": Operator(
        elastic_transform,
        {"amplitude": _LENGTH_FROM_ZERO, "deviation": _LENGTH, "affine": _LENGTH_FROM_ZERO},
        channelwise=True,
    ),
    "pixelate": Operator(pixelate, {"factor": _FROM_ONE}, channelwise=True),
    "jpeg_compression": Operator(jpeg_compression, {"quality": Parameter(100.0, whole=True)}, channelwise=True),
    "low_resolution": Operator(low_resolution, {"factor": _FROM_ONE}, channelwise=True),
    "shadow": Operator(shadow, {"amount": _FROM_ZERO}, batched=True, channelwise=True),
    "enhance_brightness": Operator(enhance_brightness, {"factor": _FROM_ONE}, batched=True),
    "enhance_contrast": Operator(enhance_contrast, {"factor": _FROM_ONE}, batched=True),
    "add_saturation": Operator(add_saturation, {"offset": _FROM_ZERO}, batched=True),
    "gamma": Operator(gamma, {"exponent": _FROM_ONE}, batched=True),
    "stain_deposit": Operator(stain_deposit, {"marks": Parameter(0.0, whole=True), "side": _LENGTH}, textures=INKS),
    "bubble": Operator(bubble, {"radius": Parameter(pixels=True, whole=True), "count": Parameter(whole=True)}),
    "black_corner": Operator(black_corner, {"radius": _HELD}),
    "characters": Operator(
        characters, {"words": Parameter(whole=True), "letters": Parameter(whole=True), "scale": _LENGTH}, own=True
    ),
    "nrtk_haze": Operator(NRTK_KINDS["nrtk_haze"], {"depth": _FROM_ZERO}),
    "nrtk_radial_distortion": Operator(NRTK_KINDS["nrtk_radial_distortion"], {"coefficient": _FROM_ZERO}),
    "nrtk_defocus": Operator(NRTK_KINDS["nrtk_defocus"], {"spot": _FROM_ZERO}),
    "nrtk_jitter": Operator(NRTK_KINDS["nrtk_jitter"], {"amplitude": _FROM_ZERO}),
    "nrtk_turbulence": Operator(NRTK_KINDS["nrtk_turbulence"], {"strength": _FROM_ZERO}),
    "nrtk_detector": Operator(NRTK_KINDS["nrtk_detector"], {"width": _FROM_ZERO}),
    "nrtk_pybsm": Operator(NRTK_KINDS["nrtk_pybsm"], {"distance": _HELD}),
}


MAX_SEVERITY = 5.0
SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Table:
    """The parameters of one kind of corruption at severities 1 to 5, for square images of one size.

    Attributes:
        side: height and width of the images that it was published for, pixels.
        columns: five values for each parameter of the operator.
        strict: the severities 1 to 5 in the order of their mean change, where that is not the published order.
        jumps: severities after which, up to the next, the nearest anchor is taken: what lies between is another kind of
            image.
        root: lengths grow with the square root of the side below ``side`` pixels, not in proportion to it.
        augmentation_start: the start of a parameter's range in training, where it is not the value of severity 1.
        augmentation_end: its end, where it is not the value of severity 5.
    """

    side: int
    columns: Mapping[str, tuple[float, ...]]
    strict: tuple[int, ...] = SEVERITIES
    jumps: tuple[int, ...] = ()
    root: bool = False
    augmentation_start: Mapping[str, float] = field(default_factory=dict)
    augmentation_end: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if sorted(self.strict) != list(SEVERITIES) or any(len(values) != 5 for values in self.columns.values()):
            raise InputError(f"a table has five severities, got {self.columns} in the order {self.strict}")

    def scale(self, side: int) -> float:
        """What lengths are multiplied by for images whose shorter side is ``side``.

        >>> Table(224, {}).scale(56), Table(224, {}, root=True).scale(56), Table(224, {}, root=True).scale(448)
        (0.25, 0.5, 2.0)
        """
        share = side / self.side
        return share**0.5 if self.root and share < 1 else share


@dataclass(frozen=True)
class Strength:
    """The parameters at one severity.

    Attributes:
        values: parameters by name.
        mixture: share of the corrupted image in the result; below 1 only where the operator fades in.
        published: whether this is exactly a published setting, for this image size.
    """

    values: Mapping[str, float]
    mixture: float
    published: bool


def check_severity(severity: float, what: str) -> None:
    """Refuse a severity outside of [0, 5].

    Raises:
        InputError: outside, or not a number.
    """
    if not 0 <= severity <= MAX_SEVERITY:
        raise InputError(f"severity of {what} must lie in [0, {MAX_SEVERITY:g}], got {severity!r}")


def strength(table: Table, operator: Operator, severity: float, side: int, *, strict: bool = False) -> Strength:
    """Parameters at a severity in [0, 5], for images whose shorter side is ``side``.

    Args:
        table: the anchors.
        operator: what they are parameters of.
        severity: in [0, 5].
        side: shorter side of the images, pixels; lengths are scaled by it.
        strict: order the published settings by their mean change, so that it grows with the severity.
    """
    check_severity(severity, "a corruption")
    order = table.strict if strict else SEVERITIES
    lower = min(int(severity), 4)
    share = severity - lower
    if lower > 0 and 0 < share < 1 and _apart(table, order[lower - 1], order[lower]):
        share = float(share >= 0.5)
    values = {
        name: _between(operator.parameters[name], column, lower, share, order, table.scale(side))
        for name, column in table.columns.items()
    }
    exact = severity == int(severity) and (severity == 0 or order[int(severity) - 1] == severity)
    return Strength(
        values=values,
        mixture=severity if operator.fades and severity < 1 else 1.0,
        published=exact and side == table.side and not operator.own,
    )


def _apart(table: Table, first: int, second: int) -> bool:
    """Whether a jump lies between two published severities."""
    return any(min(first, second) <= jump < max(first, second) for jump in table.jumps)


def _between(
    parameter: Parameter, column: tuple[float, ...], lower: int, share: float, order: tuple[int, ...], scale: float
) -> float:
    def anchor(severity: int) -> float:
        if severity > 0:
            return column[order[severity - 1] - 1] * (scale if parameter.pixels else 1.0)
        return anchor(1) if parameter.identity is None else parameter.identity

    low, high = anchor(lower), anchor(lower + 1)
    if share in {0.0, 1.0}:
        return high if share else low  # free of rounding
    if parameter.reciprocal:
        return 1 / (1 / low + share * (1 / high - 1 / low))
    return low + share * (high - low)
