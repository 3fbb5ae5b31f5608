"""``snellen generate text-image-to-video``: short videos from texts, and from images that are frames of them.

The first frame of a video may be an image of your test set: the frames are a manifest with the class of that image, so
that a classifier can be measured on what follows. The video model is a folder; where it is missing and videos are
named, it is trained first, once, and a stopped training resumes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from pydantic import Field, PrivateAttr
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Provenance
from snellen.core.method import Method
from snellen.core.preprocessing import to_image
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.files.held_images import held_set
from snellen.methods.generation.made_images import seeds_of
from snellen.runs.safe_names import file_names
from snellen.runs.whole_file import whole_file
from snellen.systems.text_image_to_video.architecture import VideoArchitecture
from snellen.systems.text_image_to_video.films import film_sheet, write_mp4, write_webp
from snellen.systems.text_image_to_video.fitting import VideoTraining
from snellen.systems.text_image_to_video.given_frames import VideoRequest, hash_of_frames, video_request
from snellen.systems.text_image_to_video.pretrained import SCHEME, AnyVideoModel
from snellen.systems.text_image_to_video.trained_folder import ready
from snellen.systems.text_image_to_video.video_model import SampleSettings
from snellen.systems.text_image_to_video.videos import square

#: The sheet, and the folder of videos.
SHEET, FOLDER = "films.png", "videos"


class TextImageToVideo(SampleSettings, Method):
    """Make a short video of a text, of a first image, or of any given frames (STIV, Z. Lin et al. 2024)."""

    name: ClassVar[str] = "text_image_to_video"

    model: str = Field(
        "",
        description="folder of the video model, trained and written there where it is missing; or diffusers:FOLDER of "
        "Wan 2.2 TI2V",
    )
    videos: str = Field(
        "", description="videos to train a missing model on: images by reference, with unit_id for the video"
    )
    network: VideoArchitecture | None = Field(None, description="numbers of a new model; its words are the captions'")
    training: VideoTraining | None = Field(None, description="numbers of its training")
    frames: int | None = Field(None, ge=1, description="of each video; none: as in training")
    template: str | None = Field(
        None, description="text of requests that bring no prompt; {} stands for the class of the image"
    )
    mp4: bool = Field(False, description="also write each video as MP4 (extra opencv)")

    _given: list[str] = PrivateAttr(default_factory=list)
    _resized: int = PrivateAttr(default=0)

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say what is not given, or None."""
        if not self.model:
            return "needs the folder of a video model, which it may train: --model FOLDER"
        if not self._there() and not self.videos:
            return f"needs videos to train the model {self.model} on, which is not there: --videos REFERENCE"
        return None

    def check(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Refuse requests that cannot be fulfilled, as far as that is known before the model is trained.

        Raises:
            InputError: as :func:`~snellen.systems.text_image_to_video.given_frames.video_request`.
            UnknownNameError: a word that the model does not know.
        """
        found = ready(self) if self._there() else None
        length = self.frames or (found or self.network or VideoArchitecture()).frames
        for row in rows:
            listed = row.get("frames")
            given = [row.get("image"), *(listed.values() if isinstance(listed, Mapping) else ())]
            if any(isinstance(one, Image.Image) for one in given):
                raise InputError(
                    f"request {row.get('id')!r}: in a list of requests an image is the path of a file, so that the "
                    f"same call can be resumed; save it first, or request an image set"
                )
        self._given[:] = [hash_of_frames(self._request(row, length, found)) for row in rows]
        seeds_of(rows, "video", Randomness(0))

    def make_ready(self, progress: Progress | None = None) -> None:
        """Load the model, or train it."""
        self._resized = 0
        ready(self, progress)

    def generate(self, requests: Sequence[Mapping[str, Any]], *, rng: Randomness) -> ImageSet:
        """The frames of a video for each request, from ``ID/000`` on.

        Columns: unit_id (that of the request, else its id), caption, the class of the request as label, and
        ``attributes`` with the video, the number of the frame, whether it was given, and ``resized`` where it had
        another size.

        Raises:
            InputError: as :meth:`check`.
        """
        model = ready(self)
        length, side = self.frames or model.frames, model.side
        wanted = [self._request(row, length, model) for row in requests]
        given = torch.zeros(len(wanted), length, 3, side, side)
        replaced = torch.zeros(len(wanted), length, dtype=torch.bool)
        for row, request in enumerate(wanted):
            for number, picture in request.frames.items():
                given[row, number], replaced[row, number] = square(side)(picture), True
        seeds = seeds_of(requests, "video", rng)
        made = model.generate(
            [one.text for one in wanted], seeds, given=given, replaced=replaced, settings=self, frames=length
        )
        return _frames_of(made, replaced, wanted, seeds, self)

    def join(self, frames: ImageSet, folder: Path) -> Sequence[str]:
        """Write each video as a file, and a sheet of the first ones; returns the sheet's name."""
        rows: dict[str, list[int]] = {}
        known = [json.loads(str(text)) for text in frames.column("attributes")]
        self._resized = sum("resized" in one for one in known)
        for row, one in enumerate(known):
            rows.setdefault(one["video"], []).append(row)
        names, shown, texts = file_names(list(rows), ""), list[Tensor](), list[str]()
        for name, members in zip(names, rows.values(), strict=True):
            video = torch.stack([square_bytes(frames, row) for row in members])
            write_webp(folder / FOLDER / f"{name}.webp", video)
            if self.mp4:
                write_mp4(folder / FOLDER / f"{name}.mp4", video)
            if len(shown) < 12:
                shown.append(video)
                texts.append(str(frames.column("caption")[members[0]] or ""))
        with whole_file(folder / SHEET) as stream:
            film_sheet("videos", shown, texts).save(stream, "PNG")
        return [SHEET]

    def notes(self) -> tuple[str, ...]:
        """Where the videos are, and what was done to given images."""
        side = ready(self).side
        resized = f"{self._resized} given images were cut and scaled to {side}x{side} pixels"
        return (f"videos are in the folder {FOLDER!r}", *((resized,) if self._resized else ()))

    def identities(self) -> dict[str, str]:
        """Hashes of the model's weights, and of the images that a list of requests names."""
        given = hashlib.sha256(" ".join(self._given).encode()).hexdigest() if self._given else ""
        return {"video model": ready(self).identity, **({"given frames": given} if given else {})}

    def _there(self) -> bool:
        """Whether the model need not be trained."""
        return self.model.startswith(SCHEME) or (Path(self.model) / "card.json").is_file()

    def _request(self, row: Mapping[str, Any], length: int, model: AnyVideoModel | None) -> VideoRequest:
        request = video_request(row, length=length, template=self.template)
        if model is not None:
            model.check_texts([request.text])
        return request


def square_bytes(frames: ImageSet, row: int) -> Tensor:
    """One frame as uint8 (3, h, w)."""
    picture = frames.read(row)
    return square(picture.height).pixels(picture)


def _frames_of(
    made: Tensor, replaced: Tensor, wanted: Sequence[VideoRequest], seeds: Sequence[int], method: TextImageToVideo
) -> ImageSet:
    """Frames as an image set: videos (n, F, 3, h, w) in [0, 1]."""
    length = made.shape[1]
    pixels = (made * 255).round().to(torch.uint8)
    rows = [(video, frame) for video in range(len(wanted)) for frame in range(length)]
    side = made.shape[-1]
    known = []
    for v, f in rows:
        other = f in wanted[v].frames and wanted[v].frames[f].size != (side, side)
        known.append(
            {"video": wanted[v].key, "frame": f, "given": bool(replaced[v, f]), **({"resized": True} if other else {})}
        )
    origins = [
        Provenance(
            origin="generated",
            generator=f"video model {Path(method.model).name}",
            prompt=wanted[v].text or None,
            seed=seeds[v],
            source_id=wanted[v].source,
            guidance_scale=method.scale,
        ).model_dump_json(exclude_none=True)
        for v, _ in rows
    ]
    columns: dict[str, Sequence[object]] = {
        "unit_id": [wanted[v].carried.get("unit_id") or wanted[v].key for v, _ in rows],
        "caption": [wanted[v].text for v, _ in rows],
        "attributes": [json.dumps(row) for row in known],
        "provenance": origins,
    }
    for name in ("split", "group"):
        values = [wanted[v].carried.get(name) for v, _ in rows]
        columns |= {name: values} if any(value is not None for value in values) else {}
    return held_set(
        [to_image(pixels[v, f]) for v, f in rows],
        [f"{wanted[v].key}/{f:03d}" for v, f in rows],
        name=f"{method.name} by {method.model}",
        classes=[wanted[v].label for v, _ in rows],
        columns=dict(columns),
    )
