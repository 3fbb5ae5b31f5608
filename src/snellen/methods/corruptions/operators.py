"""Which operators there are, and how each of their parameters behaves between severities and image sizes.

An operator is a function (images (n, 3, h, w) in [0, 1], randomness bound to them, *, parameters) → images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from snellen.methods.corruptions.black_corner import black_corner
from snellen.methods.corruptions.blur import gaussian_blur, kernel_blur
from snellen.methods.corruptions.bubbles import bubble
from snellen.methods.corruptions.characters import characters
from snellen.methods.corruptions.colour import brightness, contrast, saturate
from snellen.methods.corruptions.defocus import defocus_blur
from snellen.methods.corruptions.digital import jpeg_compression, pixelate
from snellen.methods.corruptions.elastic import elastic_transform
from snellen.methods.corruptions.enhance import add_saturation, enhance_brightness, enhance_contrast, gamma
from snellen.methods.corruptions.fog import fog
from snellen.methods.corruptions.frost import frost
from snellen.methods.corruptions.glass import glass_blur
from snellen.methods.corruptions.motion import motion_blur
from snellen.methods.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from snellen.methods.corruptions.published_textures import FROST, INKS
from snellen.methods.corruptions.snow import snow
from snellen.methods.corruptions.spatter import spatter
from snellen.methods.corruptions.stains import stain_deposit
from snellen.methods.corruptions.zoom import zoom_blur


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
}
