"""Label maps: who wrote a pixel last, what a composite leaves as it was, and what a file keeps."""

import numpy as np
import pytest
import torch
from PIL import Image

from snellen.core.errors import InputError, RejectedImageError
from snellen.systems.edited_regions.labels import (
    changed_pixels,
    check_labels,
    composite,
    label_map,
    last_turns,
    read_labels,
    resized_labels,
    soft_mask,
    write_labels,
)


def square(top, left, side, size=12):
    mask = np.zeros((size, size), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


@pytest.mark.covers("22.1")
def test_a_later_turn_overwrites_a_part_of_an_earlier_one():
    first, second = square(0, 0, 6), square(4, 4, 6)
    found = label_map([first, second], [3, 1], (12, 12))
    assert (found[second] == 1).all()
    assert (found[first & ~second] == 3).all()
    assert (found[~(first | second)] == 0).all()
    assert (last_turns([first, second], (12, 12))[second] == 2).all()


@pytest.mark.covers("22.1")
def test_a_later_turn_overwrites_all_of_an_earlier_one():
    small, large = square(3, 3, 2), square(1, 1, 8)
    hidden = label_map([small, large], [2, 5], (12, 12))
    assert set(np.unique(hidden)) == {0, 5}
    shown = label_map([large, small], [5, 2], (12, 12))
    assert (shown[small] == 2).all()
    assert (shown[large & ~small] == 5).all()
    again = label_map([small, large, small], [2, 5, 2], (12, 12))
    assert (again == shown).all(), "the third turn wins over the second"


def test_a_mask_of_another_size_and_a_label_out_of_range_are_refused():
    with pytest.raises(InputError, match=r"turn 2 is bool \(11, 11\)"):
        label_map([square(0, 0, 2), square(0, 0, 2, 11)], [1, 2], (12, 12))
    with pytest.raises(InputError, match="1 to 254"):
        label_map([square(0, 0, 2)], [255], (12, 12))


@pytest.mark.parametrize("border", [0, 1, 2, 4])
def test_pixels_outside_of_the_mask_stay_bit_for_bit(border):
    mask = torch.from_numpy(square(2, 2, 8))
    before, edited = torch.rand(3, 12, 12), torch.rand(3, 12, 12)
    after = composite(before, edited, mask, border)
    assert torch.equal(after[:, ~mask], before[:, ~mask])
    alpha = soft_mask(mask, border)
    assert float(alpha[2, 5]) == pytest.approx(1 / (border + 1))
    if border < 4:
        assert torch.equal(after[:, 5:7, 5:7], edited[:, 5:7, 5:7])


def test_a_mask_at_the_frame_of_the_image_has_no_border_there():
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:4] = True
    assert soft_mask(mask, 2)[0].tolist() == [1.0] * 8


def test_what_changed_outside_of_the_mask_is_measured():
    mask, before = torch.from_numpy(square(2, 2, 6)), torch.zeros(3, 12, 12)
    edited = torch.ones(3, 12, 12)
    assert changed_pixels(before, composite(before, edited, mask, 0), mask).outside == 0
    assert changed_pixels(before, edited, mask).outside == 1


@pytest.mark.covers("22.3")
def test_labels_come_back_from_a_file_as_they_were(tmp_path):
    labels = np.random.default_rng(0).choice(np.array([0, 1, 2, 3, 255], np.uint8), (9, 7))
    write_labels(tmp_path / "a b.png", labels, 3)
    assert (read_labels((tmp_path / "a b.png").read_bytes(), (7, 9), 3, what="x") == labels).all()


@pytest.mark.covers("22.3")
def test_labels_are_resized_without_new_values():
    labels = np.array([[0, 8], [8, 0]], np.uint8).repeat(10, 0).repeat(10, 1)
    for size in ((15, 15), (7, 9), (40, 33)):
        assert set(np.unique(resized_labels(labels, size))) == {0, 8}


@pytest.mark.covers("22.3")
def test_unknown_labels_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds \[4, 9\]"):
        check_labels(np.array([[0, 4, 9, 255]], np.uint8), 3)
    with pytest.raises(InputError, match="expected 0"):
        write_labels(tmp_path / "m.png", np.array([[0, 200]], np.uint8), 3)
    assert not (tmp_path / "m.png").exists()


@pytest.mark.parametrize("kind", ["jpeg", "colour", "size", "text"])
def test_files_that_are_no_label_maps_are_named(tmp_path, kind):
    path = tmp_path / "labels.png"
    if kind == "text":
        path.write_text("no picture")
    else:
        picture = Image.new("RGB" if kind == "colour" else "L", (5, 5) if kind == "size" else (4, 4))
        picture.save(path, "JPEG" if kind == "jpeg" else "PNG")
    with pytest.raises(RejectedImageError, match="labels of z"):
        read_labels(path.read_bytes(), (4, 4), 3, what="labels of z")
