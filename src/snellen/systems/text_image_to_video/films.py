"""Videos as files for people: animated WebP, MP4, and a sheet with a film in each row."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from snellen.core.errors import UnwritableError, import_extra
from snellen.runs.picture_grid import picture_grid
from snellen.runs.thumbnails import thumbnail
from snellen.runs.whole_file import whole_file

#: Frames of a second.
RATE = 8

#: Films on the sheet, and frames of each.
_FILMS, _FRAMES = 12, 12


def write_webp(path: Path, frames: Tensor) -> None:
    """Write a video without loss, small ones enlarged; the same frames give the same bytes.

    Args:
        path: of the file, ``….webp``.
        frames: uint8 (F, 3, h, w).
    """
    pictures = [thumbnail(frame) for frame in frames]
    stream = io.BytesIO()
    pictures[0].save(
        stream,
        "WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=1000 // RATE,
        loop=0,
        lossless=True,
    )
    with whole_file(path) as file:
        file.write(stream.getvalue())


def write_mp4(path: Path, frames: Tensor) -> None:
    """Write a video for programs that read no WebP, small ones enlarged.

    Raises:
        MissingExtraError: OpenCV is not installed.
        UnwritableError: OpenCV cannot write such files here.
    """
    cv2 = import_extra("cv2", "opencv", "a video as MP4")
    pictures = [np.asarray(thumbnail(frame))[..., ::-1] for frame in frames]
    height, width = (size - size % 2 for size in pictures[0].shape[:2])
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), RATE, (width, height))
    if not writer.isOpened():
        raise UnwritableError(f"{path}: OpenCV writes no MP4 here; leave --mp4 out, the WebP files hold the same")
    for picture in pictures:
        writer.write(np.ascontiguousarray(picture[:height, :width]))
    writer.release()


def film_sheet(title: str, videos: Sequence[Tensor], texts: Sequence[str]) -> Image.Image:
    """The first films, one in each row, with what each should show.

    Args:
        title: above them.
        videos: uint8 (F, 3, h, w), of one length.
        texts: one for each.
    """
    length = videos[0].shape[0]
    chosen = sorted({round(k * (length - 1) / max(1, min(length, _FRAMES) - 1)) for k in range(min(length, _FRAMES))})
    heads = [f"frame {number}" for number in chosen]
    rows = [
        ([video[number] for number in chosen], text or "no text")
        for video, text in zip(videos[:_FILMS], texts, strict=False)
    ]
    return picture_grid(title, heads, rows)
