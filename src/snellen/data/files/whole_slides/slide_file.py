"""One whole-slide image, read by OpenSlide region by region; never as a whole."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from snellen.core.errors import InputError, RejectedImageError, import_extra
from snellen.data.files.contained_file import printable
from snellen.data.files.whole_slides.handles import Handles
from snellen.data.files.whole_slides.tiling import reading_level

#: Endings of slides.
SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".scn", ".bif", ".czi")

#: What their files begin with: TIFF and BigTIFF of either order of bytes, and ZEISS CZI. Slides of several files
#: (MIRAX, VMS, DICOM) name the others by paths in a text, which could lead anywhere; they are not opened.
BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"ZISRAWFILE")

_PIECES, _PIECE = 64, 2**14


def check_beginning(path: Path, name: str) -> None:
    """See that a file begins as one of :data:`BEGINNINGS`; RejectedImageError where it does not."""
    try:
        with path.open("rb") as stream:
            beginning = stream.read(16)
    except OSError as error:
        raise RejectedImageError(f"slide {name} cannot be read: {error.strerror or error}") from error
    if not beginning.startswith(BEGINNINGS):
        raise RejectedImageError(
            f"{name} is no slide: it does not begin as TIFF, BigTIFF or CZI do. Slides of several files (MIRAX, VMS, "
            f"DICOM) are not read; convert them to a pyramidal TIFF"
        )


def sampled_hash(path: Path, name: str) -> str:
    """Hash (sha256, hex) of a file's size and of 64 pieces of 16 KiB, spread evenly from its first to its last byte.

    Files of up to 1 MiB are hashed as a whole; in larger ones, a change between the pieces is not seen.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            length = os.fstat(stream.fileno()).st_size
            digest.update(f"{length} ".encode())
            for piece in range(_PIECES):
                stream.seek(max(0, length - _PIECE) * piece // (_PIECES - 1))
                digest.update(stream.read(_PIECE))
    except OSError as error:
        raise RejectedImageError(f"slide {name} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


#: Bytes of decoded tiles that all open slides share.
_CACHE_BYTES = 64 * 2**20


class SlideLimits(BaseModel):
    """What a slide may ask of the machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_side: int = Field(2**21, ge=1, description="largest width and height of level 0, pixels")
    max_read_pixels: int = Field(2**25, ge=1, description="largest region, and largest tile of the file, pixels")
    max_overview_pixels: int = Field(
        2**30, ge=1, description="largest level that is read through for an overview, pixels; what lacks coarse levels"
    )
    max_tiles: int = Field(2**22, ge=1, description="most tiles of a grid over one slide")


DEFAULT_LIMITS = SlideLimits()


class SlideFile:
    """A slide: its levels, its magnification, regions of it, and the whole from afar.

    Every thread has its own handle. A handle that fails is closed, so that a damaged region spoils no other. Pictures
    of the label and of the whole glass that scanners store beside the levels are never read, and colour profiles are
    not applied.

    Attributes:
        size: width and height of level 0, pixels.
        level_sizes: width and height of each level, pixels.
        downsamples: pixels of level 0 along one of each level.
        properties: metadata of the file, as OpenSlide names them.
        mpp: microns per pixel of level 0; None if unknown.

    Args:
        path: of the file.
        name: shown in messages.
        mpp: microns per pixel of level 0, where the file does not state it.
        limits: what is refused.
        handles: of several slides, so that few are open at a time; None: of this one alone.

    Raises:
        RejectedImageError: the file is no slide that can be read, is damaged, or breaks a limit.
        MissingExtraError: the extra snellen[wsi] is not installed.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str | None = None,
        mpp: float | None = None,
        limits: SlideLimits = DEFAULT_LIMITS,
        handles: Handles[Any] | None = None,
    ) -> None:
        self._openslide = _openslide()
        self.path, self.name, self.limits = path, name or printable(path.name), limits
        self._handles: Handles[Any] = handles or Handles()
        with self._slide() as slide:
            self.size: tuple[int, int] = slide.dimensions
            self.level_sizes: tuple[tuple[int, int], ...] = slide.level_dimensions
            self.downsamples: tuple[float, ...] = slide.level_downsamples
            self.properties: dict[str, str] = dict(slide.properties)
        self._check()
        self.mpp = self._microns_per_pixel(mpp)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SlideFile({self.name!r}, {self.size[0]}x{self.size[1]}, {len(self.downsamples)} levels)"

    def close(self) -> None:
        """Close the handles of all threads; what is read afterwards opens a new one."""
        self._handles.close(str(self.path))

    def read(self, left: int, top: int, level: int, side: int) -> Image.Image:
        """One square region, RGB; what lies beyond the slide, or was not scanned, is its background colour.

        Args:
            left: first column, pixels of level 0.
            top: first row, pixels of level 0.
            level: of the pyramid.
            side: pixels of the level.

        Raises:
            RejectedImageError: the region cannot be decoded, or is larger than the limit.
        """
        return self._region(left, top, level, (side, side))

    def overview(self, pixel: float, *, coarser: bool = False) -> tuple[Image.Image, float]:
        """The whole slide from afar, RGB, and how many pixels of level 0 one pixel of it spans along each side.

        Read in blocks from the coarsest level that is fine enough, each pixel the mean of a square of whole pixels.

        Args:
            pixel: pixels of level 0 in a pixel of the overview; the largest possible value that is no larger is taken,
                or that of a level which is as good as that.
            coarser: the smallest possible value that is no smaller is taken instead.

        Raises:
            RejectedImageError: a region cannot be decoded, or a level without a coarser one is too large to be read.
        """
        level = reading_level(self.downsamples, pixel)
        width, height = self.level_sizes[level]
        if width * height > self.limits.max_overview_pixels:
            raise RejectedImageError(
                f"slide {self.name} has no coarse level: an overview would read {width}×{height} pixels, more than "
                f"{self.limits.max_overview_pixels} (max_overview_pixels); store it with a pyramid of levels"
            )
        ratio = pixel / self.downsamples[level]
        factor = max(1, int(-(-(ratio - 1e-6) // 1)) if coarser else int(ratio + 1e-6))
        picture = Image.new("RGB", (-(-width // factor), -(-height // factor)))
        block = max(1, int(self.limits.max_read_pixels**0.5) // 4 // factor) * factor
        for top in range(0, height, block):
            for left in range(0, width, block):
                size = (min(block, width - left), min(block, height - top))
                scale = self.downsamples[level]
                part = self._region(round(left * scale), round(top * scale), level, size)
                picture.paste(part.reduce(factor) if factor > 1 else part, (left // factor, top // factor))
        return picture, factor * self.downsamples[level]

    def thumbnail(self, longest: int) -> Image.Image:
        """The whole slide as one picture of at most ``longest`` pixels along each side, RGB.

        Raises:
            InputError: less than one pixel.
            RejectedImageError: as :meth:`overview`.
        """
        if longest < 1:
            raise InputError(f"a thumbnail must be at least 1 pixel wide, got {longest}")
        picture, _ = self.overview(max(1.0, max(self.size) / longest))
        picture.thumbnail((longest, longest), Image.Resampling.BOX)
        return picture

    @cached_property
    def fingerprint(self) -> str:
        """Hash (sha256, hex) that distinguishes this file from others, without reading gigabytes.

        Of its size and of pieces spread over it (:func:`~snellen.data.files.whole_slides.slide_file.sampled_hash`),
        and of OpenSlide's own hash of its coarsest level and its properties. A change elsewhere in a large file is not
        seen.
        """
        described = f"{sampled_hash(self.path, self.name)} {self.properties.get('openslide.quickhash-1')} {self.mpp}"
        return hashlib.sha256(described.encode()).hexdigest()

    def _region(self, left: int, top: int, level: int, size: tuple[int, int]) -> Image.Image:
        if size[0] * size[1] > self.limits.max_read_pixels:
            raise RejectedImageError(
                f"a region of {size[0]}×{size[1]} pixels of slide {self.name} is larger than "
                f"{self.limits.max_read_pixels} (max_read_pixels)"
            )
        with self._slide() as slide:
            region: Image.Image = slide.read_region((left, top), level, size)
        if region.getchannel("A").getextrema() == (255, 255):
            return region.convert("RGB")
        colour = "#" + self.properties.get("openslide.background-color", "ffffff")
        ground = Image.new("RGB", size, colour)
        ground.paste(region, None, region)
        return ground

    @contextmanager
    def _slide(self) -> Iterator[Any]:
        """This thread's handle; what OpenSlide says becomes a rejection."""
        try:
            with self._handles.using(str(self.path), self._open) as slide:
                yield slide
        except (self._openslide.OpenSlideError, OSError) as error:
            # OpenSlide names the file by its whole path: no business of a report, nor part of what the slide is.
            words = " ".join(str(error).replace(str(self.path), self.path.name).split())[:160]
            raise RejectedImageError(f"slide {self.name} is damaged: {words or type(error).__name__}") from error

    def _open(self, path: str) -> Any:  # noqa: ANN401 - OpenSlide, of an extra
        check_beginning(self.path, self.name)
        try:
            slide = self._openslide.OpenSlide(path)
        except self._openslide.OpenSlideUnsupportedFormatError as error:
            raise RejectedImageError(
                f"{self.name} is no slide that OpenSlide reads: a pyramid of tiles in TIFF, SVS, NDPI, SCN, BIF or CZI "
                f"was expected, and it may be truncated"
            ) from error
        slide.set_cache(_cache(self._openslide))
        return slide

    def _check(self) -> None:
        limits = self.limits
        if max(self.size) > limits.max_side or min(self.size) < 1:
            raise self._refused(f"has {self.size[0]}×{self.size[1]} pixels, a side more than {limits.max_side}", "side")
        for level in range(len(self.downsamples)):
            width, height = (
                int(self.properties.get(f"openslide.level[{level}].tile-{side}", 0)) for side in ("width", "height")
            )
            if width * height > limits.max_read_pixels:
                raise self._refused(f"is stored in tiles of {width}×{height} pixels", "read_pixels")

    def _refused(self, what: str, limit: str) -> RejectedImageError:
        self.close()
        return RejectedImageError(f"slide {self.name} {what} (max_{limit})")

    def _microns_per_pixel(self, given: float | None) -> float | None:
        microns = [_positive(self.properties.get(f"openslide.mpp-{axis}")) for axis in "xy"]
        if microns[0] is None or microns[1] is None:
            return given
        if abs(microns[0] / microns[1] - 1) > 0.01:
            self.close()
            raise RejectedImageError(
                f"slide {self.name} has pixels of {microns[0]:g}×{microns[1]:g} microns; square ones are expected"
            )
        return (microns[0] + microns[1]) / 2

    def resolution(self) -> float:
        """Microns per pixel of level 0.

        Raises:
            RejectedImageError: the file does not state it, and no option gives it.
        """
        if self.mpp is None:
            power = _positive(self.properties.get("openslide.objective-power"))
            hint = f" (it names a lens of {power:g} times: often {10 / power:g})" if power else ""
            raise RejectedImageError(
                f"slide {self.name} does not state its microns per pixel{hint}; give it with slide_mpp=VALUE"
            )
        return self.mpp


def _openslide() -> ModuleType:
    return import_extra("openslide", "wsi", "reading slides")


_SHARED: dict[str, Any] = {}
_SHARED_LOCK = threading.Lock()


def _cache(openslide: ModuleType) -> Any:  # noqa: ANN401 - OpenSlideCache, of an extra
    """One cache for all handles: else each would keep 32 MiB of its own."""
    with _SHARED_LOCK:
        if "cache" not in _SHARED:
            _SHARED["cache"] = openslide.OpenSlideCache(_CACHE_BYTES)
        return _SHARED["cache"]


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None
