"""Images that occur twice, or almost: within a set, and across the border between training and test."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Split
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.changed_pixels import ChangedSource, positions_of
from snellen.data.worlds.planting.copied_rows import copied_rows
from snellen.data.worlds.planting.near_copies import COPY_KINDS, CopyKind, NearCopy
from snellen.data.worlds.planting.planted_defect import PlantedDefect
from snellen.data.worlds.planting.row_draws import integer_by_id, uniform_by_id
from snellen.data.worlds.planting.truth import with_truth


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
            InputError: ``images`` are no train or tune set, the classes are others, or a copy's id is taken.
        """
        if images.split not in ("train", "tune"):
            raise InputError(
                f"test images leak into a set that is train or tune as a whole; {images.name} has split={images.split} "
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
