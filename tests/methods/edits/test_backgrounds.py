"""What lies behind an object, and one set of sources for all settings."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.edits.masked_object import lenders, pasted_onto, removed
from snellen.systems.attribute_editing.edited_batch import same_sources


@pytest.fixture(scope="module")
def pictures():
    images = torch.rand(3, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 0.2
    masks = torch.zeros(3, 24, 24, dtype=torch.bool)
    masks[:, 8:14, 8:14] = True
    images[:, :, 7:15, 7:15] = 1.0  # the object, and a ring that its outline colours
    return images, masks


@pytest.mark.parametrize("fill", ["moved", "telea"])
def test_nothing_is_left_of_the_object_and_the_rest_stays(pictures, fill):
    images, masks = pictures
    found = removed(images, masks, fill)
    assert float(found.max()) < 0.3
    outside = torch.ones(24, 24, dtype=torch.bool)
    outside[7:15, 7:15] = False
    assert torch.equal(found[:, :, outside], images[:, :, outside])
    assert float(removed(images, masks, fill, ring=0).max()) == 1.0, "without the ring its outline stays"


def test_masks_of_another_form_are_refused(pictures):
    images, masks = pictures
    with pytest.raises(InputError, match="masks for images"):
        removed(images, masks.float())
    with pytest.raises(InputError, match="masks for images"):
        removed(images, masks[:2])
    assert removed(images[:0], masks[:0]).shape == (0, 3, 24, 24)


def test_lenders_are_of_another_class_and_follow_from_the_id():
    labels = [0, 0, 1, 1, 2, 2]
    ids = list("abcdef")
    found = [lenders(labels, Randomness(seed).for_examples(ids)) for seed in range(20)]
    for rows in found:
        assert all(labels[other] != labels[row] for row, other in enumerate(rows))
    assert {rows[0] for rows in found} == {2, 3, 4, 5}
    assert found[0] == lenders(labels, Randomness(0).for_examples(ids))
    assert lenders([1, 1], Randomness(0)) == [None, None]


@pytest.mark.covers("27.12")
def test_copy_and_paste_is_exact_on_either_side(pictures):
    images, masks = pictures
    backgrounds = torch.rand(3, 3, 24, 24)
    found = pasted_onto(images, masks, backgrounds)
    assert torch.equal(found[:, :, masks[0]], images[:, :, masks[0]])
    assert torch.equal(found[:, :, ~masks[0]], backgrounds[:, :, ~masks[0]])


@pytest.mark.covers("27.7")
def test_an_image_that_fails_one_setting_is_left_out_of_all():
    found = same_sources(
        ["a", "b", "c"],
        {"size_5": ["ok", "too thin", "ok"], "random_position": ["ok", "no place", "ok"], "inver": ["ok", "ok", "bad"]},
    )
    assert found.kept == ("a",)
    assert found.left_out == {
        "b": (("size_5", "too thin"), ("random_position", "no place")),
        "c": (("inver", "bad"),),
    }
    assert same_sources(["a"], {}).kept == ("a",)
