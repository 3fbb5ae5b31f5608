"""Size, place and direction, each changed alone."""

import math

import pytest
import torch

from snellen.core.errors import InputError, RejectedImageError
from snellen.systems.attribute_editing.editing import TOLERANCE, full_sized, placed, sized, turned
from snellen.systems.attribute_editing.object_layer import ObjectLayer, resampled, shifted

SIDE = 48


def layer(form, seed=0):
    """An object of a form on a noisy picture."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    masks = {
        "box": (rows >= 14) & (rows < 30) & (columns >= 20) & (columns < 34),
        "disc": (rows - 23) ** 2 + (columns - 26) ** 2 <= 81,
        "wedge": (rows >= 12) & (rows < 34) & (columns - 10 <= rows - 6) & (columns >= 12),
        "ring": ((rows - 22) ** 2 + (columns - 22) ** 2 <= 121) & ((rows - 22) ** 2 + (columns - 22) ** 2 >= 36),
    }
    image = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    return ObjectLayer(image, masks[form])


FORMS = ["box", "disc", "wedge", "ring"]


def distance(one, other):
    return math.dist(one.centre, other.centre)


@pytest.mark.covers("27.3")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.03, 0.05, 0.08, 0.1, 0.16])
def test_a_size_is_reached_and_the_centre_stays(form, share):
    before = layer(form)
    after = sized(before, share)
    assert abs(after.share - share) <= 2 / SIDE
    assert abs(after.share - share) <= TOLERANCE
    assert distance(before, after) <= 1


@pytest.mark.covers("27.3")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("degrees", [-45, -20, 10, 45])
def test_a_direction_keeps_centre_and_size(form, degrees):
    before = layer(form)
    after = turned(before, degrees)
    assert distance(before, after) <= 1
    assert abs(after.share - before.share) <= TOLERANCE


@pytest.mark.covers("27.3")
@pytest.mark.parametrize("form", FORMS)
def test_a_place_keeps_every_pixel(form):
    before = layer(form)
    top, left, bottom, right = before.box
    seen = set()
    for down, across in ((0.0, 0.0), (0.999, 0.999), (0.5, 0.2)):
        after = placed(before, down, across)
        box = after.box
        seen.add(box[:2])
        own, moved = before.mask[top:bottom, left:right], after.mask[box[0] : box[2], box[1] : box[3]]
        assert torch.equal(own, moved)
        pixels = before.image[:, top:bottom, left:right][:, own]
        assert torch.equal(pixels, after.image[:, box[0] : box[2], box[1] : box[3]][:, moved])
    assert (0, 0) in seen
    assert (SIDE - (bottom - top), SIDE - (right - left)) in seen
    assert len(seen) == 3


def test_places_are_uniform_over_all_that_fit():
    before = layer("box")
    rooms = SIDE - 16 + 1
    tops = [placed(before, (number + 0.5) / rooms, 0.0).box[0] for number in range(rooms)]
    assert tops == list(range(rooms))


def test_full_reaches_from_edge_to_edge_and_larger_sizes_become_it():
    for form in FORMS:
        after = full_sized(layer(form))
        top, left, bottom, right = after.box
        assert max(bottom - top, right - left) >= SIDE - 1
        assert torch.equal(sized(layer(form), 0.99).mask, after.mask)


def test_a_turn_is_clockwise():
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    pole = ObjectLayer(torch.rand(3, SIDE, SIDE), (columns >= 22) & (columns < 26) & (rows >= 12) & (rows < 36))
    top = turned(pole, 30).mask.nonzero()[0]
    assert top[1] > 26, "the upper end goes to the right"


def test_only_the_objects_own_colours_are_mixed():
    """A white object on black: no grey at the outline, whatever the scale."""
    before = layer("disc")
    white = ObjectLayer(before.mask[None].expand(3, -1, -1).float(), before.mask)
    for after in (sized(white, 0.03), sized(white, 0.2), turned(white, 33)):
        torch.testing.assert_close(after.image[:, after.mask], torch.ones(3, int(after.mask.sum())))


def test_a_smaller_object_has_the_mean_of_its_pixels():
    """Stripes of one pixel become grey and not one of the two."""
    before = layer("box")
    stripes = ObjectLayer((torch.arange(SIDE) % 2).float().expand(3, SIDE, SIDE).clone(), before.mask)
    after = resampled(stripes, 0.25, 0.0)
    assert float((after.image[0, after.mask] - 0.5).abs().max()) < 0.2


@pytest.mark.covers("27.9")
def test_masks_stay_binary_and_scale_by_the_nearest_pixel():
    before = layer("ring")
    double = resampled(before, 2.0, 0.0)
    assert double.mask.dtype == torch.bool
    assert int(double.mask.sum()) == 4 * int(before.mask.sum())
    assert not double.mask[tuple(round(one) for one in double.centre)], "the hole stays a hole"


def test_what_would_leave_the_image_moves_in_by_as_little_as_it_must():
    before = shifted(layer("box"), -14, 0)  # at the upper edge
    after = sized(before, 2 * before.share)
    assert after.box[0] == 0
    assert abs(after.centre[1] - before.centre[1]) <= 1


def test_parity_leaves_alone_what_is_within_the_published_tolerance():
    before = layer("box")
    assert sized(before, before.share + 0.014, parity=True) is before
    assert sized(before, before.share + 0.014).share != before.share
    assert abs(sized(before, 0.05, parity=True).share - 0.05) <= TOLERANCE


def test_what_cannot_be_done_says_why():
    before = layer("box")
    with pytest.raises(InputError, match="share of the image"):
        sized(before, 0.0)
    everything = ObjectLayer(before.image, torch.ones_like(before.mask))
    with pytest.raises(RejectedImageError, match="no other place"):
        placed(everything, 0.5, 0.5)
    with pytest.raises(RejectedImageError, match="would not fit"):
        turned(everything, 20)
    with pytest.raises(RejectedImageError, match="leave the image"):
        shifted(before, 0, 20)
