"""A text changes what moves where: four videos of one start, learned by heart."""

import dataclasses

import pytest
import torch

from snellen.data.worlds.moving_shapes import MovingShapes
from snellen.systems.text_image_to_video.architecture import VideoArchitecture
from snellen.systems.text_image_to_video.fitting import VideoTraining, fit_video_model
from snellen.systems.text_image_to_video.measures import directions
from snellen.systems.text_image_to_video.video_model import SampleSettings, VideoModel, lineage_of
from snellen.systems.text_image_to_video.videos import read_videos, vocabulary_of

FRAMES, STEPS = 2, ((0, -1), (0, 1), (-1, 0), (1, 0))
TEXTS = tuple(f"a red square moves {way}" for way in ("left", "right", "up", "down"))
TRAINING = VideoTraining(
    image_steps=0, text_steps=0, joint_steps=200, unmasked_steps=0, batch_size=8, mask_ratio=0.0, learning_rate=1e-2,
    text_dropout=0.0, image_dropout=0.0, ema_decay=0.9,
)  # fmt: skip


@pytest.fixture(scope="module")
def four():
    """One first frame, and a video for each direction, two pixels of eight a frame."""
    world = MovingShapes(count=1, frames=1, size=8, shapes=("square",), colours=("red",), grounds=("black",))
    one = read_videos(world.images(split="train"), frames=1, side=8)
    rows = [
        [one.pixels[0, 0].roll((2 * k * down, 2 * k * right), (1, 2)) for k in range(FRAMES)] for down, right in STEPS
    ]
    pixels = torch.stack([torch.stack(row) for row in rows])
    return dataclasses.replace(one, pixels=pixels, captions=TEXTS, ids=tuple("abcd"), rows=(0, 1, 2, 3))


def trained(four, **changes):
    words, longest = vocabulary_of(four.captions)
    network = VideoArchitecture(
        **{
            "frames": FRAMES,
            "side": 8,
            "patch": 2,
            "width": 32,
            "heads": 2,
            "blocks": 2,
            "text_blocks": 1,
            "words": words,
            "longest": longest,
        }
        | changes
    )
    found = fit_video_model(four, network, TRAINING, seed=0)
    return VideoModel(found.network, lineage_of(TRAINING, found.data, 0))


@pytest.fixture(scope="module")
def model(four):
    return trained(four)


def made(model, four, texts):
    given = (four.pixels / 255).repeat(2, 1, 1, 1, 1)
    mask = torch.zeros(8, FRAMES, dtype=torch.bool)
    mask[:, 0] = True
    settings = SampleSettings(steps=8, scale=1.0)
    return model.generate(list(texts) * 2, list(range(8)), given=given, replaced=mask, settings=settings)


def test_one_image_moves_as_each_text_says(model, four):
    way = torch.tensor([0, 1, 2, 3] * 2)
    assert int((directions(made(model, four, TEXTS)) == way).sum()) >= 7, "chance is 2 of 8"
    turned = directions(made(model, four, (*TEXTS[1:], TEXTS[0])))
    assert int((turned == way.roll(-1)).sum()) >= 7
    assert int((turned == way).sum()) <= 1, "the same image and noise, another text"
