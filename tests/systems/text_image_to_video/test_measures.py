"""Measures of videos, on videos whose motion is known."""

import json

import pytest
import torch

from snellen.core.errors import InputError
from snellen.data.worlds.moving_shapes import MovingShapes
from snellen.systems.text_image_to_video.measures import (
    DIRECTIONS,
    MOST_DECIBELS,
    directions,
    dynamic_degree,
    places,
    psnr,
    steps,
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
    centres = torch.tensor([[one["x"], one["y"]] for one in truth], dtype=torch.float64).view(60, 5, 2)
    off = (places(videos) - centres + 8).remainder(16) - 8
    assert float(off.abs().max()) < 1.5
    over = (centres[:, 1:] - centres[:, :-1]).abs().amax() > 8
    assert bool(over), "some of them cross the edge"


def test_noise_does_not_move_and_neither_does_the_wrong_way(world):
    videos, truth = world
    ways, speeds = directions(videos), torch.tensor([abs(one["dx"]) + abs(one["dy"]) for one in truth[::5]])
    assert torch.allclose(dynamic_degree(videos, ways), speeds.double(), atol=0.3)
    assert torch.allclose(dynamic_degree(videos.flip(1), ways), -speeds.double(), atol=0.3)
    turned = torch.tensor([2, 3, 1, 0])[ways]
    assert float(dynamic_degree(videos, turned).abs().mean()) < 0.1
    noise = torch.rand(600, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert float(steps(noise).norm(dim=-1).mean()) > 3, "its centre jumps"
    assert abs(float(dynamic_degree(noise, ways.repeat(10)).mean())) < 0.6
    assert dynamic_degree(videos, torch.full((60,), -1)).abs().max() == 0


def test_what_lies_still_or_shows_nothing_has_no_direction():
    still = MovingShapes(count=1, frames=2).images().read(0)
    still = torch.tensor(list(still.tobytes()), dtype=torch.float32).view(16, 16, 3).permute(2, 0, 1) / 255
    assert directions(still.expand(1, 4, -1, -1, -1)).tolist() == [-1]
    grey = torch.full((2, 3, 3, 16, 16), 0.5)
    assert bool(places(grey).isnan().all())
    assert directions(grey).tolist() == [-1, -1]
    assert dynamic_degree(grey, torch.tensor([0, 2])).tolist() == [0, 0]
    with pytest.raises(InputError, match="two frames"):
        steps(grey[:, :1])


def test_psnr_by_hand():
    one, other = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.1)
    assert psnr(one, other).tolist() == pytest.approx([20, 20], abs=1e-4)
    assert psnr(one, one).tolist() == [MOST_DECIBELS] * 2
