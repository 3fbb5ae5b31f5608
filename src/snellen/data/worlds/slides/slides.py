"""Slides of stained tissue as image sets: tiles with their own truth, in bags with one label each for the user."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet, Provenance, Split
from snellen.core.method import Method
from snellen.core.randomness import derive_seed
from snellen.data.worlds.rendered_source import RenderedSource
from snellen.data.worlds.slides.plan import Slide, positive_tiles, tissue_tiles
from snellen.data.worlds.slides.rendering import VERSION, RenderedRegions, render_regions, stains_of


class TileSource(RenderedSource):
    """Tiles of slides, rendered when they are read.

    Args:
        slides: of one tile size.
        owners: position of the slide of each row, (n,).
        rows: of each tile in its slide, counted downwards, (n,).
        columns: of each tile in its slide, counted to the right, (n,).
        recipe: text that says everything the slides follow from.
    """

    def __init__(
        self,
        slides: Sequence[Slide],
        owners: NDArray[np.int64],
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        recipe: str,
    ) -> None:
        self.slides, self.owners, self.rows, self.columns = tuple(slides), owners, rows, columns
        super().__init__(
            len(owners),
            lambda indices: self._rendered(indices).pixels,
            lambda index: f"{recipe} {slides[owners[index]].id} {rows[index]} {columns[index]}",
            masks=lambda indices: self._rendered(indices).masks,
            chunk=max(1, min(64, 2**18 // slides[0].tile_size ** 2)),
        )

    def bag_thumbnail(self, bag_id: str, longest: int) -> Image.Image:
        """One whole slide on the finest level of at most ``longest`` pixels, RGB."""
        slide = next((slide for slide in self.slides if slide.id == bag_id), None)
        if slide is None:
            raise InputError(f"there is no slide {bag_id!r}; the first of {len(self.slides)} is {self.slides[0].id!r}")
        return slide_thumbnail(slide, longest)

    def tile_boxes(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """Where tiles lie in their slides: x0, y0, x1, y1 as shares of width and height, (m, 4)."""
        chosen = np.asarray(rows, dtype=np.int64)
        across = np.array([len(self.slides[owner].tissue) for owner in self.owners[chosen]], dtype=np.float64)
        left, top = self.columns[chosen] / across, self.rows[chosen] / across
        return np.stack([left, top, left + 1 / across, top + 1 / across], 1).reshape(-1, 4)

    def _rendered(self, indices: Sequence[int]) -> RenderedRegions:
        chosen = np.asarray(indices)
        size = self.slides[0].tile_size
        return render_regions(
            [self.slides[owner] for owner in self.owners[chosen]],
            level=0,
            tops=(self.rows[chosen] * size).tolist(),
            lefts=(self.columns[chosen] * size).tolist(),
            height=size,
            width=size,
        )


def slide_thumbnail(slide: Slide, longest: int) -> Image.Image:
    """One whole slide on the finest level of at most ``longest`` pixels, RGB.

    Raises:
        InputError: less than one pixel.
    """
    if longest < 1:
        raise InputError(f"a thumbnail must be at least 1 pixel wide, got {longest}")
    level = max(0, math.ceil(math.log2(slide.side / longest)))
    extent = max(1, slide.side >> level)
    picture = render_regions([slide], level=level, tops=[0], lefts=[0], height=extent, width=extent)
    return Image.fromarray(picture.pixels[0], "RGB")


CLASS_NAMES = ("healthy", "tumour")

#: Slides among which the share of positive ones is exact; they are shuffled within.
_BLOCK = 4

#: Slides whose plans are remembered.
_PLANS = 64


class Slides(Method):
    """Mosaics like stained tissue under a microscope, cut into tiles: multiple-instance learning with known instances.

    A positive slide carries clusters of large, dark, irregular nuclei in a share of its tissue tiles; a negative slide
    carries none. Each site stains in its own way, which has nothing to do with the label. Patches of small dark
    lymphocytes occur in all slides, so that darkness is no tumour. Slide i does not depend on how many there are.

    >>> slides = Slides(count=4, tiles_across=8, tile_size=32)
    >>> tiles = slides.images(split="train")
    >>> tiles.ids[0], tiles.column("bag_id")[0], sorted(slides.slide_labels(split="train").values())
    ('train/0000/001-004', 'train/slide-0000', [0, 0, 1, 1])
    """

    name: ClassVar[str] = "slides"

    count: int = Field(8, ge=1, le=10_000, description="slides in each split")
    tiles_across: int = Field(16, ge=4, le=1024, description="tiles along each side of a slide")
    tile_size: int = Field(64, ge=32, le=1024, multiple_of=16, description="side of a tile, pixels")
    positive_rate: float = Field(0.1, gt=0, le=1, description="share of tissue tiles with tumour in a positive slide")
    positive_slides: float = Field(0.5, ge=0, le=1, description="share of slides that are positive")
    sites: int = Field(3, ge=1, le=100, description="laboratories, each with its own stain")
    slides_per_patient: int = Field(1, ge=1, le=100, description="slides of one patient, all from one site")
    seed: int = Field(0, ge=0, lt=2**63, description="of everything")

    def slide(self, index: int, *, split: Split = "test") -> Slide:
        """One slide before any pixel of it.

        Raises:
            InputError: there is no such slide.
        """
        if not 0 <= index < self.count:
            raise InputError(f"slide {index} of {self.count}: expected 0 to {self.count - 1}")
        return _slide(self.model_copy(update={"count": 1}), index, split)

    def slide_labels(self, *, split: Split = "test") -> dict[str, int]:
        """Label of each slide (bag): 1 when some tile carries tumour."""
        return {slide.id: slide.label for slide in self._slides(split)}

    def images(self, *, split: Split = "test") -> ImageSet:
        """All tissue tiles of a split, slide by slide, rows downwards.

        Columns: label (of the tile), bag_id (slide), bag_label (of the slide), unit_id (patient), group (site), mask
        (nuclei of the tumour; empty in healthy tiles), attributes (row and column of the tile, label of its slide),
        provenance.
        """
        slides = self._slides(split)
        places = [np.argwhere(slide.tissue) for slide in slides]
        owners = np.repeat(np.arange(len(slides)), [len(place) for place in places])
        rows, columns = np.concatenate(places).T
        source = TileSource(slides, owners, rows, columns, self._recipe())
        return ImageSet(
            source,
            _table(slides, places, owners, split, self.seed),
            CLASS_NAMES,
            f"slides ({split} split)",
            split=split,
        )

    def thumbnail(self, index: int, *, split: Split = "test", longest: int = 512) -> Image.Image:
        """One whole slide on the finest level of at most ``longest`` pixels, RGB."""
        return slide_thumbnail(self.slide(index, split=split), longest)

    def _slides(self, split: Split) -> list[Slide]:
        return [self.slide(index, split=split) for index in range(self.count)]

    def _recipe(self) -> str:
        return f"{VERSION} {self.model_copy(update={'count': 1}).model_dump_json()}"


@lru_cache(maxsize=_PLANS)
def _slide(slides: Slides, index: int, split: Split) -> Slide:
    seed = derive_seed(slides.seed, split, "slide", index)
    patient = index // slides.slides_per_patient
    site = derive_seed(slides.seed, split, "site of patient", patient) % slides.sites
    label = _label(slides, index, split)
    tissue = tissue_tiles(seed, tiles_across=slides.tiles_across, tile_size=slides.tile_size)
    positive = positive_tiles(seed, tissue, rate=slides.positive_rate) if label else np.zeros_like(tissue)
    site_seed = derive_seed(slides.seed, "site", site)  # a site is the same laboratory in every split
    return Slide(
        id=f"{split}/slide-{index:04d}",
        patient=f"{split}/patient-{patient:04d}",
        site=f"site-{site}",
        label=label,
        seed=seed,
        tile_size=slides.tile_size,
        stains=stains_of(torch.tensor([site_seed]), torch.tensor([seed]))[0].numpy(),
        tissue=tissue,
        positive=positive,
    )


def _label(slides: Slides, index: int, split: Split) -> int:
    """Every ``share``-th slide of a shuffled block: the requested share, to one slide, and shuffled in order."""
    block, place = divmod(index, _BLOCK)
    shuffled = np.random.default_rng(derive_seed(slides.seed, split, "block of slides", block)).permutation(_BLOCK)
    position = block * _BLOCK + int(shuffled[place])
    return math.floor((position + 1) * slides.positive_slides) - math.floor(position * slides.positive_slides)


def _table(
    slides: Sequence[Slide], places: Sequence[NDArray[np.int64]], owners: NDArray[np.int64], split: Split, seed: int
) -> pa.Table:
    rows, columns = np.concatenate(places).T
    labels = np.concatenate([slide.positive[tuple(place.T)] for slide, place in zip(slides, places, strict=True)])
    names = [f"{owner:04d}/{row:03d}-{column:03d}" for owner, row, column in zip(owners, rows, columns, strict=True)]
    made = Provenance(origin="generated", generator=f"snellen {VERSION}", seed=seed).model_dump_json(exclude_none=True)

    def of_slide(values: Sequence[str]) -> pa.Array:
        return pa.array(np.asarray(values, dtype=object)[owners], pa.string())

    known = [
        json.dumps({"row": row, "column": column, "slide_label": slides[owner].label})
        for owner, row, column in zip(owners.tolist(), rows.tolist(), columns.tolist(), strict=True)
    ]
    table = {
        "id": pa.array([f"{split}/{name}" for name in names], COLUMNS["id"]),
        "label": pa.array(labels.astype(np.int64), COLUMNS["label"]),
        "unit_id": of_slide([slide.patient for slide in slides]),
        "group": of_slide([slide.site for slide in slides]),
        "bag_id": of_slide([slide.id for slide in slides]),
        "bag_label": pa.array(np.asarray([slide.label for slide in slides])[owners], COLUMNS["bag_label"]),
        "split": pa.array([split] * len(owners), COLUMNS["split"]),
        "mask": pa.array([f"masks/{split}/{name}.png" for name in names], COLUMNS["mask"]),
        "attributes": pa.array(known, COLUMNS["attributes"]),
        "provenance": pa.array([made] * len(owners), COLUMNS["provenance"]),
    }
    return pa.table(table)
