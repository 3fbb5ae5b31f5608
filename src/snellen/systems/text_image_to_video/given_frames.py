"""What a request gives: a text, and any of the frames of its video, as pictures or as files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from snellen.core.errors import InputError, RejectedImageError
from snellen.data.files.decoding import decode

#: What stands for the class in a template.
BLANK = "{}"


@dataclass(frozen=True)
class VideoRequest:
    """One video that is wanted.

    Attributes:
        key: id of the request.
        text: that it shows; empty for any.
        frames: given ones, by their number.
        label: class of what is shown, if the request names it.
        carried: columns that go with every frame: split, group, unit_id.
        source: id of the image that it is made from.
    """

    key: str
    text: str
    frames: Mapping[int, Image.Image] = field(default_factory=dict)
    label: str | None = None
    carried: Mapping[str, str | None] = field(default_factory=dict)
    source: str | None = None


def video_request(row: Mapping[str, Any], *, length: int, template: str | None) -> VideoRequest:
    """Read one request: ``prompt`` or ``caption``, ``image`` (the first frame), ``frames`` (number → image), ``class``.

    Args:
        row: as the list of requests holds it; an image is a picture, or the path of a file.
        length: frames of the video.
        template: text of a request that brings none, ``{}`` for its class; it goes before the caption of an image.

    Raises:
        InputError: a text that is none, a frame that the video does not have, an image that cannot be read, or all
            frames given.
    """
    key, label = str(row.get("id", "")), row.get("class")
    text = _text(row, key, None if label is None else str(label), template)
    given = dict(_listed_frames(row, key))
    if row.get("image") is not None:
        if 0 in given:
            raise InputError(f"request {key!r} gives its first frame twice, as 'image' and in 'frames'")
        given[0] = row["image"]
    wrong = next((number for number in given if not 0 <= number < length), None)
    if wrong is not None:
        raise InputError(f"request {key!r} gives frame {wrong}, and the video has frames 0 to {length - 1}")
    if len(given) == length:
        raise InputError(f"request {key!r} gives all {length} frames, so there is nothing to generate; leave one out")
    return VideoRequest(
        key=key,
        text=text,
        frames={number: _picture(one, key, number) for number, one in sorted(given.items())},
        label=None if label is None else str(label),
        carried={name: row.get(name) for name in ("split", "group", "unit_id")},
        source=key if isinstance(row.get("image"), Image.Image) else None,
    )


def hash_of_frames(request: VideoRequest) -> str:
    """Hash of the given frames (sha256, hex)."""
    digest = hashlib.sha256(request.key.encode())
    for number, picture in request.frames.items():
        digest.update(f" {number} {picture.size} ".encode() + picture.tobytes())
    return digest.hexdigest()


def _text(row: Mapping[str, Any], key: str, label: str | None, template: str | None) -> str:
    text = row.get("prompt")
    if text is None and template is not None:
        if BLANK in template and label is None:
            raise InputError(f"request {key!r} has no class for the {BLANK} of the template {template!r}")
        return template.replace(BLANK, label or "")
    text = row.get("caption", "") if text is None else text
    if not isinstance(text, str):
        raise InputError(f"request {key!r}: a prompt is a text; got {text!r}")
    return text


def _listed_frames(row: Mapping[str, Any], key: str) -> list[tuple[int, Any]]:
    listed = row.get("frames") or {}
    if not isinstance(listed, Mapping):
        raise InputError(
            f"request {key!r}: 'frames' names images by the number of their frame, such as "
            f'{{"0": "first.png", "7": "last.png"}}; got {listed!r}'
        )
    found = []
    for number, one in listed.items():
        if not str(number).isdecimal():
            raise InputError(f"request {key!r}: a frame has a whole number from 0 on; got {number!r}")
        found.append((int(number), one))
    return found


def _picture(given: object, key: str, number: int) -> Image.Image:
    if isinstance(given, Image.Image):
        return given.convert("RGB")
    if not isinstance(given, str | Path) or not str(given):
        raise InputError(f"request {key!r}: frame {number} is the path of an image; got {given!r}")
    try:
        return decode(Path(given).read_bytes())
    except (OSError, ValueError, RejectedImageError) as error:
        raise InputError(f"request {key!r}: frame {number} cannot be read: {error}") from error
