"""Fog whose density is a plasma fractal, falling snow, and water or mud on the lens."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.blur import central_zoom, motion_filter
from snellen.methods.corruptions.colour import LUMA
from snellen.methods.corruptions.edges import box, canny, distance_to_edge, emboss, equalise
from snellen.methods.corruptions.filters import gaussian_filter


def fog(images: Tensor, rng: Randomness, *, amount: float, decay: float) -> Tensor:
    """Add a plasma fractal and darken the sum to the range of the image: (n, 3, h, w) in [0, 1].

    (image + ``amount`` · fractal) · m / (m + ``amount``), m the image's largest value. The fractal fills the square
    whose side is the next power of two; the image lies in its upper left corner.

    Source: Hendrycks and Dietterich, arXiv 1903.12261, and their code.

    >>> fog(torch.rand(2, 3, 5, 7), Randomness(0).bind(2), amount=1.5, decay=2).shape
    torch.Size([2, 3, 5, 7])

    Args:
        images: (n, 3, h, w) in [0, 1].
        rng: bound to the n examples.
        amount: density of the thickest fog, in units of the image; 0 is no fog.
        decay: each octave of the fractal has 1 / ``decay``² times the amplitude of the last; 1.4 is ragged, 3 smooth.
    """
    height, width = images.shape[2:]
    side = 1 << (max(height, width) - 1).bit_length()
    density = plasma_fractal(rng.uniform("plasma", (side * side - 1,), -1, 1, like=images), decay)
    brightest = images.flatten(1).amax(1).view(-1, 1, 1, 1)
    foggy = torch.add(images, density[:, None, :height, :width], alpha=amount)
    # A black image stays black at any amount.
    return foggy.mul_(brightest / (brightest + amount).clamp(min=1e-12)).clamp_(0, 1)


def plasma_fractal(draws: Tensor, decay: float) -> Tensor:
    """Height map of the diamond-square algorithm on a torus, stretched to [0, 1].

    Fournier, Fussell and Carpenter, "Computer rendering of stochastic models", CACM 25 (1982). From one point on, each
    octave doubles the side: the middle of each square is the mean of its corners, then the middle of each edge the mean
    of its four neighbours, each plus a draw scaled by the octave's amplitude.

    >>> plasma_fractal(torch.rand(2, 4**3 - 1), decay=2).shape
    torch.Size([2, 8, 8])

    Args:
        draws: (n, side² − 1), uniform in [−1, 1), side a power of two. From the coarsest octave to the finest; within
            one the middles of the squares, of the horizontal edges, of the vertical edges.
        decay: square root of the ratio of the amplitudes of one octave and the next.

    Returns:
        (n, side, side); zeros for the side 1, which has no heights to stretch.
    """
    count = len(draws)
    octaves = draws.shape[1].bit_length() // 2
    heights = draws.new_zeros(count, 1, 1)
    for octave in range(octaves):
        side, amplitude = 1 << octave, decay ** (-2 * octave)
        wibbles = draws[:, side * side - 1 : 4 * side * side - 1].view(count, 3, side, side)
        finer = draws.new_empty(count, 2 * side, 2 * side)
        rows = heights + heights.roll(-1, 2)
        columns = heights + heights.roll(-1, 1)
        centres = rows + rows.roll(-1, 1)
        centres.div_(4).add_(wibbles[:, 0], alpha=amplitude)
        rows.add_(centres).add_(centres.roll(1, 1)).div_(4).add_(wibbles[:, 1], alpha=amplitude)
        columns.add_(centres).add_(centres.roll(1, 2)).div_(4).add_(wibbles[:, 2], alpha=amplitude)
        finer[:, ::2, ::2], finer[:, 1::2, 1::2] = heights, centres
        finer[:, ::2, 1::2], finer[:, 1::2, ::2] = rows, columns
        heights = finer
    lowest, highest = torch.aminmax(heights.flatten(1), dim=1)
    span = (highest - lowest).clamp(min=1e-30).view(-1, 1, 1)
    return heights.sub_(lowest.view(-1, 1, 1)).div_(span)


def snow(
    images: Tensor,
    rng: Randomness,
    *,
    location: float,
    scale: float,
    zoom: float,
    threshold: float,
    radius: float,
    deviation: float,
    keep: float,
) -> Tensor:
    """Add falling flakes to an image that snow light has whitened: (n, 3, h, w) in [0, 1].

    Flakes are normal noise, enlarged, cut below ``threshold``, and blurred along a direction drawn within 45° of
    the vertical. They are added twice, as they are and turned by 180°.

    Source: Hendrycks and Dietterich, arXiv 1903.12261, and their code. The blur is in float, theirs rounds to bytes.

    >>> parameters = dict(location=0.1, scale=0.3, zoom=3, threshold=0.5, radius=10, deviation=4, keep=0.8)
    >>> snow(torch.rand(2, 3, 5, 7), Randomness(0).bind(2), **parameters).shape
    torch.Size([2, 3, 5, 7])

    Args:
        images: (n, 3, h, w) in [0, 1].
        rng: bound to the n examples.
        location: mean of the noise.
        scale: standard deviation of the noise.
        zoom: enlargement of the noise about the centre, at least 1: size of the flakes.
        threshold: noise below it is no flake.
        radius: of the motion blur, pixels.
        deviation: of the motion blur, pixels.
        keep: weight of the image beside its whitened version, which is max(image, 1.5 · grey + 0.5).
    """
    height, width = images.shape[2:]
    noise = rng.normal("flakes", (1, height, width), like=images)
    flakes = central_zoom(noise.mul(scale).add_(location), zoom)
    flakes.masked_fill_(flakes < threshold, 0).clamp_(0, 1)
    flakes.mul_(255).floor_().div_(255)  # a byte in the published code, which lowers all flakes by half a step
    angles = rng.uniform("angle", (), -135, -45)
    flakes = motion_filter(flakes, angles, radius=radius, deviation=deviation)
    flakes += flakes.flip((2, 3))
    red, green, blue = LUMA
    grey = (images[:, :1] * red).add_(images[:, 1:2], alpha=green).add_(images[:, 2:], alpha=blue)
    whitened = torch.maximum(images, grey.mul_(1.5).add_(0.5))
    return whitened.lerp_(images, keep).add_(flakes).clamp_(0, 1)


#: Red, green and blue of pale turquoise and of brown.
WATER, MUD = (175 / 255, 238 / 255, 238 / 255), (63 / 255, 42 / 255, 20 / 255)
#: Thresholds of the outline of drops, and the distance from it beyond which water is flat, in pixels.
LOW, HIGH, FLAT = 50, 150, 20
#: Mud that covers less than this is none.
COVER = 0.8


def spatter(
    images: Tensor,
    rng: Randomness,
    *,
    location: float,
    scale: float,
    deviation: float,
    threshold: float,
    strength: float,
    mud: float,
) -> Tensor:
    """Spatter images: (n, 3, h, w) in [0, 1].

    The liquid is where smoothed normal noise is above ``threshold``. Water adds light of its colour, by its thickness
    and the relief of its outline. Mud hides what is behind it.

    Source: Hendrycks and Dietterich, arXiv 1903.12261, and their code. Where no drop falls, their water divides by
    zero; here the image stays as it is.

    >>> parameters = dict(location=0.65, scale=0.3, deviation=4, threshold=0.69, strength=0.6, mud=0)
    >>> spatter(torch.rand(2, 3, 5, 7), Randomness(0).bind(2), **parameters).shape
    torch.Size([2, 3, 5, 7])

    Args:
        images: (n, 3, h, w) in [0, 1].
        rng: bound to the n examples.
        location: mean of the noise.
        scale: standard deviation of the noise before it is smoothed.
        deviation: of the Gaussian that smooths it, pixels.
        threshold: noise below it is dry.
        strength: of water, the brightest light that it adds; of mud, how much its outline is smoothed, in pixels.
        mud: from 0.5 on mud, else water; there is nothing between.
    """
    height, width = images.shape[2:]
    noise = rng.normal("liquid", (1, height, width), like=images)
    liquid = gaussian_filter(noise.mul(scale).add_(location), deviation)
    if mud < 0.5:
        light = water_relief(liquid.masked_fill_(liquid < threshold, 0)[:, 0]).mul_(strength)
        return torch.addcmul(images, light[:, None], _colour(WATER, images)).clamp_(0, 1)
    cover = gaussian_filter((liquid > threshold).to(images.dtype), strength)
    cover.masked_fill_(cover < COVER, 0)
    return torch.lerp(images, _colour(MUD, images), cover).clamp_(0, 1)


def water_relief(liquid: Tensor) -> Tensor:
    """Light on water, from its thickness in [0, 1] and from the distance to the outline of the drops: (n, h, w) → same.

    The brightest place of each plane is 1. Steps are rounded to bytes as published: the outline and the equalisation
    depend on it.
    """
    thickness = liquid.clamp(0, 1).mul_(255).floor_()
    distance = distance_to_edge(canny(thickness, LOW, HIGH), FLAT)
    relief = box(emboss(equalise(box(distance).floor_()))).round_()
    light = relief.mul_(thickness)
    return light.div_(light.flatten(1).amax(1).clamp(min=1).view(-1, 1, 1))


def _colour(values: tuple[float, float, float], images: Tensor) -> Tensor:
    return images.new_tensor(values).view(1, 3, 1, 1)
