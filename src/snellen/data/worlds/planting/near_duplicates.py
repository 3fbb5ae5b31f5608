"""Images that occur twice, or almost: within a set, and across the border between training and test."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import Field

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet, Provenance, Split
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.planted_defect import (
    ChangedSource,
    PlantedDefect,
    integer_by_id,
    positions_of,
    uniform_by_id,
)
from snellen.data.worlds.planting.truth import set_column, with_truth

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


def copied_rows(
    originals: ImageSet, ids: Sequence[str], copies: Sequence[NearCopy], *, split: Split | None
) -> pa.Table:
    """Rows for copies of these images, one each.

    Reads the size of an image where boxes have to move; nothing else is decoded.

    Args:
        originals: the n images that are copied.
        ids: of the copies (n).
        copies: how each differs (n).
        split: of the copies; None leaves that of each original.
    """
    table = set_column(originals.table, "id", pa.array(ids, COLUMNS["id"]))
    moved = pa.array([copy.moves_pixels for copy in copies], pa.bool_())
    for column in ("attributes", "caption"):
        if column in table.column_names:
            # They may speak of places, and of the picture as it was.
            values = zip(table[column].to_pylist(), moved.to_pylist(), strict=True)
            table = set_column(table, column, pa.array([None if gone else one for one, gone in values], pa.string()))
    if "mask" in table.column_names:
        named = zip(table["mask"].to_pylist(), ids, strict=True)
        paths = [None if path is None else f"masks/{one}.png" for path, one in named]
        table = set_column(table, "mask", pa.array(paths, COLUMNS["mask"]))
    if "boxes" in table.column_names:
        table = set_column(table, "boxes", pa.array(_boxes(originals, copies), COLUMNS["boxes"]))
    if split is not None:
        table = set_column(table, "split", pa.array([split] * len(ids), COLUMNS["split"]))
    return set_column(table, "provenance", pa.array(_provenance(originals, copies), COLUMNS["provenance"]))


def _boxes(originals: ImageSet, copies: Sequence[NearCopy]) -> list[list[list[float]] | None]:
    boxes: list[list[list[float]] | None] = originals.table["boxes"].to_pylist()
    for index, (copy, known) in enumerate(zip(copies, boxes, strict=True)):
        if known and copy.moves_pixels:
            width, height = originals.read(index).size
            boxes[index] = copy.apply_to_boxes(np.asarray(known, dtype=np.float64), width, height).tolist()
    return boxes


def _provenance(originals: ImageSet, copies: Sequence[NearCopy]) -> list[str]:
    """An edited image of any original: the edit has left its traces."""
    rows = zip(originals.ids, originals.column("provenance"), copies, strict=True)
    made = []
    for example_id, text, copy in rows:
        before = Provenance() if text is None else Provenance.model_validate_json(str(text))
        origin = before.origin if copy.kind == "exact" else "edited"
        made.append(before.model_copy(update={"origin": origin, "source_id": example_id}).model_dump_json())
    return made


class NearDuplicates(PlantedDefect):
    """Copies of some images, the same or almost the same, under ids of their own.

    Each image is copied with probability ``rate``, once. A copy has the label, the unit and the group of its original,
    its provenance names it, and so does the truth: ``planted`` says ``original`` and ``kind``. Where a crop or a flip
    moves pixels, masks and boxes move along; attributes and captions, which may speak of places, are left out.

    >>> from snellen.data.files.arrays import load_arrays
    >>> images = load_arrays(np.random.default_rng(0).integers(0, 256, (100, 8, 8), dtype=np.uint8), [0] * 100)
    >>> NearDuplicates(rate=0.1, kinds=("flipped",)).plant(images, rng=Randomness(1)).ids[100:103]
    ['000006_copy', '000013_copy', '000019_copy']
    """

    name: ClassVar[str] = "near_duplicate"

    rate: float = Field(0.05, ge=0, le=1, description="probability that an image is copied")
    kinds: tuple[CopyKind, ...] = Field(COPY_KINDS, min_length=1, description="how copies may differ, each as likely")
    crop: float = Field(0.06, gt=0, lt=0.5, description="share of each edge that a crop loses")
    brightness: float = Field(0.15, gt=0, lt=1, description="largest change of brightness, share of it")
    quality: int = Field(75, ge=1, le=95, description="of the JPEG that an encoded copy has been")

    def plant(self, images: ImageSet, *, rng: Randomness) -> ImageSet:
        """The images, and behind them the copies, in the order of their originals.

        Raises:
            InputError: only test images, or a copy's id is taken.
        """
        chosen = images.select(np.flatnonzero(self.rows_in_reach(images) & self._drawn(images, rng)))
        return self._with_copies(images, chosen, [f"{one}_copy" for one in chosen.ids], None, rng)

    def leak(self, images: ImageSet, test: ImageSet, *, rng: Randomness) -> ImageSet:
        """The images, and behind them copies of some images of a test set: a leak across the border.

        Copies belong to the split of ``images``, and each image of ``test`` is copied with probability ``rate``.

        >>> from snellen.data.files.arrays import load_arrays
        >>> from snellen.data.files.splits import as_split
        >>> pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 8), dtype=np.uint8)
        >>> train, test = (as_split(load_arrays(part, [0] * 4), name) for part, name in
        ...                ((pixels[:4], "train"), (pixels[4:], "test")))
        >>> NearDuplicates(rate=1).leak(train, test, rng=Randomness(0)).ids[4:6]
        ['train/test_000000_copy', 'train/test_000001_copy']

        Raises:
            InputError: ``images`` are no train or validation set, the classes are others, or a copy's id is taken.
        """
        if images.split not in ("train", "val"):
            raise InputError(
                f"test images leak into a set that is train or val as a whole; {images.name} has split={images.split} "
                f"(of_split and as_split give such sets)"
            )
        if images.class_names != test.class_names:
            raise InputError(f"copies cannot leak between sets of different classes: {test.name}, {images.name}")
        chosen = test.select(np.flatnonzero(self._drawn(test, rng)))
        ids = [f"{images.split}/{one.replace('/', '_')}_copy" for one in chosen.ids]
        return self._with_copies(images, chosen, ids, images.split, rng)

    def _drawn(self, images: ImageSet, rng: Randomness) -> NDArray[np.bool_]:
        return uniform_by_id(self.draws(rng), images.ids, "copied") < self.rate

    def _with_copies(
        self, images: ImageSet, originals: ImageSet, ids: list[str], split: Split | None, rng: Randomness
    ) -> ImageSet:
        copies = self._copies(originals.ids, rng)
        table = copied_rows(originals, ids, copies, split=split)
        all_rows = pa.concat_tables([images.table, table], promote_options="default")
        count = len(images)
        origins = np.concatenate([positions_of(0, range(count)), positions_of(1, range(len(originals)))])
        # A copy that differs in nothing has the content of its original, and so its hash.
        recipes = [None] * count + [None if copy.kind == "exact" else repr(copy) for copy in copies]
        source = ChangedSource(
            (images, originals),
            origins,
            recipes,
            lambda picture, row: copies[row - count].apply(picture),
            lambda mask, row: copies[row - count].apply_to_mask(mask),
        )
        rows = np.arange(len(all_rows), dtype=np.int64)
        joined = replace(images, source=source, table=all_rows, rows=rows)
        entries = [{"original": one, "kind": copy.kind} for one, copy in zip(originals.ids, copies, strict=True)]
        return with_truth(joined, self.truth_key, [*[None] * count, *entries])

    def _copies(self, ids: list[str], rng: Randomness) -> list[NearCopy]:
        draws = self.draws(rng)
        kinds = [self.kinds[place] for place in integer_by_id(draws, ids, "kind", len(self.kinds))]
        strengths = {"cropped": self.crop, "brightened": self.brightness}
        return [
            NearCopy(kind=kind, strength=strengths.get(kind, 0.0), quality=self.quality, draw=draw)
            for kind, draw in zip(kinds, uniform_by_id(draws, ids, "copy").tolist(), strict=True)
        ]
