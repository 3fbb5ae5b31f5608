"""Nested parts of a set, balanced by class; which images are synthetic, and what they weigh."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet
from snellen.data.class_balance import first_of_each, mixture_weights, rows_by_class, synthetic
from snellen.data.files.arrays import load_arrays


def labelled(labels, class_names=("cat", "dog", "eel")):
    return load_arrays(np.zeros((len(labels), 8, 8, 3), dtype=np.uint8), labels, class_names=class_names)


@pytest.mark.parametrize("seed", [None, 0, 5])
def test_a_size_begins_with_every_smaller_one_and_has_as_many_of_each_class(seed):
    images = labelled([0, 0, 1, 2, 1, 2, 0, 1, 2, 0])
    sizes = [first_of_each(images, count, seed=seed) for count in (1, 2, 3)]
    if seed is None:
        assert sizes[0].ids == [images.ids[row] for row in (0, 2, 3)], "in the order of the set"
    for small, large in itertools.pairwise(sizes):
        assert large.ids[: len(small)] == small.ids
    for count, part in enumerate(sizes, start=1):
        assert np.bincount(part.labels, minlength=3).tolist() == [count] * 3
        assert len(set(part.ids)) == len(part)


def test_the_order_by_seed_belongs_to_the_ids_and_not_to_the_order_of_the_set():
    images = labelled([0, 0, 0, 0, 1, 1, 1, 1], ("cat", "dog"))
    turned = images.select([7, 6, 5, 4, 3, 2, 1, 0])
    assert first_of_each(images, 3, seed=2).ids == first_of_each(turned, 3, seed=2).ids
    assert first_of_each(images, 3, seed=2).ids != first_of_each(images, 3, seed=3).ids


def test_a_class_with_too_few_images_is_refused_unless_that_is_allowed():
    images = labelled([0, 0, 0, 1, 1, 2])
    with pytest.raises(InputError, match="has 1 images of class 'eel', and 2 of each class were requested"):
        first_of_each(images, 2)
    assert np.bincount(first_of_each(images, 2, allow_fewer=True).labels).tolist() == [2, 2, 1]
    with pytest.raises(InputError, match="at least 1 image of each class; got 0"):
        first_of_each(images, 0)
    with pytest.raises(InputError, match="no labels"):
        rows_by_class(load_arrays(np.zeros((2, 8, 8, 3), dtype=np.uint8)))


def test_synthetic_is_read_off_the_provenance_and_never_off_a_name():
    table = {
        "id": ["synthetic/generated-1.png", "b", "c", "d"],
        "provenance": [None, *(json.dumps({"origin": one}) for one in ("real", "generated", "edited"))],
    }
    columns = {name: pa.array(values, COLUMNS[name]) for name, values in table.items()}
    source = load_arrays(np.zeros((4, 8, 8, 3), dtype=np.uint8)).source
    images = ImageSet(source, pa.table(columns), name="generated")
    assert synthetic(images).tolist() == [False, False, True, True]


@given(made=st.lists(st.booleans(), min_size=1, max_size=30), share=st.floats(0, 1))
def test_weights_split_the_loss_as_requested_and_an_empty_part_adds_nothing(made, share):
    flags = np.array(made)
    weights = mixture_weights(flags, share)
    assert np.isfinite(weights).all()
    assert weights.sum() == pytest.approx(len(flags))
    if flags.all() or not flags.any():
        assert (weights == 1).all()
    else:
        assert weights[~flags].sum() / len(flags) == pytest.approx(share)


def test_without_a_share_every_image_counts_the_same():
    assert mixture_weights(np.array([True, False, False]), None).tolist() == [1, 1, 1]
    with pytest.raises(InputError, match=r"in \[0, 1\]; got 1.5"):
        mixture_weights(np.array([True, False]), 1.5)
