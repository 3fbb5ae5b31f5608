"""Cut-outs on backgrounds, with the exact coverage of each as its mask."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from snellen.core.errors import RejectedImageError
from snellen.data.files.catalogue.alpha_decoding import decode_with_alpha
from snellen.data.files.catalogue.backgrounds import Background
from snellen.data.files.catalogue.placement import Box, Placement
from snellen.data.files.decoding import DecodingLimits

#: Cut-outs are small; a picture of more pixels is refused before it is decoded.
CUTOUT_LIMITS = DecodingLimits(max_bytes=32 * 2**20, max_pixels=16_000_000)

_FILTER = Image.Resampling.BICUBIC


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a cut-out comes from and where it goes.

    Args:
        original: width and height of its file, pixels.
        crop: the part of the file that is not fully transparent.
        frame: where that part goes.
        box: what is at least half covered, in the frame; None where nothing is.
    """

    original: tuple[int, int]
    crop: Box
    frame: Box
    box: Box | None


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Places of all cut-outs; reasons of those that cannot be used, by number."""

    places: tuple[Place | None, ...]
    refused: dict[int, str] = field(default_factory=dict)


def survey(
    content: Callable[[int], bytes],
    object_ids: Sequence[str],
    placement: Placement,
    *,
    limits: DecodingLimits = CUTOUT_LIMITS,
) -> Survey:
    """Decode every cut-out once, to know where it goes: about 10 ms each, one in memory at a time.

    Args:
        content: bytes of the file of a cut-out, by number; may raise RejectedImageError.
        object_ids: what size and position are drawn for.
        placement: frame, size and position.
        limits: what is refused.
    """
    places: list[Place | None] = []
    refused = {}
    for number, object_id in enumerate(object_ids):
        try:
            places.append(_place(decode_with_alpha(content(number), limits=limits), object_id, placement))
        except RejectedImageError as error:
            refused[number] = str(error)
            places.append(None)
    return Survey(places=tuple(places), refused=refused)


def composed(picture: Image.Image, place: Place, background: Image.Image, size: int) -> Image.Image:
    """Put a cut-out (RGBA) on a background: round((a · object + (255 − a) · background) / 255), byte by byte.

    The middle square of the background is brought to the frame. Colours are scaled weighted by their alpha, so that
    what is hidden under full transparency does not bleed into the edges.
    """
    frame = np.array(ImageOps.fit(background.convert("RGB"), (size, size), _FILTER), dtype=np.uint16)
    left, top, right, bottom = place.frame
    object_pixels = np.asarray(_scaled(picture, place), dtype=np.uint16)
    alpha, colour = object_pixels[..., 3:], object_pixels[..., :3]
    behind = frame[top:bottom, left:right]
    frame[top:bottom, left:right] = (alpha * colour + (255 - alpha) * behind + 127) // 255
    return Image.fromarray(frame.astype(np.uint8), "RGB")


def coverage(picture: Image.Image, place: Place, size: int) -> Image.Image:
    """Alpha of a placed cut-out ("L"): 255 on the object, 0 beside it, between at its edge."""
    mask = np.zeros((size, size), dtype=np.uint8)
    left, top, right, bottom = place.frame
    mask[top:bottom, left:right] = np.asarray(_scaled(picture.getchannel("A"), place))
    return Image.fromarray(mask, "L")


@dataclass(frozen=True, eq=False, kw_only=True)
class CutoutSource:
    """Pictures of all cut-outs on all backgrounds: row = cut-out number · number of backgrounds + background.

    Args:
        content: bytes of the file of a cut-out, by number.
        surveyed: where each goes.
        backgrounds: what they stand on; each is called with the number of the cut-out.
        size: edge of the pictures, pixels.
        limits: what is refused.
    """

    content: Callable[[int], bytes]
    surveyed: Survey
    backgrounds: tuple[Background, ...]
    size: int
    limits: DecodingLimits = CUTOUT_LIMITS

    def read(self, index: int) -> Image.Image:
        """One cut-out on one background (RGB). Raises RejectedImageError with the reason when it cannot be had."""
        number, which = divmod(index, len(self.backgrounds))
        picture, place = self._picture(number)
        return composed(picture, place, self.backgrounds[which](number), self.size)

    def read_mask(self, index: int, path: str) -> Image.Image:
        """Coverage of one cut-out ("L"); ``path`` is where it will lie once the set is written."""
        picture, place = self._picture(index // len(self.backgrounds))
        return coverage(picture, place, self.size)

    def content_hash(self, index: int) -> str:
        """Hash of pixels and mask (sha256, hex), or of the reason why they cannot be had.

        Pixels, not files: a background may be any function.
        """
        try:
            image, mask = self.read(index), self.read_mask(index, "")
        except RejectedImageError as error:
            return hashlib.sha256(f"rejected: {error}".encode()).hexdigest()
        digest = hashlib.sha256(f"{self.size} ".encode())
        digest.update(image.tobytes())
        digest.update(mask.tobytes())
        return digest.hexdigest()

    def _picture(self, number: int) -> tuple[Image.Image, Place]:
        place = self.surveyed.places[number]
        if place is None:
            raise RejectedImageError(self.surveyed.refused[number])
        picture = decode_with_alpha(self.content(number), limits=self.limits)
        if picture.size != place.original:
            raise RejectedImageError("the file has changed since the set was loaded")
        return picture, place


def _place(picture: Image.Image, object_id: str, placement: Placement) -> Place:
    found = picture.getchannel("A").getbbox()
    if found is None:
        raise RejectedImageError("every pixel is fully transparent: there is nothing to see")
    crop = Box(*found)
    frame = placement.place(object_id, crop.width, crop.height)
    place = Place(original=picture.size, crop=crop, frame=frame, box=None)
    return Place(
        original=picture.size,
        crop=crop,
        frame=frame,
        box=_box(np.asarray(_scaled(picture.getchannel("A"), place)), frame),
    )


def _box(alpha: NDArray[np.uint8], frame: Box) -> Box | None:
    """Smallest box around what is at least half covered."""
    inside = alpha >= 128
    across, down = np.flatnonzero(inside.any(0)), np.flatnonzero(inside.any(1))
    if not len(across):
        return None
    left, top = frame.left + int(across[0]), frame.top + int(down[0])
    return Box(left, top, frame.left + int(across[-1]) + 1, frame.top + int(down[-1]) + 1)


def _scaled(picture: Image.Image, place: Place) -> Image.Image:
    return picture.resize((place.frame.width, place.frame.height), _FILTER, box=place.crop)
