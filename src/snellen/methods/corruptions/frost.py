"""Frost on the window in front of the camera, on panes that are painted crystal by crystal.

The six photographs of the published benchmark are not free to be passed on. These six panes stand in for them: one for
each photograph, with its mean and standard deviation per channel, crystals of its kind (a wrinkled film, white blades,
small stars, feathers on dark glass) and about its slope of the power spectrum.

Measured on the photographs of the authors' repository (github.com/hendrycks/robustness, ImageNet-C/imagenet_c/frost),
in 224-pixel crops of the luminance: power falls with frequency to the −1.2 to −1.9 between 4 and 64 cycles per side, to
the −1.8 to −2.5 above. The panes: −1.9 to −2.1, and −2.0 to −2.9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness, derive_seed

#: Sides of ImageNet-C and MedMNIST-C, and of CIFAR-10-C, pixels.
LARGE_SIDE, SMALL_SIDE = 224, 32

#: Images whose shorter side is below this are treated as CIFAR-10-C treats its own, where a benchmark says how.
SMALL_BELOW = 96


HEIGHT, WIDTH = 320, 480
#: Painted around the pane and cut off, so that crystals cross its border.
MARGIN = 64
#: Sides of the windows that crystals are painted in, and what they keep free around the longest crystal.
WINDOWS, FREE = (24, 36, 52, 76, 100, 128), 4
#: Crystals drawn at once: few enough to stay in the processor's cache.
TOGETHER = 16
#: Angle of a feather's barbs to its stem, as in ice.
BARB_SLOPE = math.tan(math.radians(30))


@dataclass(frozen=True)
class Pane:
    """How one pane is painted; lengths in pixels.

    Attributes:
        feathers: barbed crystals, else smooth blades.
        crystals: how many.
        length: shortest and longest crystal, log-uniform.
        aspect: half width over length, from and to.
        period: of barbs or grooves, from and to.
        fan: crystals that grow from one point.
        spread: standard deviation of the angles within a fan, radians.
        opacity: of a crystal.
        haze: standard deviation of the ground before the crystals.
        grain: standard deviation of the grain on top.
        warp: standard deviation of the final displacement.
        mean, deviation: of red, green and blue in [0, 1], those of the photograph.
    """

    feathers: bool
    crystals: int
    length: tuple[float, float]
    aspect: tuple[float, float]
    period: tuple[float, float]
    fan: int
    spread: float
    opacity: float
    haze: float
    grain: float
    warp: float
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


# fmt: off
PANES = (
    Pane(False, 2200, (8, 45), (0.05, 0.20), (3.0, 6.0), 3, 0.80, 0.70, 0.6, 0.35, 7,
         (0.305, 0.585, 0.650), (0.106, 0.065, 0.060)),
    Pane(False, 2600, (10, 110), (0.02, 0.07), (2.5, 5.0), 4, 0.30, 0.75, 0.6, 0.35, 2,
         (0.787, 0.805, 0.841), (0.084, 0.087, 0.089)),
    Pane(False, 2200, (10, 120), (0.02, 0.08), (3.0, 5.0), 4, 0.35, 0.75, 0.6, 0.35, 2,
         (0.787, 0.805, 0.841), (0.084, 0.087, 0.089)),
    Pane(True, 2600, (8, 40), (0.12, 0.40), (2.5, 4.0), 6, 1.00, 0.90, 0.6, 0.35, 2,
         (0.540, 0.599, 0.648), (0.112, 0.112, 0.117)),
    Pane(True, 1300, (10, 90), (0.12, 0.35), (3.0, 4.5), 4, 0.70, 0.95, 0.5, 0.25, 3,
         (0.441, 0.484, 0.528), (0.174, 0.170, 0.163)),
    Pane(True, 600, (12, 120), (0.15, 0.40), (3.2, 5.0), 5, 0.50, 0.95, 0.5, 0.25, 4,
         (0.280, 0.374, 0.410), (0.138, 0.168, 0.186)),
)
# fmt: on


def frost_panes(device: torch.device) -> tuple[Tensor, ...]:
    """All panes: (3, 320, 480) each, in [0, 1]; painted at the first call (about a second), then kept.

    >>> [tuple(pane.shape) for pane in frost_panes(torch.device("cpu"))][:1]
    [(3, 320, 480)]
    """
    return tuple(_on_device(index, device) for index in range(len(PANES)))


@lru_cache(maxsize=4 * len(PANES))
def _on_device(index: int, device: torch.device) -> Tensor:
    return _tinted(index).to(device)


@lru_cache(maxsize=len(PANES))
def _tinted(index: int) -> Tensor:
    pane = PANES[index]
    relief = _painted(pane, torch.Generator().manual_seed(derive_seed("frost pane", index))).clamp_(-2.6, 3)
    mean, deviation = torch.tensor(pane.mean), torch.tensor(pane.deviation)
    return (mean.view(3, 1, 1) + deviation.view(3, 1, 1) * relief).clamp_(0, 1)


def _painted(pane: Pane, generator: torch.Generator) -> Tensor:
    """Relief of a pane: (HEIGHT, WIDTH), mean 0, standard deviation 1."""
    height, width, count = HEIGHT + 2 * MARGIN, WIDTH + 2 * MARGIN, pane.crystals
    canvas = pane.haze * _cloud(height, width, 0.85, generator) - 0.4
    length = pane.length[0] * (pane.length[1] / pane.length[0]) ** torch.rand(count, generator=generator)
    fans = count // pane.fan
    fan = torch.randint(0, fans, (count,), generator=generator)
    angle = _uniform(fans, 0, 2 * math.pi, generator)[fan] + pane.spread * torch.randn(count, generator=generator)
    # Crystals start at the centre of their fan.
    rows = _uniform(fans, 0, height, generator)[fan] + angle.sin() * length / 2
    columns = _uniform(fans, 0, width, generator)[fan] + angle.cos() * length / 2
    aspect, period = _uniform(count, *pane.aspect, generator), _uniform(count, *pane.period, generator)
    draw, shortest = (_feathers if pane.feathers else _blades), 0
    for side in WINDOWS:  # small ones first: large crystals grow over them
        fitting = ((length > shortest) & (length <= side - FREE)).nonzero().flatten()
        shortest = side - FREE
        for chosen in fitting.split(TOGETHER):
            brightness, cover = draw(side, length[chosen], aspect[chosen], period[chosen], angle[chosen], generator)
            tops = (rows[chosen] - side / 2).clamp(0, height - side).long().tolist()
            lefts = (columns[chosen] - side / 2).clamp(0, width - side).long().tolist()
            for value, weight, top, left in zip(brightness, cover.mul_(pane.opacity), tops, lefts, strict=True):
                canvas[top : top + side, left : left + side].lerp_(value, weight)
    relief = _standardised(_warped(canvas, pane.warp, generator)[MARGIN:-MARGIN, MARGIN:-MARGIN])
    relief = relief + pane.grain * _cloud(HEIGHT, WIDTH, 0.8, generator) + 0.25 * _cloud(HEIGHT, WIDTH, 2.5, generator)
    return _standardised(relief)


def _feathers(side: int, length: Tensor, aspect: Tensor, period: Tensor, angle: Tensor, g: torch.Generator) -> _Drawn:
    """Leaves with a bright stem, barbs at 60° to each other, and one half in the shade."""
    along, across = _frame(side, length, angle, g)
    count, distance, half = len(length), across.abs(), _column(length * aspect)
    barbs = (along - BARB_SLOPE * distance) / _column(period)
    barbs += 0.4 * torch.sin(0.7 * along / _column(period) + _column(_uniform(count, 0, 6, g)))
    ridge = 0.5 + 0.5 * torch.cos(2 * math.pi * barbs)
    part = along / _column(length)
    outline = half * (1 - part).clamp(0, 1) ** 0.8 * (5 * part).clamp(0, 1) ** 0.6 * (0.6 + 0.4 * ridge)
    shade = _column(_uniform(count, -0.8, 0.8, g)) * across.sign()
    stem = 1.2 * (1 - distance / 1.6).clamp(min=0) * (1 - part)
    brightness = shade + 1.1 * ridge + 0.9 * (1 - distance / outline.clamp(min=1)).clamp(0, 1) + stem - 0.85
    return brightness, ((outline - distance) / 1.2).clamp(0, 1)


def _blades(side: int, length: Tensor, aspect: Tensor, period: Tensor, angle: Tensor, g: torch.Generator) -> _Drawn:
    """Grooved needles of one tone, with one edge in the light and one in the shade."""
    along, across = _frame(side, length, angle, g)
    count, distance, half = len(length), across.abs(), _column(length * aspect)
    part = along / _column(length)
    outline = half * (1 - (2 * part - 1) ** 2).clamp(min=0)
    groove = 2 * math.pi * (across + 0.04 * along) / _column(period) + _column(_uniform(count, 0, 6, g))
    grooves = torch.cos(groove) + 0.6 * torch.cos(2.3 * groove)
    tone, facet = _column(_uniform(count, -1.1, 1.1, g)), _column(_uniform(count, -0.5, 0.5, g))
    edge = 0.8 * (1 - (outline - distance).abs() / 2).clamp(min=0) + facet
    return tone + 0.25 * grooves + edge * across.sign(), ((outline - distance) / 1.2).clamp(0, 1)


#: Brightness and cover of crystals in their windows: (count, side, side) each, cover in [0, 1].
_Drawn = tuple[Tensor, Tensor]


def _frame(side: int, length: Tensor, angle: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pixels along a crystal from its foot, and across it, in a window around its middle; stems are a little bent."""
    pixels = torch.arange(side) - side / 2 + 0.5
    cosine, sine = _column(angle.cos()), _column(angle.sin())
    along = pixels * cosine + pixels[:, None] * sine
    across = pixels[:, None] * cosine - pixels * sine
    bend = _uniform(len(length), -0.15, 0.15, generator) / length
    return along + _column(length / 2), across + _column(bend) * along**2


def _warped(plane: Tensor, displacement: float, generator: torch.Generator) -> Tensor:
    height, width = plane.shape
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    columns = columns + 2 * displacement / width * _cloud(height, width, 2.0, generator)
    rows = rows + 2 * displacement / height * _cloud(height, width, 2.0, generator)
    grid = torch.stack((columns, rows), -1)[None]
    return F.grid_sample(plane[None, None], grid, padding_mode="reflection", align_corners=True)[0, 0]


def _cloud(height: int, width: int, slope: float, generator: torch.Generator) -> Tensor:
    """Noise whose amplitude falls with frequency to the −slope: (height, width), mean 0, standard deviation 1."""
    rows, columns = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    frequency = (height * torch.hypot(rows[:, None], columns)).clamp(min=1)
    spectrum = torch.fft.rfft2(torch.randn(height, width, generator=generator)) * frequency**-slope
    return _standardised(torch.fft.irfft2(spectrum, s=(height, width)))


def _standardised(plane: Tensor) -> Tensor:
    return (plane - plane.mean()) / plane.std()


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _column(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1)


#: Every fifth pixel is what OpenCV's bilinear resize to 0.2 of the size comes to.
SHRINK = 5
#: Of the six photographs, the published code draws one of the first five.
DRAWN = 5


def frost(
    images: Tensor,
    rng: Randomness,
    *,
    keep: float,
    amount: float,
    textures: Sequence[Tensor] | None = None,
    parity: bool = False,
) -> Tensor:
    """``keep`` · image + ``amount`` · a random crop of a random texture: (n, 3, h, w) in [0, 1].

    Without textures it is our own procedural frost, which is not the published one: see
    :mod:`snellen.methods.corruptions.frost`. With the six photographs of the authors' repository it is, but for
    two slips of theirs, which ``parity`` repeats: they draw among the first five photographs only, and never the last
    row and column of places.

    Source: Hendrycks and Dietterich, arXiv 1903.12261, and their code.

    >>> import torch
    >>> frost(torch.rand(2, 3, 5, 7), Randomness(0).bind(2), keep=0.8, amount=0.6).shape
    torch.Size([2, 3, 5, 7])

    Args:
        images: (n, 3, h, w) in [0, 1].
        rng: bound to the n examples.
        keep: what is left of the image.
        amount: how much of the texture is added; 0 with ``keep`` 1 is the identity.
        textures: (3, height, width) each, in [0, 1]. For images whose shorter side is below 96 they are shrunk to 0.2
            of their size; what is then smaller than the image is enlarged to cover it.
        parity: draw among the first five textures, and not the last row and column of places where there are others.

    Raises:
        InputError: there is no texture, or one of another shape.
    """
    height, width = images.shape[2:]
    panes = frost_panes(images.device) if textures is None else _checked(textures)
    if min(height, width) < SMALL_BELOW:
        panes = [_shrunk(pane) for pane in panes]
    among = min(len(panes), DRAWN) if parity else len(panes)
    chosen = rng.integers("texture", (), 0, among).tolist()
    places = rng.uniform("place", (2,)).tolist()
    fitted = {index: _covering(panes[index].to(images), height, width) for index in set(chosen)}
    frosted = images * keep
    for image, index, (down, right) in zip(frosted, chosen, places, strict=True):
        pane = fitted[index]
        top = int(down * _places(pane.shape[1] - height, parity))
        left = int(right * _places(pane.shape[2] - width, parity))
        image.add_(pane[:, top : top + height, left : left + width], alpha=amount)
    return frosted.clamp_(0, 1)


def _places(room: int, parity: bool) -> int:
    """How many places there are along an axis with so many pixels to spare."""
    return max(room, 1) if parity else room + 1


def _checked(textures: Sequence[Tensor]) -> Sequence[Tensor]:
    if not len(textures):
        raise InputError("frost got an empty list of textures; give at least one, or None for the procedural ones")
    for index, texture in enumerate(textures):
        if texture.ndim != 3 or texture.shape[0] != 3 or not texture.numel() or not texture.is_floating_point():
            raise InputError(
                f"frost texture {index} must be a float tensor (3, height, width) in [0, 1], "
                f"got {texture.dtype} of shape {tuple(texture.shape)}"
            )
    return textures


def _shrunk(texture: Tensor) -> Tensor:
    rows, columns = (min(SHRINK // 2, side - 1) for side in texture.shape[1:])
    return texture[:, rows::SHRINK, columns::SHRINK]


def _covering(texture: Tensor, height: int, width: int) -> Tensor:
    """The texture, enlarged if it is smaller than an image of this size, its proportions kept."""
    factor = max(height / texture.shape[1], width / texture.shape[2])
    if factor <= 1:
        return texture
    size = [max(side, round(old * factor)) for side, old in zip((height, width), texture.shape[1:], strict=True)]
    return F.interpolate(texture[None], size, mode="bicubic", align_corners=False)[0].clamp_(0, 1)
