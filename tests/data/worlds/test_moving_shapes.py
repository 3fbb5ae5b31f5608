"""Moving shapes: truth, captions, and that a video depends on its number alone."""

import itertools
import json

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.data.references import load_images
from snellen.data.worlds.moving_shapes import COLOURS, STEPS, MovingShapes


def pixels(images, row):
    return np.asarray(images.read(row)).astype(int)


def test_captions_labels_and_truth_agree():
    images = load_images("optotypes:moving_shapes?count=30&frames=3&shapes=star,ring#train")
    assert (len(images), images.class_names, images.split) == (90, ("star", "ring"), "train")
    for row in range(0, 90, 3):
        truth = [json.loads(text) for text in images.column("attributes")[row : row + 3]]
        words = images.column("caption")[row].split()
        assert words[:2] == ["a", truth[0]["colour"]]
        assert words[2] == images.class_names[images.labels[row]]
        assert words[3:6] == ["moves", truth[0]["direction"], truth[0]["speed"]]
        assert words[7] == images.column("group")[row]
        assert len({images.column("unit_id")[row + frame] for frame in range(3)}) == 1
        for before, after in itertools.pairwise(truth):
            moved = [(after[axis] - before[axis] + 8) % 16 - 8 for axis in "xy"]
            assert moved == pytest.approx([truth[0]["dx"], truth[0]["dy"]], abs=1e-3)
        assert tuple(np.sign([truth[0]["dx"], truth[0]["dy"]])) == STEPS[truth[0]["direction"]]


def test_the_shape_has_its_colour_at_its_place():
    images = MovingShapes(count=20, frames=2, size=32, shapes=("circle",)).images()
    for row in range(40):
        truth = json.loads(images.column("attributes")[row])
        seen = pixels(images, row)[int(truth["y"]) % 32, int(truth["x"]) % 32]
        assert seen.tolist() == pytest.approx([255 * value for value in COLOURS[truth["colour"]]], abs=2)


def test_a_video_depends_on_its_number_and_splits_share_none():
    few, many = (MovingShapes(count=count, frames=2).images() for count in (2, 5))
    assert few.ids == many.ids[:4]
    assert all(np.array_equal(pixels(few, row), pixels(many, row)) for row in range(4))
    other = MovingShapes(count=2, frames=2).images(split="train")
    assert not any(np.array_equal(pixels(few, row), pixels(other, row)) for row in range(4))


def test_the_place_says_nothing_about_the_direction():
    images = MovingShapes(count=600, frames=1).images()
    truth = [json.loads(text) for text in images.column("attributes")]
    for direction in STEPS:
        left = [one["x"] < 8 for one in truth if one["direction"] == direction]
        assert 0.4 < np.mean(left) < 0.6


def test_refused():
    with pytest.raises(InputError, match="colours must differ"):
        MovingShapes(colours=("red", "red"))
    with pytest.raises(InputError):
        MovingShapes(shapes=("blob",))
