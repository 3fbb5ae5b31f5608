"""Generated frames that follow an image, the same image under a pan, and what a classifier decides in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import to_image
from snellen.systems.text_image_to_video.pretrained import AnyVideoModel
from snellen.systems.text_image_to_video.video_model import SampleSettings

#: Frames that are decided together.
TOGETHER = 32


@dataclass(frozen=True, eq=False)
class Watched:
    """What became of decisions, by video and later frame.

    Attributes:
        rows: of the videos in the audited images.
        generated: whether each later frame of the generated video is decided rightly, bool (n, F − 1).
        panned: the same under the known motion of a camera.
        said: class that each generated frame is decided as, (n, F − 1).
        shown: whether the judge finds the class in each generated frame, (n, F − 1); all of them without a judge.
        videos: later frames of the generated ones, uint8 (n, F − 1, 3, h, w).
    """

    rows: NDArray[np.int64]
    generated: NDArray[np.bool_]
    panned: NDArray[np.bool_]
    said: NDArray[np.int64]
    shown: NDArray[np.bool_]
    videos: Tensor

    @property
    def lost(self) -> NDArray[np.float64]:
        """Share of later frames whose right decision is lost in generated motion, less that under the pan, (n,)."""
        return (~self.generated).mean(1) - (~self.panned).mean(1)


def continued(
    model: AnyVideoModel,
    first: Tensor,
    texts: Sequence[str],
    seeds: Sequence[int],
    *,
    frames: int,
    settings: SampleSettings,
) -> Tensor:
    """Videos that begin with the images: (n, 3, h, w) in [0, 1] → (n, frames, 3, h, w)."""
    given = torch.zeros(len(first), frames, *first.shape[1:])
    given[:, 0] = first
    replaced = torch.zeros(len(first), frames, dtype=torch.bool)
    replaced[:, 0] = True
    return model.generate(texts, seeds, given=given, replaced=replaced, settings=settings, frames=frames)


def watched_frames(
    rows: NDArray[np.int64],
    labels: Tensor,
    classifier: Classifier,
    judge: Classifier | None,
    generated: Tensor,
    moved: Tensor,
) -> Watched:
    """Decide both kinds of videos of images whose first frame is decided rightly.

    Args:
        rows: of the images, (n,).
        labels: of the images, int64 (n,).
        classifier: the one that is examined.
        judge: another one; frames that it loses count as kept in both.
        generated: videos in [0, 1], (n, F, 3, h, w).
        moved: the same images under a pan.
    """
    truth = labels[:, None]
    made, shown = ((each[:, 1:] * 255).round().to(torch.uint8) for each in (generated, moved))
    said, seen = decided(classifier, made), decided(classifier, shown)
    lost, fell, kept = said != truth, seen != truth, torch.ones_like(said, dtype=torch.bool)
    if judge is not None:
        kept = decided(judge, made) == truth
        lost, fell = lost & kept, fell & (decided(judge, shown) == truth)
    return Watched(rows, (~lost).numpy(), (~fell).numpy(), said.numpy(), kept.numpy(), made)


def panned(images: Tensor, ways: Tensor, frames: int, pan: float) -> Tensor:
    """Images (n, 3, h, w) as a camera moves over them: (n, frames, 3, h, w), the first as it is, edges mirrored.

    Args:
        images: float.
        ways: direction of each, (n,), in turns of [0, 1).
        frames: of each video.
        pan: share of the width that the camera moves from frame to frame.
    """
    angles = ways.to(images) * math.tau
    unmoved = torch.eye(2, 3).to(images).repeat(len(images), 1, 1)
    found = [images]
    for frame in range(1, frames):
        moved = unmoved.clone()
        # half a grid is the width: coordinates run from −1 to 1
        moved[:, 0, 2], moved[:, 1, 2] = 2 * pan * frame * angles.cos(), 2 * pan * frame * angles.sin()
        grid = F.affine_grid(moved, list(images.shape), align_corners=False)
        found.append(F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False))
    return torch.stack(found, 1).clamp(0, 1)


@torch.no_grad()
def decided(classifier: Classifier, frames: Tensor) -> Tensor:
    """Class of each frame, prepared as the classifier prepares an image: uint8 (n, F, 3, h, w) → int64 (n, F)."""
    flat = frames.flatten(0, 1)
    scores = [
        classifier(torch.stack([classifier.prepare(to_image(frame)) for frame in part]).to(classifier.device))
        for part in flat.split(TOGETHER)
    ]
    return torch.cat(scores).argmax(1).cpu().view(frames.shape[:2])


def joined(parts: Sequence[Watched], length: int) -> Watched:
    """One after the other; none where there are no parts, of videos with so many frames."""
    if not parts:
        none, pixels = np.zeros((0, length - 1), dtype=np.bool_), torch.zeros(0, length - 1, 3, 1, 1)
        return Watched(np.zeros(0, np.int64), none, none, none.astype(np.int64), none, pixels)
    return Watched(
        np.concatenate([one.rows for one in parts]),
        np.concatenate([one.generated for one in parts]),
        np.concatenate([one.panned for one in parts]),
        np.concatenate([one.said for one in parts]),
        np.concatenate([one.shown for one in parts]),
        torch.cat([one.videos for one in parts]),
    )
