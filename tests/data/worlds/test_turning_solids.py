"""Videos of solids that turn: frames, captions and the true direction."""

import json

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.data.references import load_images
from snellen.data.worlds.solids.turning_solids import SIGNS, TURNS, TurningSolids
from snellen.data.worlds.viewpoints import camera_to_world
from snellen.systems.text_image_to_video.videos import read_videos


def test_a_reference_gives_videos_with_captions_that_a_model_reads():
    images = load_images("optotypes:turning_solids?objects=1&classes=mug,car&frames=3&size=16#train")
    videos = read_videos(images, frames=3, side=16)
    assert videos.pixels.shape == (2, 3, 3, 16, 16)
    for caption, name in zip(videos.captions, ("mug", "car"), strict=True):
        words = caption.split()
        assert words[:3] == ["a", name, "turns"]
        assert (words[3] in SIGNS, words[4] in TURNS) == (True, True)
    changes = videos.pixels.float().diff(dim=1).abs().mean((2, 3, 4))
    assert (changes > 0.5).all(), "every frame differs from the one before"


def test_the_azimuth_turns_evenly_and_nothing_else_moves():
    images = TurningSolids(objects=3, classes=("chair",), frames=12, size=16).images()
    rows = [json.loads(text) for text in images.column("attributes")]
    for first in range(0, len(rows), 12):
        video, words = rows[first : first + 12], images.column("caption")[first].split()
        steps = np.diff([row["azimuth"] for row in video])
        steps = (steps + 180) % 360 - 180
        assert steps == pytest.approx([SIGNS[words[3]] * TURNS[words[4]]] * 11, abs=1e-3)
        assert len({(row["roll"], row["elevation"], row["distance"]) for row in video}) == 1
        assert len({images.column("group")[row] for row in range(first, first + 12)}) == 1


def test_left_is_where_the_facing_side_moves():
    """A point of the object that faces the camera, seen by the camera of the next frame."""
    before = torch.tensor([[0.0, 20.0, 10.0, 4.0, 0.0, 0.0]], dtype=torch.float64)
    facing = 0.5 * camera_to_world(before)[0, :3, 3] / 4
    for direction, sign in SIGNS.items():
        after = before.clone()
        after[0, 1] += sign * TURNS["slowly"]
        pose = camera_to_world(after)[0]
        across = float((torch.linalg.inv(pose) @ torch.cat([facing, torch.ones(1, dtype=facing.dtype)]))[0])
        assert (across < 0) == (direction == "left")


def test_a_video_stays_what_it_is_when_objects_are_added_and_values_occur_once():
    few, many = (TurningSolids(objects=n, classes=("mug",), frames=2, size=16).images() for n in (1, 3))
    assert np.array_equal(np.asarray(few.read(1)), np.asarray(many.read(1)))
    assert few.column("caption") == many.column("caption")[:2]
    with pytest.raises(InputError, match="directions must differ"):
        TurningSolids(directions=("left", "left"))
