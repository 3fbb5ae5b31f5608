"""The picture of system 30: true videos, and what each way of giving the first frame makes of it.

It trains arms of one seed of the small experiment, about six minutes of a core.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from snellen.core.images import Split
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Silent
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.text_image_to_video.experiment import (
    ARMS,
    SMALL,
    Experiment,
    small_world,
    subjects_of,
    turned_caption,
)
from snellen.runs.picture_grid import picture_grid
from snellen.systems.text_image_to_video.fitting import fit_video_model
from snellen.systems.text_image_to_video.video_model import VideoModel, lineage_of
from snellen.systems.text_image_to_video.videos import Videos, read_videos

#: Seed of no record, and the test videos that are shown, side by side.
SEED, SHOWN = 0, 2

#: Arms that are trained, and what a reader calls them.
TRAINED = {"replacement": "frame replacement", "cross_attention": "attention to the image"}


def grid(rows: Mapping[str, Tensor]) -> Image.Image:
    """A row for each set of videos (n, F, 3, h, w) in [0, 1], their frames one after the other."""
    frames = next(iter(rows.values())).shape[1]
    heads = [f"frame {number}" for number in range(frames)] * SHOWN
    shown = [(list((videos[:SHOWN] * 255).round().byte().flatten(0, 1)), text) for text, videos in rows.items()]
    return picture_grid("Videos of an image and a text, two of each kind", heads, shown)


def draw(root: Path, target: Path) -> None:
    """Train and draw."""
    frames, side = SMALL.network.frames, SMALL.network.side

    def videos(split: Split, count: int) -> Videos:
        return read_videos(small_world(count, frames, SEED).images(split=split), frames=frames, side=side)

    train, test = videos("train", SMALL.train), videos("test", SMALL.test)
    experiment = Experiment(train, test, (subjects_of(train), subjects_of(test)), SMALL, SEED, Silent())
    real, captions = to_unit(test.pixels)[:SHOWN], test.captions[:SHOWN]
    turned = [turned_caption(one) for one in captions]
    base = fit_video_model(train, experiment.network, SMALL.base, seed=SEED, progress=Silent()).network
    rows = {f"true: {'; '.join(captions)}": real}
    for arm, called in TRAINED.items():
        changes, numbers = ARMS[arm]
        training = SMALL.arm.model_copy(update=numbers)
        own = experiment.network.model_copy(update=changes)
        fitted = fit_video_model(train, own, training, seed=SEED, start=base.state_dict(), progress=Silent())
        model = VideoModel(fitted.network, lineage_of(training, fitted.data, SEED), name=arm)
        rows[f"{called}, the same captions"] = generated(model, captions, real, given=True)
        if arm == "replacement":
            rows[f"{called}, other captions: {'; '.join(turned)}"] = generated(model, turned, real, given=True)
            rows["the same network, from the captions alone"] = generated(model, captions, real, given=False)
    grid(rows).save(target, "WEBP", lossless=True)


def generated(model: VideoModel, captions: list[str] | tuple[str, ...], real: Tensor, *, given: bool) -> Tensor:
    """Videos of captions, with the first real frame or with none."""
    replaced = torch.zeros(real.shape[:2], dtype=torch.bool)
    replaced[:, 0] = given
    seeds = list(range(len(captions)))
    return model.generate(list(captions), seeds, given=real, replaced=replaced, settings=SMALL.sampling)


PICTURES: Pictures = {"text-image-to-video": draw}
