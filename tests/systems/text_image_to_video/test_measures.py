"""Measures of videos, on videos whose motion is known."""

import json
import math

import pytest
import torch

from snellen.core.errors import InputError
from snellen.data.worlds.moving_shapes import COLOURS, MovingShapes
from snellen.systems.text_image_to_video.measures import (
    DIRECTIONS,
    MOST_DECIBELS,
    directions,
    dynamic_degree,
    mean_colours,
    places,
    psnr,
    steps,
    subject_consistency,
)
from snellen.systems.text_image_to_video.videos import read_videos


@pytest.fixture(scope="module")
def world():
    images = MovingShapes(count=60, frames=5).images()
    found = read_videos(images, frames=5, side=16)
    return found.pixels.float() / 255, [json.loads(text) for text in images.column("attributes")]


def test_motion_is_that_of_the_truth_also_over_the_edge(world):
    videos, truth = world
    known = [truth[video * 5] for video in range(60)]
    wanted = torch.tensor([[one["dx"], one["dy"]] for one in known], dtype=torch.float64)
    assert float((steps(videos) - wanted[:, None]).abs().max()) < 0.5
    assert float((steps(videos).mean(dim=1) - wanted).abs().max()) < 0.2
    assert [DIRECTIONS[k] for k in directions(videos).tolist()] == [one["direction"] for one in known]
    assert torch.allclose(dynamic_degree(videos), wanted.norm(dim=1), atol=0.3)
    centres = torch.tensor([[one["x"], one["y"]] for one in truth], dtype=torch.float64).view(60, 5, 2)
    off = (places(videos) - centres + 8).remainder(16) - 8
    assert float(off.abs().max()) < 1.5
    over = (centres[:, 1:] - centres[:, :-1]).abs().amax() > 8
    assert bool(over), "some of them cross the edge"


def test_the_colour_is_found(world):
    videos, truth = world
    palette = torch.tensor(list(COLOURS.values()))
    found = (mean_colours(videos)[:, None] - palette).square().sum(-1).argmin(-1)
    assert [list(COLOURS)[k] for k in found.tolist()] == [truth[video * 5]["colour"] for video in range(60)]


def test_what_lies_still_or_shows_nothing_has_no_direction():
    still = MovingShapes(count=1, frames=2).images().read(0)
    still = torch.tensor(list(still.tobytes()), dtype=torch.float32).view(16, 16, 3).permute(2, 0, 1) / 255
    assert directions(still.expand(1, 4, -1, -1, -1)).tolist() == [-1]
    grey = torch.full((2, 3, 3, 16, 16), 0.5)
    assert bool(places(grey).isnan().all())
    assert directions(grey).tolist() == [-1, -1]
    assert dynamic_degree(grey).tolist() == [0, 0]
    with pytest.raises(InputError, match="two frames"):
        steps(grey[:, :1])


def test_psnr_and_consistency_by_hand():
    one, other = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.1)
    assert psnr(one, other).tolist() == pytest.approx([20, 20], abs=1e-4)
    assert psnr(one, one).tolist() == [MOST_DECIBELS] * 2
    features = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]]])
    assert float(subject_consistency(features)) == pytest.approx(math.sqrt(0.5))
