"""Fingerprints: against scipy and by hand, equal for any batch, steady under small changes, mirrored as mirrored."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.metrics.inspection.fingerprints import Fingerprints, fingerprint, hamming_distances, pixel_hashes
from snellen.metrics.inspection.properties import area_means, eight_bits, unit_luma
from tests.metrics.inspection.planted import KINDS, pictures, planted

IMAGES = pictures(40)
PARTS = (
    "frequency",
    "gradient",
    "mirrored_frequency",
    "mirrored_gradient",
    "thumbnails",
    "chroma",
    "flat",
)


def assert_equal(first: Fingerprints, second: Fingerprints) -> None:
    for name in PARTS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def test_frequency_bits_against_scipy() -> None:
    fft = pytest.importorskip("scipy.fft")
    luma = unit_luma(IMAGES).numpy()
    small = luma.reshape(40, 32, 2, 32, 2).mean((2, 4))
    waves = fft.dctn(small, axes=(1, 2))[:, :8, :8].reshape(40, 64)
    bits = waves > np.median(waves[:, 1:], axis=1, keepdims=True)
    bits[:, 0] = False
    expected = [int("".join("01"[bit] for bit in row.astype(int)), 2) for row in bits]
    assert fingerprint(IMAGES).frequency.tolist() == expected


def test_gradient_bits_by_hand() -> None:
    ramp = torch.linspace(0, 1, 36).expand(1, 3, 16, 36)
    found = fingerprint(torch.cat([ramp, ramp.flip(3)]))
    assert found.gradient.tolist() == [2**64 - 1, 0]
    assert found.mirrored_gradient.tolist() == [0, 2**64 - 1]


def test_areas_against_blocks_and_torch() -> None:
    planes = torch.rand(2, 12, 20, dtype=torch.float64)
    blocks = planes.reshape(2, 4, 3, 5, 4).mean((2, 4))
    torch.testing.assert_close(area_means(planes, 4, 5), blocks)
    # Cells that cut pixels: the same as blocks of each pixel repeated often enough to be whole.
    fine = planes.repeat_interleave(7, 1).repeat_interleave(3, 2)
    torch.testing.assert_close(area_means(planes, 7, 3), fine.reshape(2, 7, 12, 3, 20).mean((2, 4)))


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (31, 17), (224, 180)])
def test_any_batch_size_gives_the_same(size: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (9, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = fingerprint(images)
    assert_equal(
        whole, Fingerprints.joined([fingerprint(images[:2]), fingerprint(images[2:3]), fingerprint(images[3:])])
    )
    assert pixel_hashes(images) == pixel_hashes(images[:4]) + pixel_hashes(images[4:])


def test_floating_point_images_are_those_in_eight_bits() -> None:
    assert_equal(fingerprint(IMAGES), fingerprint(IMAGES.float() / 255))
    assert_equal(fingerprint(IMAGES), fingerprint(IMAGES.double() / 255))
    assert pixel_hashes(IMAGES) == pixel_hashes(IMAGES.float() / 255)


def test_mirrored_is_the_fingerprint_of_the_mirror_image() -> None:
    found = fingerprint(IMAGES)
    mirrored = fingerprint(IMAGES.flip(3))
    assert_equal(found.mirrored(), mirrored)
    assert_equal(found, mirrored.mirrored())


def test_hashes_tell_pixels_and_shapes_apart() -> None:
    image = IMAGES[:1]
    again = image.clone()
    again[0, 2, 63, 63] ^= 1
    hashes = {*pixel_hashes(image), *pixel_hashes(again), *pixel_hashes(image.reshape(1, 3, 32, 128))}
    assert len(hashes) == 3
    expected = hashlib.sha256(b"3x64x64:" + image[0].numpy().tobytes()).hexdigest()
    assert pixel_hashes(image) == (expected,)
    assert pixel_hashes(image.contiguous(memory_format=torch.channels_last)) == (expected,)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mirrored"])
def test_small_changes_turn_few_bits(kind: str) -> None:
    changed = fingerprint(planted(IMAGES, kind, np.arange(40)))
    bits = hamming_distances(fingerprint(IMAGES).codes, changed.codes)
    assert np.quantile(bits, 0.9) <= 15
    unlike = hamming_distances(fingerprint(IMAGES).codes[1:], changed.codes[:-1])
    assert unlike.min() > 20


def test_flat_images_are_reported() -> None:
    images = torch.full((4, 3, 28, 28), 128, dtype=torch.uint8)
    images[1, :, ::2] += 1  # less than a thumbnail can show
    images[2, :, :14] += 2
    images[3, :, :14] += 40
    assert fingerprint(images).flat.tolist() == [True, True, True, False]


def test_colour_is_kept_and_grey_has_none() -> None:
    assert not fingerprint(IMAGES[:, :1].expand(-1, 3, -1, -1)).chroma.any()
    blue = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    blue[:, 2] = 255
    assert (fingerprint(blue).chroma[0, 0] == 127).all()  # half of 255, rounded into eight bits with a sign
    assert (fingerprint(blue).chroma[0, 1] < 0).all()


def test_no_images() -> None:
    nothing = IMAGES[:0]
    assert len(fingerprint(nothing)) == 0
    assert pixel_hashes(nothing) == ()


def test_selection() -> None:
    found = fingerprint(IMAGES)
    assert_equal(found.select(np.array([3, 1])), fingerprint(IMAGES[[3, 1]]))


REFUSED = [
    (torch.zeros(3, 8, 8), r"expected images \(n, 3, h, w\), got \(3, 8, 8\)"),
    (torch.zeros(1, 1, 8, 8), "repeat a grey channel"),
    (torch.zeros(1, 3, 7, 8), "7 × 8 pixels are too small"),
    (torch.zeros(1, 3, 8, 8, dtype=torch.int64), "uint8 or floating point"),
    (torch.full((1, 3, 8, 8), 1.5), r"must lie in \[0, 1\]"),
    (torch.full((1, 3, 8, 8), float("nan")), r"must lie in \[0, 1\]"),
]


@pytest.mark.parametrize(("images", "message"), REFUSED)
def test_refused(images: torch.Tensor, message: str) -> None:
    for call in (eight_bits, fingerprint, pixel_hashes):
        with pytest.raises(InputError, match=message):
            call(images)


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="at least one part"):
        Fingerprints.joined([])
    found = fingerprint(IMAGES)
    values = {name: getattr(found, name) for name in PARTS}
    with pytest.raises(InputError, match="one row per image"):
        Fingerprints(**{**values, "flat": found.flat[1:]})
