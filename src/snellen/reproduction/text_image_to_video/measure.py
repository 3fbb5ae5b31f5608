"""A video model of solids that turn: docs/measured/turning-solids.json, and its picture.

    python scripts/measure.py text_image_to_video

The model is trained by the default recipe where ``build/turning-solids-video`` does not hold it: four minutes of an
idle core, resumed after a stop. It sees 1,600 videos of cars, chairs, houses and mugs. Others of their kind are test
objects, whose first frame and caption it gets.

The judge needs no network. The renderer turns each test object left and right from the same first frame. A generated
video goes the way whose true video is nearest, and a copy of the first frame stands for no motion: chance is a third.
Written before the model was trained: more than half of the videos turn as their caption says, with true captions and
with opposite ones. Without a caption fewer do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.run import write_atomically
from snellen.data.worlds.solids.assemblies import SolidClass
from snellen.data.worlds.solids.turning_solids import Turn, TurningSolids
from snellen.metrics.intervals import wilson
from snellen.reproduction.shared.documents import Measurements, measured_path, picture_path
from snellen.reproduction.text_image_to_video.experiment import SMALL
from snellen.runs.picture_grid import picture_grid
from snellen.systems.text_image_to_video.measures import psnr
from snellen.systems.text_image_to_video.method import TextImageToVideo
from snellen.systems.text_image_to_video.trained_folder import ready
from snellen.systems.text_image_to_video.videos import Videos, read_videos

#: What it is trained on.
VIDEOS = "optotypes:turning_solids?classes=car,chair,house,mug&objects=400&frames=5&size=16&speeds=fast#train"

CLASSES: tuple[SolidClass, ...] = ("car", "chair", "house", "mug")

#: Where videos may go, as the judge numbers them: the two ways, and not at all.
WAYS: tuple[Turn, ...] = ("left", "right")


def measure_turning(root: Path, progress: Progress, *, objects: int = 24) -> None:
    """Which way generated videos turn, with true, opposite and no captions."""
    model = ready(TextImageToVideo(model=str(root / "build" / "turning-solids-video"), videos=VIDEOS), progress)
    truth = {way: _videos(objects, way) for way in WAYS}
    real = torch.stack([to_unit(truth[way].pixels) for way in WAYS])  # (2, n, F, 3, h, w)
    count = real.shape[1]
    # Both ways of each object begin with the same frame, so that half of the objects get each way as their truth.
    true_way = torch.arange(count) % 2
    true = real[true_way, torch.arange(count)]
    replaced = torch.zeros(true.shape[:2], dtype=torch.bool)
    replaced[:, 0] = True
    kinds = [text.split()[1] for text in truth["left"].captions]
    captions = {
        "true": [truth[WAYS[way]].captions[row] for row, way in enumerate(true_way.tolist())],
        "opposite": [truth[WAYS[1 - way]].captions[row] for row, way in enumerate(true_way.tolist())],
        "none": [""] * count,
    }
    named = {"true": true_way, "opposite": 1 - true_way, "none": true_way}
    made = {
        name: model.generate(texts, list(range(count)), given=true, replaced=replaced, settings=SMALL.sampling)
        for name, texts in captions.items()
    }
    found: dict[str, object] = {"videos": VIDEOS, "objects": count, "steps": SMALL.sampling.steps}
    for name, videos in made.items():
        way = judged(videos, real)
        hits = way == named[name]
        found[name] = {
            **_share(hits),
            "still": float((way == len(WAYS)).double().mean()),
            "by_class": {kind: _share(hits[[one == kind for one in kinds]]) for kind in CLASSES},
        }
    still = true[:, :1].expand_as(true)
    found["decibels"] = {
        f"frame {frame}": {
            "generated": float(psnr(made["true"][:, frame], true[:, frame]).mean()),
            "copy of frame 0": float(psnr(still[:, frame], true[:, frame]).mean()),
        }
        for frame in (1, true.shape[1] - 1)
    }
    write_atomically(measured_path(root, "turning-solids"), (json.dumps(found, indent=1) + "\n").encode())
    _draw(picture_path(root, "turning-solids"), true, made, captions, [kinds.index(kind) for kind in CLASSES])


def judged(videos: Tensor, real: Tensor) -> Tensor:
    """Which way videos go: the index of the nearest true one, and their number where a still one is as near.

    Args:
        videos: (n, F, 3, h, w) in [0, 1].
        real: the true videos of each way, (k, n, F, 3, h, w), which share their first frame.

    >>> real = torch.zeros(2, 1, 2, 3, 4, 4)
    >>> real[0, :, 1, :, :, 0], real[1, :, 1, :, :, 3] = 1.0, 1.0
    >>> [int(judged(one, real)) for one in (real[0], real[1], torch.zeros(1, 2, 3, 4, 4))]
    [0, 1, 2]
    """
    still = real[:1, :, :1].expand_as(real[:1])
    errors = (torch.cat([real, still]) - videos)[:, :, 1:].square().flatten(2).mean(2)
    return errors.argmin(0)


def _videos(objects: int, way: Turn) -> Videos:
    """Test objects of the world that all turn one way; their first frames are those of the other way."""
    world = TurningSolids(
        classes=CLASSES, objects=objects, frames=SMALL.network.frames, size=16, directions=(way,), speeds=("fast",)
    )
    return read_videos(world.images(split="test"), frames=SMALL.network.frames, side=SMALL.network.side)


def _share(hits: Tensor) -> dict[str, float]:
    low, high = wilson(int(hits.sum()), len(hits))
    return {"named_way": float(hits.double().mean()), "low": low, "high": high}


def _draw(
    target: Path, true: Tensor, made: Mapping[str, Tensor], captions: Mapping[str, Sequence[str]], rows: Sequence[int]
) -> None:
    """A contact sheet: of one object of each class the true video, and those of both captions."""
    shown = []
    for row in rows:
        for title, videos in ((f"true: {captions['true'][row]}", true), *((captions[n][row], made[n]) for n in made)):
            if videos is not made["none"]:
                shown.append((list((videos[row] * 255).round().byte()), title))
    heads = [f"frame {number}" for number in range(true.shape[1])]
    picture_grid("Turning solids: frame 0 is given, and a caption", heads, shown).save(target, "WEBP", lossless=True)


MEASUREMENTS: Measurements = {"turning": measure_turning}
