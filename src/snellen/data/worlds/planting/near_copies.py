"""Copies of pictures that are not quite the same: what re-saving, cropping, editing and mirroring leave."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

CopyKind = Literal["exact", "encoded", "cropped", "brightened", "flipped"]

COPY_KINDS: tuple[CopyKind, ...] = get_args(CopyKind)


@dataclass(frozen=True, kw_only=True)
class NearCopy:
    """How a copy differs from its picture.

    >>> NearCopy(kind="cropped", strength=0.06, draw=0.9).apply(Image.new("RGB", (50, 40), "red")).size
    (50, 40)

    Attributes:
        kind: exact: in nothing; encoded: saved as JPEG once; cropped: a strip less at the edges and grown to the old
            size; brightened: brighter or darker; flipped: left and right exchanged.
        strength: cropped: share of each edge that is lost in all; brightened: largest change of brightness, share of
            it. Other kinds have none.
        quality: of the JPEG, 1 to 95.
        draw: in [0, 1), decides which sides are cropped, or whether it gets brighter or darker and by how much.
    """

    kind: CopyKind
    strength: float = 0.0
    quality: int = 75
    draw: float = 0.0

    @property
    def moves_pixels(self) -> bool:
        """Whether places in the copy are others than in the picture."""
        return self.kind in ("cropped", "flipped")

    @property
    def brightness(self) -> float:
        """Factor of brightness: at least half the strength away from 1, on either side."""
        signed = 2 * self.draw - 1
        return 1 + self.strength * (np.copysign(0.5, signed) + signed / 2)

    def apply(self, picture: Image.Image) -> Image.Image:
        """The copy of an RGB picture, of the same size."""
        if self.kind == "encoded":
            stream = io.BytesIO()
            picture.save(stream, "JPEG", quality=self.quality)
            return Image.open(stream).convert("RGB")
        if self.kind == "brightened":
            levels = np.clip(np.rint(np.arange(256) * self.brightness), 0, 255).astype(np.uint8)
            return Image.fromarray(levels[np.asarray(picture)])
        return self._moved(picture, Image.Resampling.BICUBIC)

    def apply_to_mask(self, mask: Image.Image) -> Image.Image:
        """The mask ("L") of the copy."""
        return self._moved(mask, Image.Resampling.BILINEAR)

    def apply_to_boxes(self, boxes: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
        """Boxes (n, 4) of x0, y0, x1, y1 in pixels, in the copy; cut off at its edges."""
        if self.kind == "flipped":
            return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
        if self.kind == "cropped":
            x0, y0, x1, y1 = self.crop_box(width, height)
            moved = (boxes - np.array([x0, y0, x0, y0])) * np.tile([width / (x1 - x0), height / (y1 - y0)], 2)
            return np.clip(moved, 0, np.array([width, height, width, height]))
        return boxes

    def crop_box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Pixels that a crop keeps: left, upper, right and lower edge. One is lost at least, two are kept."""
        lost = [min(max(1, round(self.strength * edge)), max(edge - 2, 0)) for edge in (width, height)]
        # Two numbers of one: the tenths of the draw go to the left, what is left over to the top.
        across, down = self.draw, (self.draw * 10) % 1
        left, top = (int(share * (one + 1)) for share, one in zip((across, down), lost, strict=True))
        return left, top, width - (lost[0] - left), height - (lost[1] - top)

    def _moved(self, picture: Image.Image, resampling: Image.Resampling) -> Image.Image:
        if self.kind == "flipped":
            return ImageOps.mirror(picture)
        if self.kind == "cropped":
            return picture.crop(self.crop_box(*picture.size)).resize(picture.size, resampling)
        return picture
