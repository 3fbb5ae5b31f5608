"""Cut-outs on backgrounds, each at its place, with the exact coverage as its mask."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field, model_validator

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.randomness import derive_seed
from snellen.data.files.decoding import DEFAULT_LIMITS, FORMATS, DecodingLimits, decode, pillow_warnings_contained


def decode_with_alpha(content: bytes, *, limits: DecodingLimits = DEFAULT_LIMITS) -> Image.Image:
    """Decode the bytes of one image file to RGBA, at its own size; opaque where it has no transparency.

    The file is decoded twice: :func:`~snellen.data.files.decoding.decode` alone says what is refused, so that there are
    no other rules for pictures with transparency.

    >>> stream = io.BytesIO()
    >>> Image.new("RGBA", (3, 2), (10, 20, 30, 40)).save(stream, "PNG")
    >>> decode_with_alpha(stream.getvalue()).getpixel((0, 0))
    (10, 20, 30, 40)

    Raises:
        RejectedImageError: as :func:`~snellen.data.files.decoding.decode`, or grey of more than 8 bits.
    """
    decode(content, limits=limits)
    with pillow_warnings_contained(), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        if image.mode.startswith("I"):
            raise RejectedImageError("grey of more than 8 bits has no transparency here; store 8 bits per channel")
        return image.convert("RGBA")


#: Number of a cut-out in its set → picture (RGB, any size; its middle is cut to the frame).
Background = Callable[[int], Image.Image]

WHITE = (255, 255, 255)


def plain_background(colour: tuple[int, int, int] = WHITE) -> Background:
    """One colour (red, green, blue; 0 to 255) behind every cut-out.

    >>> plain_background((0, 128, 255))(7).getpixel((0, 0))
    (0, 128, 255)

    Raises:
        InputError: not three numbers from 0 to 255.
    """
    if len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
        raise InputError(f"a colour is red, green and blue from 0 to 255; got {colour}")
    picture = Image.new("RGB", (1, 1), tuple(colour))
    return lambda number: picture


def background_images(images: ImageSet, *, seed: int = 0) -> Background:
    """A random picture of a set behind each cut-out, a folder of photos say; the draw depends on seed and number alone.

    Args:
        images: pictures to draw from, with replacement; a picture that cannot be read raises RejectedImageError.
        seed: of the draws.

    Raises:
        InputError: an empty set.
    """
    count = len(images)
    if not count:
        raise InputError(f"{images.name} holds no pictures to stand behind anything")
    return lambda number: images.read(derive_seed(seed, "background", number) % count)


class Box(NamedTuple):
    """A box in whole pixels: from (left, top) up to but without (right, bottom)."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.bottom - self.top


class Placement(BaseModel):
    """Size of the frame, and size and place of the object in it.

    Every draw is a function of the seed and the object's id alone.

    >>> Placement(size=100, least_share=0.5, most_share=0.5).place("crow", 40, 20)
    Box(left=25, top=37, right=75, bottom=62)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(224, ge=8, le=4096, description="edge of the square picture, pixels")
    least_share: float = Field(0.85, gt=0, le=1, description="smallest longer edge of an object, of the picture's edge")
    most_share: float = Field(0.85, gt=0, le=1, description="largest longer edge of an object, of the picture's edge")
    position: Literal["centre", "anywhere"] = Field("centre", description="in the middle, or anywhere inside at random")
    seed: int = Field(0, ge=0, description="seed of size and position")

    @model_validator(mode="after")
    def _ordered(self) -> Placement:
        if self.least_share > self.most_share:
            raise ValueError(f"least_share {self.least_share} is larger than most_share {self.most_share}")
        return self

    def place(self, object_id: str, width: int, height: int) -> Box:
        """Box in the frame of an object whose cut-out has this width and height (pixels), proportions kept."""
        share = self.least_share + (self.most_share - self.least_share) * self._uniform(object_id, "share")
        scale = share * self.size / max(width, height)
        across, down = (max(1, round(edge * scale)) for edge in (width, height))
        free = (self.size - across, self.size - down)
        if self.position == "centre":
            left, top = free[0] // 2, free[1] // 2
        else:
            left = int(self._uniform(object_id, "left") * (free[0] + 1))
            top = int(self._uniform(object_id, "top") * (free[1] + 1))
        return Box(left, top, left + across, top + down)

    def _uniform(self, object_id: str, stream: str) -> float:
        """A number in [0, 1): the upper 53 bits of 63, which a float holds exactly."""
        return (derive_seed(self.seed, stream, object_id) >> 10) / 2**53


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
