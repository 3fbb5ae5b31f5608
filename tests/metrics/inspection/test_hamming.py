"""Close pairs: both searches against all pairs, for random and for clustered codes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.inspection import fingerprints
from snellen.metrics.inspection.fingerprints import close_pairs, hamming_distances


def clustered(count: int, flips: int, seed: int) -> NDArray[np.uint64]:
    """Codes near a few centres, up to so many bits away."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2, (max(count // 8, 1), 128))
    bits = centres[rng.integers(0, len(centres), count)]
    for row in bits:
        row[rng.choice(128, rng.integers(0, flips + 1), replace=False)] ^= 1
    return np.packbits(bits.astype(np.uint8), axis=1).view(">u8").astype(np.uint64)


def as_set(pairs: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> set[tuple[int, int]]:
    return {pair for rows, columns in pairs for pair in zip(rows.tolist(), columns.tolist(), strict=True)}


def by_definition(first: NDArray[np.uint64], second: NDArray[np.uint64], radius: int) -> set[tuple[int, int]]:
    unpacked = [np.unpackbits(codes.astype(">u8").view(np.uint8), axis=1).astype(int) for codes in (first, second)]
    bits = np.abs(unpacked[0][:, None] - unpacked[1][None]).sum(2)
    return {(int(one), int(two)) for one, two in zip(*np.nonzero(bits <= radius), strict=True)}


@given(st.integers(1, 90), st.integers(1, 60), st.integers(0, 15), st.integers(0, 20), st.integers(0, 1000))
def test_both_searches_find_all_pairs(n: int, m: int, radius: int, flips: int, seed: int) -> None:
    codes = clustered(n + m, flips, seed)
    first, second = codes[:n], codes[n:]
    expected = by_definition(first, second, radius)
    assert as_set(fingerprints._by_bands(first, second, radius, False)) == expected
    assert as_set(fingerprints._by_blocks(first, second, radius, False)) == expected
    within = {pair for pair in by_definition(codes, codes, radius) if pair[0] < pair[1]}
    assert as_set(fingerprints._by_bands(codes, codes, radius, True)) == within
    assert as_set(fingerprints._by_blocks(codes, codes, radius, True)) == within


def test_blocks_and_parts_that_do_not_come_out_even(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = clustered(101, 9, 0)
    expected = {pair for pair in by_definition(codes, codes, 12) if pair[0] < pair[1]}
    monkeypatch.setattr(fingerprints, "BLOCK", (13, 4))
    monkeypatch.setattr(fingerprints, "PAIRS_AT_ONCE", 7)
    assert as_set(fingerprints._by_blocks(codes, codes, 12, True)) == expected
    assert as_set(fingerprints._by_bands(codes, codes, 12, True)) == expected


def test_the_cheaper_search_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    for name in ("_by_bands", "_by_blocks"):
        monkeypatch.setattr(fingerprints, name, lambda *_, name=name: taken.append(name) or iter(()))
    spread = np.random.default_rng(0).integers(0, 2**63, (2000, 2)).astype(np.uint64)
    alike = np.zeros((2000, 2), np.uint64)
    for codes, radius in ((spread, 15), (alike, 15), (spread, 16)):
        list(close_pairs(codes, codes, radius))
    assert taken == ["_by_bands", "_by_blocks", "_by_blocks"]


def test_beyond_the_bands_all_codes_are_compared() -> None:
    codes = clustered(80, 20, 1)
    assert as_set(close_pairs(codes, codes, 30)) == by_definition(codes, codes, 30)
    assert len(as_set(close_pairs(codes, codes, 128))) == 6400


def test_distances_count_bits() -> None:
    ends = np.array([[0, 0], [2**64 - 1, 2**64 - 1]], np.uint64)
    assert hamming_distances(ends[:1], ends).tolist() == [0, 128]


def test_nothing_to_compare() -> None:
    nothing = np.zeros((0, 2), np.uint64)
    assert as_set(close_pairs(nothing, nothing, 15)) == set()
    assert as_set(close_pairs(nothing, np.zeros((3, 2), np.uint64), 20)) == set()


def test_refused() -> None:
    codes = np.zeros((2, 2), np.uint64)
    with pytest.raises(InputError, match="expected codes uint64"):
        list(close_pairs(codes.astype(np.int64), codes, 3))
    with pytest.raises(InputError, match="expected codes uint64"):
        list(close_pairs(codes, codes[:, :1], 3))
    with pytest.raises(InputError, match="between 0 and 128"):
        list(close_pairs(codes, codes, 129))
