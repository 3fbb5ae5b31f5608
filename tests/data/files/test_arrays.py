"""Arrays as images: types and shapes that are taken, refused, or could be read in two ways."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError, RejectedImageError
from snellen.data.files.arrays import load_arrays
from snellen.data.files.labels import label_columns, numbered_class_names

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 8, 6, 3)).astype(np.uint8)
GREY = RNG.integers(0, 256, (5, 8, 6)).astype(np.uint8)


def test_colour_grey_and_channels_first_are_the_same_images() -> None:
    images = load_arrays(COLOUR)
    assert images.ids == ["000000", "000001", "000002", "000003", "000004"]
    assert images.class_names is None
    for index in range(5):
        assert np.array_equal(np.asarray(images.read(index)), COLOUR[index])
    first = load_arrays(np.ascontiguousarray(COLOUR.transpose(0, 3, 1, 2)))
    tensor = load_arrays(torch.from_numpy(COLOUR).permute(0, 3, 1, 2))
    assert images.fingerprint() == first.fingerprint() == tensor.fingerprint()
    grey = np.asarray(load_arrays(GREY).read(2))
    assert (grey == GREY[2][..., None]).all()


def test_sixteen_bit_grey_is_scaled_from_its_range() -> None:
    values = np.array([[[0, 2048, 4095, 1]]], dtype=np.uint16)
    assert np.asarray(load_arrays(values, grey_range=(0, 4095)).read(0))[0, :, 0].tolist() == [0, 128, 255, 0]
    with pytest.raises(RejectedImageError, match="outside the declared range"):
        load_arrays(values, grey_range=(0, 4000)).read(0)


def test_labels_of_every_kind() -> None:
    for labels in ([3, 0, -1, 1, 1], np.array([[3], [0], [-1], [1], [1]]), torch.tensor([3, 0, -1, 1, 1])):
        images = load_arrays(COLOUR, labels)
        assert images.labels.tolist() == [3, 0, -1, 1, 1]
        assert images.class_names == ("0", "1", "2", "3")
    named = load_arrays(COLOUR, [0, 1, 0, 1, 0], class_names=["cat", "dog", "bird"], name="pets")
    assert (named.class_names, named.name) == (("cat", "dog", "bird"), "pets")
    several = load_arrays(COLOUR, np.eye(5, 4, dtype=np.uint8))
    assert several.class_names == ("0", "1", "2", "3")
    assert several.column("labels")[1] == [0, 1, 0, 0]


def test_the_caller_cannot_change_the_set_through_it() -> None:
    images = load_arrays(COLOUR.copy())
    with pytest.raises(ValueError, match="read-only"):
        images.source.images[0] = 0  # type: ignore[attr-defined]


def test_content_hash_tells_values_types_and_shapes_apart() -> None:
    changed = GREY.copy()
    changed[2, 7, 5] ^= 1
    images, other = load_arrays(GREY, [0, 1, 0, 1, 0]), load_arrays(changed, [0, 1, 0, 1, 0])
    assert [images.content_hash(i) == other.content_hash(i) for i in range(5)] == [True, True, False, True, True]
    assert images.fingerprint() != other.fingerprint()
    assert images.fingerprint() != load_arrays(GREY, [0, 1, 1, 1, 0]).fingerprint()
    flat = load_arrays(GREY.reshape(5, 6, 8))
    assert flat.content_hash(0) != images.content_hash(0)
    assert load_arrays(GREY.astype(np.uint16)).content_hash(0) != images.content_hash(0)


REFUSED = {
    "floats": (
        np.zeros((2, 8, 8), np.float32),
        r"float32 \(2, 8, 8\);.*value_range=\(0, 1\).* would change them silently",
    ),
    "half floats": (torch.zeros(2, 3, 8, 8, dtype=torch.bfloat16), "pass bytes"),
    "wide integers": (np.zeros((2, 8, 8), np.int64), "expected uint8 or uint16"),
    "bits": (np.zeros((2, 8, 8), bool), "expected uint8"),
    "one colour image": (np.zeros((8, 8, 3), np.uint8), r"single colour image as images\[None\]"),
    "one colour image, channels first": (np.zeros((3, 8, 8), np.uint8), "or a single colour image"),
    "one grey image": (np.zeros((8, 8), np.uint8), r"expected \(n, h, w\)"),
    "two readings": (np.zeros((2, 3, 8, 3), np.uint8), "either axis may be the channels"),
    "alpha": (np.zeros((2, 8, 8, 4), np.uint8), "alpha channel"),
    "no images": (np.zeros((0, 8, 8), np.uint8), "holds no pixels"),
    "no pixels": (np.zeros((2, 0, 8), np.uint8), "holds no pixels"),
    "videos": (np.zeros((2, 4, 8, 8, 3), np.uint8), r"expected \(n, h, w\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_what_came_and_what_was_expected(case: str) -> None:
    images, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        load_arrays(images)


def test_labels_tell_three_grey_images_from_one_colour_image() -> None:
    images = load_arrays(np.zeros((3, 8, 8), np.uint8), [0, 1, 2])
    assert (len(images), images.read(0).size) == (3, (8, 8))
    assert load_arrays(np.zeros((8, 8, 3), np.uint8), [0] * 8).read(0).size == (3, 8)


LABELS_REFUSED = {
    "too few": ([0, 1], "2 labels for 5 images"),
    "floats": ([0.0] * 5, r"must be integers .* got float64 \(5,\)"),
    "below -1": ([0, 0, 0, 0, -2], "-2 is no class"),
    "an identifier": ([0, 0, 0, 0, 2_000_000_000], "more than 100000; are these identifiers"),
    "beyond int64": (np.array([0, 0, 0, 0, 2**64 - 1], np.uint64), "more than 100000"),
    "several, not bits": (np.full((5, 3), 2), "0 or 1 for each class, −1 where unknown; got 2 for image 0"),
    "several, none": (np.zeros((5, 0), int), "no class at all"),
    "three axes": (np.zeros((5, 1, 1), int), "must be integers of shape"),
}


@pytest.mark.parametrize("case", LABELS_REFUSED)
def test_labels_refused(case: str) -> None:
    labels, message = LABELS_REFUSED[case]
    with pytest.raises(InputError, match=message):
        load_arrays(COLOUR, labels)  # type: ignore[arg-type]


def test_labels_must_fit_the_class_names() -> None:
    with pytest.raises(InputError, match="class 2 is out of range for 2 class names"):
        load_arrays(COLOUR, [0, 1, 2, 0, 0], class_names=["cat", "dog"])
    with pytest.raises(InputError, match="3 values for each image, but 2 class names"):
        load_arrays(COLOUR, np.zeros((5, 3), int), class_names=["cat", "dog"])


def test_no_label_known() -> None:
    columns, names = label_columns(np.array([-1, -1]), 2, what="labels")
    assert columns["label"].to_pylist() == [None, None]
    assert names == () == numbered_class_names(0)
