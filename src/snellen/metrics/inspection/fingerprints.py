"""Fingerprints of images: an exact one for equal pixels, and a robust one that small changes hardly move."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import InputError
from snellen.metrics.inspection.properties import area_means, deviation, eight_bits, unit_luma

#: Side of the thumbnails, pixels.
THUMBNAIL = 16

#: Side of the grid of colour means, cells.
CHROMA_CELLS = 4

#: Standard deviation of a thumbnail's luma below which an image is flat: two of 255 grey levels.
FLAT_CONTRAST = 2 / 255

#: A luma step counts from this share of the image's contrast on. Without it the sign of nearly nothing would be a bit,
#: and a plain background would give other bits after each compression.
GRADIENT_DEAD_ZONE = 0.1


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """What is kept of n images to find near duplicates: about 330 bytes each.

    Attributes:
        frequency: uint64 (n,), signs of the 63 lowest spatial frequencies against their median (Zauner 2010, "pHash").
        gradient: uint64 (n,), in which cells of an 8 × 8 grid luma rises to the right ("dHash").
        mirrored_frequency: uint64 (n,), the same of the image mirrored left to right.
        mirrored_gradient: uint64 (n,).
        thumbnails: uint8 (n, 16, 16), luma averaged over areas.
        chroma: int8 (n, 2, 4, 4), blue and red difference (BT.601, times 255) averaged over areas; grey is 0.
        flat: bool (n,), nearly constant images, whose bits mean nothing.
    """

    frequency: NDArray[np.uint64]
    gradient: NDArray[np.uint64]
    mirrored_frequency: NDArray[np.uint64]
    mirrored_gradient: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]
    chroma: NDArray[np.int8]
    flat: NDArray[np.bool_]

    def __post_init__(self) -> None:
        sizes = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(sizes.values())) > 1:
            raise InputError(f"each part of the fingerprints needs one row per image, got {sizes}")

    def __len__(self) -> int:
        return len(self.frequency)

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Fingerprints:
        """Fingerprints of some images, by positions or by a mask."""
        return Fingerprints(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def codes(self) -> NDArray[np.uint64]:
        """All 128 bits, uint64 (n, 2)."""
        return np.stack([self.frequency, self.gradient], axis=1)

    @property
    def mirrored_codes(self) -> NDArray[np.uint64]:
        """All 128 bits of the mirrored images, uint64 (n, 2)."""
        return np.stack([self.mirrored_frequency, self.mirrored_gradient], axis=1)

    def mirrored(self) -> Fingerprints:
        """Fingerprints of the images mirrored left to right."""
        return Fingerprints(
            self.mirrored_frequency,
            self.mirrored_gradient,
            self.frequency,
            self.gradient,
            self.thumbnails[:, :, ::-1],
            self.chroma[..., ::-1],
            self.flat,
        )

    @classmethod
    def joined(cls, parts: Sequence[Fingerprints]) -> Fingerprints:
        """Fingerprints of several batches in one.

        Raises:
            InputError: no parts.
        """
        if not parts:
            raise InputError("joining fingerprints needs at least one part, got none")
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def pixel_hashes(images: Tensor) -> tuple[str, ...]:
    """SHA-256 of shape and eight-bit pixels of each image, in hexadecimal: equal exactly when the pixels are.

    >>> first, second = pixel_hashes(torch.zeros(2, 3, 8, 8))
    >>> first == second, len(first)
    (True, 64)

    Args:
        images: uint8, or floating point in [0, 1] (rounded to eight bits), (n, 3, h, w).

    Raises:
        InputError: another shape or type, or values outside the range.
    """
    pixels = eight_bits(images).contiguous().cpu().numpy()
    shape = "x".join(map(str, pixels.shape[1:])).encode() + b":"
    return tuple(hashlib.sha256(shape + image.tobytes()).hexdigest() for image in pixels)


def fingerprint(images: Tensor) -> Fingerprints:
    """Robust fingerprints of a batch; how images are batched does not matter.

    All parts are taken from means over areas, so that size, compression, light and contrast hardly count. The frequency
    bits are those of Zauner, "Implementation and benchmarking of perceptual image hash functions" (2010):
    an 8 × 8 corner of the discrete cosine transform of the image at 32 × 32, without its constant, against its median.

    >>> ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    >>> found = fingerprint(torch.cat([ramp, 0.8 * ramp, torch.zeros_like(ramp)]))
    >>> bool(found.gradient[0] == found.gradient[1]), found.flat.tolist()
    (True, [False, False, True])

    Args:
        images: uint8, or floating point in [0, 1] (rounded to eight bits), (n, 3, h, w), sides of 8 pixels or more.

    Raises:
        InputError: another shape or type, or values outside the range.
    """
    pixels = eight_bits(images)
    luma = unit_luma(pixels)
    thumbnails = area_means(luma, THUMBNAIL, THUMBNAIL)
    spread = deviation(thumbnails)
    waves, steps = _waves(luma), area_means(luma, 8, 9)
    odd = torch.tensor([1.0, -1.0] * 4, dtype=torch.float64, device=luma.device)
    return Fingerprints(
        frequency=_packed(_frequency_bits(waves)),
        gradient=_packed(_gradient_bits(steps)),
        # Mirroring turns the sign of the odd horizontal frequencies.
        mirrored_frequency=_packed(_frequency_bits(waves * odd)),
        mirrored_gradient=_packed(_gradient_bits(steps.flip(2))),
        thumbnails=(thumbnails * 255).round().to(torch.uint8).cpu().numpy(),
        chroma=_chroma(pixels, luma),
        flat=(spread < FLAT_CONTRAST).cpu().numpy(),
    )


def _waves(luma: Tensor) -> Tensor:
    """Lowest 8 × 8 coefficients of the cosine transform (type II, not normalised) at 32 × 32: (n, 8, 8)."""
    places = torch.arange(32, dtype=torch.float64, device=luma.device) + 0.5
    orders = torch.arange(8, dtype=torch.float64, device=luma.device)
    basis = torch.cos(math.pi / 32 * orders[:, None] * places)
    return basis @ area_means(luma, 32, 32) @ basis.T


def _frequency_bits(waves: Tensor) -> Tensor:
    flat = waves.reshape(len(waves), 64)
    middle = flat[:, 1:].median(1, keepdim=True).values
    # A margin far below any real difference: sums that differ in the last digit must not differ in a bit.
    bits = flat > middle + 1e-9
    bits[:, 0] = False
    return bits


def _gradient_bits(steps: Tensor) -> Tensor:
    least = GRADIENT_DEAD_ZONE * deviation(steps)[:, None, None] + 1e-9
    return (steps.diff(dim=2) > least).reshape(len(steps), 64)


def _packed(bits: Tensor) -> NDArray[np.uint64]:
    """Pack bool (n, 64) into words, the first bit the highest."""
    return np.packbits(bits.cpu().numpy(), axis=1).view(">u8").astype(np.uint64).reshape(-1)


def _chroma(pixels: Tensor, luma: Tensor) -> NDArray[np.int8]:
    """Blue and red difference of BT.601, times 255, over a grid of cells."""
    planes = [
        (area_means(pixels[:, channel].double() / 255 - luma, CHROMA_CELLS, CHROMA_CELLS) / scale)
        for channel, scale in ((2, 1.772), (0, 1.402))
    ]
    # At most half of 255: eight bits with a sign hold it.
    return (torch.stack(planes, 1) * 255).round().clamp(-127, 127).to(torch.int8).cpu().numpy()
