"""Changes of training batches: (images (n, 3, h, w), targets, rng) → (images, targets), one draw for each example.

Szegedy et al., "Going deeper with convolutions", CVPR 2015, arXiv 1409.4842, section 6, as torchvision's
``RandomResizedCrop`` draws them, but of continuous edges and for a whole batch at once. Who needs to know what a crop
shows (targets of its own, masks) gets the boxes.

They are the operations of torchvision's ``ColorJitter`` (in one order: brightness, contrast, saturation, hue) and
``GaussianBlur``, for a whole batch at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError, import_extra
from snellen.core.randomness import Randomness

BatchTransform = Callable[[Tensor, Tensor, Randomness], tuple[Tensor, Tensor]]


def random_flips(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
    """Mirror half of the images, left to right."""
    mirrored = rng.uniform("flip", (1, 1, 1), like=images) < 0.5
    return torch.where(mirrored, images.flip(3), images), targets


def random_shifts(pixels: int) -> BatchTransform:
    """Move every image by up to ``pixels`` in each direction; what comes in from outside is black.

    >>> rng = Randomness(0).for_examples(["a"])
    >>> moved, _ = random_shifts(1)(torch.ones(1, 3, 4, 4), torch.zeros(1), rng)
    >>> int(moved.sum()) in {3 * 9, 3 * 12, 3 * 16}
    True
    """

    def shift(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        count, channels, height, width = images.shape
        offsets = rng.integers("shift", (2,), 0, 2 * pixels + 1, like=images)
        rows = offsets[:, :1] + torch.arange(height, device=images.device)
        columns = offsets[:, 1:] + torch.arange(width, device=images.device)
        padded = F.pad(images, (pixels,) * 4)
        which = torch.arange(count, device=images.device)[:, None, None, None]
        channel = torch.arange(channels, device=images.device)[None, :, None, None]
        return padded[which, channel, rows[:, None, :, None], columns[:, None, None, :]], targets

    return shift


def rand_augment(operations: int = 2, magnitude: int = 9) -> BatchTransform:
    """RandAugment (Cubuk et al. 2020, arXiv 1909.13719) as torchvision has it: ``operations`` of 14 at one magnitude.

    Each image draws its own, from its own seed.

    Raises:
        MissingExtraError: torchvision is not installed.
    """
    transforms = import_extra("torchvision.transforms.v2", "models", "RandAugment")
    return _each_alone(transforms.RandAugment(num_ops=operations, magnitude=magnitude), "rand augment")


def aug_mix(*, severity: int = 3, width: int = 3) -> BatchTransform:
    """AugMix (Hendrycks et al. 2020, arXiv 1912.02781) as torchvision has it: a mixture of chains of 1 to 3 operations.

    Operations that resemble the corruptions of ImageNet-C are left out, as published. Each image draws its own.

    Raises:
        MissingExtraError: torchvision is not installed.
    """
    transforms = import_extra("torchvision.transforms.v2", "models", "AugMix")
    return _each_alone(transforms.AugMix(severity=severity, mixture_width=width, all_ops=False), "augmix")


def _each_alone(augment: Callable[[Tensor], Tensor], stream: str) -> BatchTransform:
    """Apply a transform of torchvision to each image as bytes, under a seed of its own."""

    def apply(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        seeds = rng.integers(stream, (), 0, 2**62).tolist()
        pixels = (images * 255).round().to(torch.uint8)
        changed = []
        with torch.random.fork_rng(devices=[]):
            for image, seed in zip(pixels, seeds, strict=True):
                torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU too
                changed.append(augment(image))
        return torch.stack(changed).to(images.dtype) / 255, targets

    return apply


def in_sequence(*transforms: BatchTransform) -> BatchTransform:
    """Apply transforms one after the other, each with its own randomness."""

    def apply(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        for position, transform in enumerate(transforms):
            images, targets = transform(images, targets, rng.child("transform", position))
        return images, targets

    return apply


def one_of(*transforms: BatchTransform) -> BatchTransform:
    """Apply to each image one of the transforms, or none, with equal probability; targets stay as they are."""

    def apply(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        drawn = rng.integers("which", (), 0, len(transforms) + 1)  # the last one is none
        changed = images.clone()
        for number, transform in enumerate(transforms):
            rows = (drawn == number).nonzero().flatten()
            if len(rows):
                at = rows.to(images.device)
                changed[at] = transform(images[at], targets[at], rng[rows].child("transform", number))[0]
        return changed, targets

    return apply


#: Boxes that are tried before the largest central one is taken, as in torchvision.
_TRIES = 10


def draw_boxes(
    rng: Randomness,
    *,
    smallest: float,
    ratios: tuple[float, float] = (3 / 4, 4 / 3),
    aspects: Tensor | None = None,
) -> Tensor:
    """Draw a box for each example that ``rng`` is bound to.

    The share of the image's area is uniform in [smallest, 1], the logarithm of width over height uniform between those
    of ``ratios``, both in the pixels of the original; a box that does not fit is drawn anew, ten times at most.

    Args:
        rng: bound to n examples.
        smallest: least share of the area, in (0, 1].
        ratios: least and largest width over height.
        aspects: width over height of the original images, (n,), where frames were squeezed; 1 by default.

    Returns:
        (n, 4): left, top, right, bottom as shares of width and height, in [0, 1].

    Raises:
        InputError: a share or ratios out of range.
    """
    if not 0 < smallest <= 1 or not 0 < ratios[0] <= ratios[1]:
        raise InputError(f"a crop takes a share in (0, 1] and ratios 0 < least ≤ largest; got {smallest}, {ratios}")
    drawn = rng.uniform("crop", (_TRIES, 4))
    area = smallest + (1 - smallest) * drawn[..., 0]
    ratio = (math.log(ratios[0]) + math.log(ratios[1] / ratios[0]) * drawn[..., 1]).exp()
    aspect = torch.ones(len(drawn)) if aspects is None else aspects.float().cpu()
    width, height = (area * ratio / aspect[:, None]).sqrt(), (area / ratio * aspect[:, None]).sqrt()
    fits = (width <= 1) & (height <= 1)
    first, row = fits.int().argmax(1), torch.arange(len(drawn))
    largest = aspect.clamp(*ratios) / aspect  # of the central box, relative to the image's own shape
    w = torch.where(fits.any(1), width[row, first], largest.clamp(max=1))
    h = torch.where(fits.any(1), height[row, first], (1 / largest).clamp(max=1))
    central = torch.where(fits.any(1)[:, None], drawn[row, first, 2:], torch.tensor(0.5))
    left, top = (1 - w) * central[:, 0], (1 - h) * central[:, 1]
    return torch.stack([left, top, left + w, top + h], 1).clamp(0, 1)


def cut_boxes(images: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Cut a box out of each image and scale it to side × side pixels.

    Bilinear samples at half-pixel centres; where a frame is larger than the result, several samples are averaged for
    each pixel, so that fine patterns do not alias.

    Args:
        images: (n, c, h, w).
        boxes: (n, 4): left, top, right, bottom in [0, 1].
        side: of the result, pixels.

    Returns:
        (n, c, side, side).

    >>> image = torch.arange(16.0).view(1, 1, 4, 4)
    >>> cut_boxes(image, torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 2).flatten().tolist()
    [2.5, 4.5, 10.5, 12.5]
    """
    dense = max(1, math.ceil(max(images.shape[2:]) / side))
    at = (torch.arange(side * dense, device=images.device, dtype=images.dtype) + 0.5) / (side * dense)
    left, top, right, bottom = boxes.to(images).unbind(1)
    x = left[:, None] + (right - left)[:, None] * at
    y = top[:, None] + (bottom - top)[:, None] * at
    shape = (len(images), len(at), len(at))
    grid = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], 3) * 2 - 1
    samples = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return F.avg_pool2d(samples, dense) if dense > 1 else samples


def random_resized_crops(smallest: float = 0.08) -> BatchTransform:
    """Cut a random box of every image and scale it back to the size of the image, which must be square.

    >>> rng = Randomness(0).for_examples(["a"])
    >>> random_resized_crops(0.5)(torch.ones(1, 3, 8, 8), torch.zeros(1), rng)[0].shape
    torch.Size([1, 3, 8, 8])
    """

    def crop(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        if images.shape[2] != images.shape[3]:
            raise InputError(f"random crops need square images, got {images.shape[3]} × {images.shape[2]} pixels")
        return cut_boxes(images, draw_boxes(rng, smallest=smallest), images.shape[2]), targets

    return crop


#: Corners of an image, from −1 to 1: top left, top right, bottom right, bottom left.
_CORNERS = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def random_perspectives(distortion: float, *, share: float = 0.5) -> BatchTransform:
    """Move the corners of a share of the images inwards, by up to ``distortion`` of half the height and width.

    What comes in from outside is black.

    >>> seen, _ = random_perspectives(0.2, share=1.0)(torch.ones(1, 3, 8, 8), torch.zeros(1), Randomness(0).bind(1))
    >>> 0 < float(seen.mean()) < 1
    True

    Raises:
        InputError: a value out of range.
    """
    if not 0 <= distortion < 1 or not 0 <= share <= 1:
        raise InputError(f"a perspective takes a distortion in [0, 1) and a share in [0, 1]; got {distortion}, {share}")

    def look(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        drawn = rng.uniform("perspective", (9,), like=images)
        chosen = (drawn[:, 8] < share).float()[:, None, None]
        corners = _CORNERS.to(images)
        moved = corners * (1 - distortion * drawn[:, :8].unflatten(1, (4, 2)) * chosen)
        seen = warp(images, moved)
        return torch.where(chosen[..., None] > 0, seen, images), targets

    return look


def warp(images: Tensor, corners: Tensor) -> Tensor:
    """Put the corners of images (n, c, h, w) to ``corners`` (n, 4, 2): x and y from −1 to 1; black outside.

    >>> image = torch.arange(16.0).view(1, 1, 4, 4)
    >>> torch.allclose(warp(image, _CORNERS[None]), image, atol=1e-4)
    True
    """
    count, _, height, width = images.shape
    homography = _homographies(corners.double(), _CORNERS.to(corners.device).double())
    x = (torch.arange(width, device=images.device).double() + 0.5) / width * 2 - 1
    y = (torch.arange(height, device=images.device).double() + 0.5) / height * 2 - 1
    at = torch.stack([x.expand(height, width), y[:, None].expand(height, width), torch.ones(height, width).to(x)], -1)
    found = at.view(1, -1, 3) @ homography.transpose(1, 2)
    grid = (found[..., :2] / found[..., 2:]).view(count, height, width, 2)
    return F.grid_sample(images, grid.to(images.dtype), mode="bilinear", padding_mode="zeros", align_corners=False)


def _homographies(sources: Tensor, aims: Tensor) -> Tensor:
    """Matrices (n, 3, 3) that send four points (n, 4, 2) to four others (4, 2), in homogeneous coordinates."""
    count = len(sources)
    x, y = sources.unbind(2)
    u, v = aims.expand(count, 4, 2).unbind(2)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    across = torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], 2)
    down = torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], 2)
    solved = torch.linalg.solve(torch.cat([across, down], 1), torch.cat([u, v], 1))
    return torch.cat([solved, torch.ones(count, 1).to(solved)], 1).view(count, 3, 3)


#: Shares of red, green and blue in a grey.
_LUMA = (0.2989, 0.587, 0.114)


def colour_jitter(
    brightness: float, contrast: float, saturation: float, hue: float, *, share: float = 1.0
) -> BatchTransform:
    """Change the colours of a share of the images: factors are uniform in 1 ± the value, the hue turns by up to ± hue.

    >>> jitter = colour_jitter(0.4, 0.4, 0.4, 0.1)
    >>> changed, _ = jitter(torch.full((2, 3, 4, 4), 0.5), torch.zeros(2), Randomness(0).bind(2))
    >>> bool((changed[0] != changed[1]).any())
    True

    Args:
        brightness: in [0, 1], as the next two.
        contrast: around the mean grey of the image.
        saturation: around the grey of each pixel.
        hue: turns of the colour circle, in [0, 0.5].
        share: of the images that are changed.

    Raises:
        InputError: a value out of range.
    """
    if not all(0 <= value <= 1 for value in (brightness, contrast, saturation, share)) or not 0 <= hue <= 0.5:
        raise InputError(
            f"colour jitter takes brightness, contrast, saturation and share in [0, 1] and hue in [0, 0.5]; got "
            f"{brightness}, {contrast}, {saturation}, {share} and {hue}"
        )

    def jitter(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        drawn = rng.uniform("jitter", (5,), like=images)
        chosen = (drawn[:, 4] < share).float()[:, None]
        ranges = torch.tensor([brightness, contrast, saturation, hue], device=images.device)
        offsets = (2 * drawn[:, :4] - 1) * ranges * chosen
        factors = (1 + offsets[:, :3])[..., None, None, None]
        changed = (images * factors[:, 0]).clamp(0, 1)
        changed = _towards(grey(changed).mean((1, 2, 3), keepdim=True), changed, factors[:, 1])
        changed = _towards(grey(changed), changed, factors[:, 2])
        return (turn_hue(changed, offsets[:, 3]) if hue else changed), targets

    return jitter


def random_blur(least: float, largest: float) -> BatchTransform:
    """Blur every image by a Gaussian whose standard deviation is uniform in [least, largest], in pixels.

    Raises:
        InputError: a deviation out of range.
    """
    if not 0 < least <= largest:
        raise InputError(f"a blur takes standard deviations 0 < least ≤ largest, in pixels; got {least}, {largest}")

    def blur(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        return gaussian_blur(images, rng.uniform("blur", (), least, largest, like=images)), targets

    return blur


def grey(images: Tensor) -> Tensor:
    """Luma of images (n, 3, h, w) → (n, 1, h, w)."""
    return (images * torch.tensor(_LUMA, device=images.device).view(3, 1, 1)).sum(1, keepdim=True)


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of images (n, 3, h, w) in [0, 1] by a part of the colour circle (n,); value and saturation stay.

    >>> turn_hue(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1), torch.tensor([1 / 3])).flatten().round().tolist()
    [0.0, 1.0, 0.0]
    """
    red, green, blue = images.unbind(1)
    value, lowest = images.amax(1), images.amin(1)
    spread = value - lowest
    safe = spread.clamp_min(1e-12)
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = sixth + 6 * turns.to(images)[:, None, None]
    # Smith 1978: each channel falls from the value by the spread where its hue is far.
    channels = [
        value - spread * torch.minimum(k, 4 - k).clamp(0, 1) for k in ((hue + shift) % 6 for shift in (5.0, 3.0, 1.0))
    ]
    return torch.stack(channels, 1)


def gaussian_blur(images: Tensor, deviations: Tensor) -> Tensor:
    """Blur images (n, c, h, w), each with its own standard deviation (n,), pixels; edges are mirrored."""
    count, channels, height, width = images.shape
    radius = min(math.ceil(3 * float(deviations.max())), min(height, width) - 1) if count else 0
    if not radius:
        return images
    at = torch.arange(-radius, radius + 1, device=images.device)
    spread = deviations.to(images)[:, None]
    # Each kernel ends at its own three deviations: an image's blur does not depend on the others of its batch.
    weights = torch.exp(-0.5 * (at / spread) ** 2) * (at.abs() <= (3 * spread).ceil())
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    padded = F.pad(images, (radius,) * 4, mode="reflect").reshape(1, count * channels, height + 2 * radius, -1)
    rows = F.conv2d(padded, weights[:, None, None, :], groups=count * channels)
    return F.conv2d(rows, weights[:, None, :, None], groups=count * channels).view(images.shape)


def _towards(grey_level: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Blend with a grey: factor 1 leaves the image, 0 gives the grey, more exaggerates; clipped to [0, 1]."""
    return (grey_level + (images - grey_level) * factor).clamp(0, 1)
