"""Pairs of codes that differ in few bits: exact, in memory that grows with the number of codes, not of pairs.

Codes of 128 bits are cut into eight bands of 16. Two codes that differ in at most 15 bits agree up to one bit in some
band (pigeonhole; Norouzi, Punjani and Fleet, "Fast search in Hamming space with multi-index hashing", CVPR 2012), so
sorted bands give all pairs without comparing all codes. Where codes are so alike that the bands hold most of them, all
are compared, block by block; the pairs are the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError

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
