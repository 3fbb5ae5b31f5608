"""Fingerprints of images, exact ones and robust ones that small changes hardly move, and pairs that differ in few bits.

Codes of 128 bits are cut into eight bands of 16. Two codes that differ in at most 15 bits agree up to one bit in some
band (pigeonhole; Norouzi, Punjani and Fleet, "Fast search in Hamming space with multi-index hashing", CVPR 2012), so
sorted bands give all pairs without comparing all codes. Where codes are so alike that the bands hold most of them, all
are compared, block by block; the pairs are the same.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.deep_picture import pixel_bytes
from snellen.core.errors import InputError
from snellen.metrics.inspection.properties import area_means, deviation, eight_bits, refuse_other_than_images, unit_luma

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
    """SHA-256 of shape and pixels of each image, in hexadecimal: equal exactly when the pixels are.

    >>> first, second = pixel_hashes(torch.zeros(2, 3, 8, 8))
    >>> first == second, len(first)
    (True, 64)

    Args:
        images: uint8, or floating point in [0, 1], (n, 3, h, w): whole bytes are hashed as such, others as 16 bits.

    Raises:
        InputError: another shape or type, or values outside the range.
    """
    refuse_other_than_images(images)
    shape = "x".join(map(str, images.shape[1:])).encode() + b":"
    return tuple(hashlib.sha256(shape + image).hexdigest() for image in pixel_bytes(images))


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


#: Pairs that are compared at a time, about 10 MB in all: more would leave the cache.
PAIRS_AT_ONCE = 200_000

#: Time of a pair found through bands over that of a pair in a block, measured; decides between the two.
BAND_COST = 26.0

#: Pairs up to which blocks are compared sooner than anybody could count what bands would save.
FEW_PAIRS = 1_000_000

#: Columns and rows of a block: half a megabyte, which stays in the cache.
BLOCK = 4096, 16

BANDS, BAND_BITS = 8, 16

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def hamming_distances(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Bits in which codes differ: uint64 (…, 2) twice → int64 (…).

    >>> hamming_distances(np.array([[7, 0]], np.uint64), np.array([[0, 1]], np.uint64)).tolist()
    [4]
    """
    bits = np.bitwise_count(first[..., 0] ^ second[..., 0]) + np.bitwise_count(first[..., 1] ^ second[..., 1])
    return bits.astype(np.int64)


def close_pairs(
    first: NDArray[np.uint64], second: NDArray[np.uint64], radius: int, *, distinct: bool = False
) -> Iterator[Pairs]:
    """Yield all pairs of a code of the first and a code of the second that differ in at most ``radius`` bits.

    A pair may come more than once; the order of the pairs is not defined, the set of them is.

    >>> codes = np.array([[0, 0], [1, 0], [255, 255]], np.uint64)
    >>> [(rows.tolist(), columns.tolist()) for rows, columns in close_pairs(codes, codes, 3, distinct=True)]
    [([0], [1])]

    Args:
        first: uint64 (n, 2).
        second: uint64 (m, 2).
        radius: bits, 0 to 128; above 15 all codes are compared.
        distinct: only pairs with the first position below the second, for codes of one set.

    Yields:
        Positions in the first and in the second, int64 (p,) each, at most a few million at a time.

    Raises:
        InputError: codes of another shape or type, or a radius outside the range.
    """
    for codes in (first, second):
        if codes.ndim != 2 or codes.shape[1] != 2 or codes.dtype != np.uint64:
            raise InputError(f"expected codes uint64 (n, 2), got {codes.dtype} {codes.shape}")
    if not 0 <= radius <= 128:
        raise InputError(f"a radius lies between 0 and 128 bits, got {radius}")
    many = len(first) * len(second) > FEW_PAIRS
    tries = _tries(first, second) if many and radius < 2 * BANDS else None
    if tries is not None and BAND_COST * tries < len(first) * len(second):
        yield from _by_bands(first, second, radius, distinct)
    else:
        yield from _by_blocks(first, second, radius, distinct)


def _by_blocks(first: NDArray[np.uint64], second: NDArray[np.uint64], radius: int, distinct: bool) -> Iterator[Pairs]:
    columns, rows = BLOCK
    for left in range(0, len(second), columns):
        one, two = np.ascontiguousarray(second[left : left + columns].T)
        shape = rows, len(one)
        differing, bits = np.empty(shape, np.uint64), np.empty(shape, np.uint8)
        more, close = np.empty(shape, np.uint8), np.empty(shape, bool)
        for top in range(0, min(left + columns, len(first)) if distinct else len(first), rows):
            block = first[top : top + rows]
            used = slice(len(block))
            np.bitwise_count(np.bitwise_xor(block[:, :1], one, out=differing[used]), out=bits[used])
            np.bitwise_count(np.bitwise_xor(block[:, 1:], two, out=differing[used]), out=more[used])
            np.less_equal(np.add(bits[used], more[used], out=bits[used]), radius, out=close[used])
            found = np.flatnonzero(close[used])  # in one axis: twice as fast as in two
            if len(found):
                above, beside = np.divmod(found, len(one))
                yield from _kept(above + top, beside + left, distinct)


def _by_bands(first: NDArray[np.uint64], second: NDArray[np.uint64], radius: int, distinct: bool) -> Iterator[Pairs]:
    for band in range(BANDS):
        left, right = _band(first, band), _band(second, band)
        # In the order of their keys, neighbouring rows look into neighbouring ranges, which stay in the cache.
        above, below = np.argsort(left, kind="stable"), np.argsort(right, kind="stable")
        upper, lower = first[above], second[below]
        counts = np.bincount(right, minlength=1 << BAND_BITS)
        begins = np.cumsum(counts) - counts
        for mask in _masks(radius):
            keys = left[above] ^ mask
            for rows, places in _expanded(begins[keys], counts[keys]):
                close = np.flatnonzero(hamming_distances(upper[rows], lower[places]) <= radius)
                yield from _kept(above[rows[close]], below[places[close]], distinct)


def _kept(rows: NDArray[np.int64], columns: NDArray[np.int64], distinct: bool) -> Iterator[Pairs]:
    if distinct:
        ordered = rows < columns
        rows, columns = rows[ordered], columns[ordered]
    if len(rows):
        yield rows, columns


def _expanded(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> Iterator[Pairs]:
    """Turn ranges into pairs of row and place, some ranges at a time."""
    totals = np.cumsum(counts)
    row = 0
    while row < len(counts):
        before = int(totals[row - 1]) if row else 0
        stop = max(int(np.searchsorted(totals, before + PAIRS_AT_ONCE, side="right")), row + 1)
        part = counts[row:stop]
        rows = np.repeat(np.arange(row, stop), part)
        shift = starts[row:stop] - (np.cumsum(part) - part)
        yield rows, np.arange(len(rows)) + np.repeat(shift, part)
        row = stop


def _tries(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> int:
    """How many pairs agree up to one bit in a band, summed over the bands."""
    total = 0
    for band in range(BANDS):
        left, right = (np.bincount(_band(codes, band), minlength=1 << BAND_BITS) for codes in (first, second))
        for mask in _masks(2 * BANDS - 1):
            total += int(left @ right[np.arange(1 << BAND_BITS) ^ mask])
    return total


def _masks(radius: int) -> list[int]:
    """Differences within a band that must be tried: none, and single bits once the radius exceeds 7."""
    return [0] + ([1 << bit for bit in range(BAND_BITS)] if radius >= BANDS else [])


def _band(codes: NDArray[np.uint64], band: int) -> NDArray[np.int64]:
    word, place = divmod(band, 4)
    return (codes[:, word] >> np.uint64(BAND_BITS * place)).astype(np.int64) & ((1 << BAND_BITS) - 1)
