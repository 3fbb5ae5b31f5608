"""Videos as they lie in an image set: the images of one unit are the frames of one video."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress, Silent
from snellen.systems.text_image_to_video.architecture import VideoArchitecture, tokens_of, words_of
from snellen.training.batches import ImageStore

_TASK = "read videos"


@dataclass(frozen=True, eq=False)
class Videos:
    """Videos of one length and size in memory.

    Attributes:
        pixels: uint8 (n, F, 3, h, w).
        captions: what each shows; empty where nothing is known.
        ids: of the units.
        rows: of the first frame of each in the image set.
        rejected: videos that cannot be used, unit → reason.
    """

    pixels: Tensor
    captions: tuple[str, ...]
    ids: tuple[str, ...]
    rows: tuple[int, ...]
    rejected: Mapping[str, str] = field(default_factory=dict)

    def store(self, architecture: VideoArchitecture) -> ImageStore:
        """Examples of a training; a model of images gets one frame of each, another one for each video in turn."""
        tokens, pixels = tokens_of(list(self.captions), architecture), self.pixels
        if architecture.frames == 1:
            turns = torch.arange(len(pixels)) % pixels.shape[1]
            pixels = pixels[torch.arange(len(pixels)), turns][:, None]
        return ImageStore.of_tensors(pixels, tokens, ids=self.ids)


def square(side: int) -> Preprocessing:
    """The shorter edge scaled to a side, and the middle cut out."""
    return Preprocessing(size=(side, side), resize="shorter", resize_to=(side, side))


def vocabulary_of(captions: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """The words of captions, sorted, and the number of words of the longest; no caption at all gives one word, ``a``.

    >>> vocabulary_of(("a red star", "a ring"))
    (('a', 'red', 'ring', 'star'), 3)
    """
    rows = [words_of(caption) for caption in captions]
    return tuple(sorted({word for row in rows for word in row}) or ("a",)), max([1, *(len(row) for row in rows)])


def read_videos(images: ImageSet, *, frames: int, side: int, progress: Progress | None = None) -> Videos:
    """Read the first frames of each unit, in the order of ``frame`` in ``attributes``, else in that of the rows.

    Args:
        images: with ``unit_id``, and captions if there are any.
        frames: F; longer videos are cut, shorter ones are left out.
        side: height and width, pixels: the middle of each frame.
        progress: callback that receives progress updates.

    Raises:
        InputError: no units, or no video of that length that can be read.
    """
    units = images.column("unit_id")
    if all(unit is None for unit in units):
        raise InputError(
            f"{images.name} does not say which images belong to one video: give a manifest with the column unit_id"
        )
    members: dict[str, list[int]] = {}
    for row, unit in enumerate(units):
        if unit is not None:
            members.setdefault(str(unit), []).append(row)
    order, captions = _numbers(images), images.column("caption")
    preparation, listener = square(side), progress or Silent()
    pixels, kept, rejected = list[Tensor](), dict[str, int](), dict[str, str]()
    listener.begin(_TASK, len(members))
    for unit, rows in members.items():
        listener.advance(_TASK, 1)
        rows.sort(key=lambda row: order[row])
        if len(rows) < frames:
            rejected[unit] = f"{len(rows)} frames, {frames} are needed"
            continue
        try:
            pixels.append(torch.stack([preparation.pixels(images.read(row)) for row in rows[:frames]]))
        except RejectedImageError as error:
            rejected[unit] = str(error)
            continue
        kept[unit] = rows[0]
    listener.finish(_TASK)
    if not pixels:
        first = next(iter(rejected.items()), ("", "no unit"))
        raise InputError(f"none of the {len(members)} videos of {images.name} can be used: {first[0]}: {first[1]}")
    return Videos(
        pixels=torch.stack(pixels),
        captions=tuple(str(captions[row] or "") for row in kept.values()),
        ids=tuple(kept),
        rows=tuple(kept.values()),
        rejected=rejected,
    )


def _numbers(images: ImageSet) -> list[tuple[float, int]]:
    """What frames are sorted by: their number if their attributes say it, then their row."""
    found = []
    for row, text in enumerate(images.column("attributes")):
        try:
            known = json.loads(str(text or "{}"))
            number = float(known.get("frame", 0)) if isinstance(known, dict) else 0.0
        except (TypeError, ValueError):
            number = 0.0
        found.append((number, row))
    return found
