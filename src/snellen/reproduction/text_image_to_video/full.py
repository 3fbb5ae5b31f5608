"""System 30 at full scale: your videos with captions, 16 frames of 64 pixels, on a GPU.

The paper's data and weights are not public. This trains the same classes of network, 12 blocks of 768 numbers (about
180 million parameters), in pixels, on a manifest of frames: columns path, unit_id (the video), caption, label (the
subject) and split. 150,000 steps of 128 videos for the start and 50,000 for each of three arms are, by the number of
operations, about 7 days of an H100 for each seed in bfloat16, with 40 GiB of its memory for 16 videos at once. The
frames of all training videos lie in main memory, 200 kB for each video. These are estimates, and nobody has run it.
Motion of ordinary videos has no direction in words, so its claims are of the small scale.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.data.references import load_images
from snellen.systems.text_image_to_video.architecture import VideoArchitecture
from snellen.systems.text_image_to_video.fitting import VideoTraining
from snellen.systems.text_image_to_video.video_model import SampleSettings
from snellen.systems.text_image_to_video.videos import Videos, read_videos

#: Manifest of frames.
DATA = "SNELLEN_CAPTIONED_VIDEOS"


def full_size() -> tuple[VideoArchitecture, VideoTraining, VideoTraining, SampleSettings]:
    """Network, training from text, training of an arm, and sampling, with what is known of the published numbers."""
    network = VideoArchitecture(
        frames=16,
        side=64,
        patch=4,
        width=768,
        blocks=12,
        heads=12,
        text_blocks=4,
        head="velocity",
        rotary="falling",
        query_scale=False,
    )
    base = VideoTraining(
        image_steps=50_000,
        text_steps=100_000,
        joint_steps=0,
        unmasked_steps=0,
        batch_size=16,
        accumulate=8,
        mixed_precision="bf16",
        learning_rate=2e-4,
        mask_ratio=0.5,
        error_of="velocity",
        density="logit_normal",
        shift=1,
        ema_decay=0.9999,
        checkpoint_every=1000,
    )
    arm = base.model_copy(update={"image_steps": 0, "text_steps": 0, "joint_steps": 40_000, "unmasked_steps": 10_000})
    return network, base, arm, SampleSettings(steps=50, shift=1, scale=7.5)


def full_material(network: VideoArchitecture, progress: Progress) -> tuple[Videos, Videos, tuple[Tensor, Tensor]]:
    """Training and test videos, and the subject of each.

    Raises:
        InputError: the variable is not set, or a split or a label is missing.
    """
    if not os.environ.get(DATA):
        raise InputError(
            f"the full experiment needs {DATA}: a manifest of frames with the columns path, unit_id (the video), "
            f"caption, label and split (train, test)"
        )
    images = load_images(os.environ[DATA])
    splits = images.column("split")
    parts = []
    for name in ("train", "test"):
        rows = [row for row, split in enumerate(splits) if split == name]
        if not rows:
            raise InputError(f"{images.name} has no frames of the split {name!r}")
        parts.append(images.select(rows))
    found = [read_videos(part, frames=network.frames, side=network.side, progress=progress) for part in parts]
    labels = [_labels(part, videos) for part, videos in zip(parts, found, strict=True)]
    return found[0], found[1], (labels[0], labels[1])


def _labels(images: ImageSet, videos: Videos) -> Tensor:
    labels = torch.from_numpy(images.labels[list(videos.rows)].copy()).long()
    if bool((labels < 0).any()):
        raise InputError(f"{images.name}: video {videos.ids[int((labels < 0).nonzero()[0])]!r} has no label")
    return labels
