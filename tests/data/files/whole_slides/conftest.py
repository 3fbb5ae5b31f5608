"""Slides of the procedural world, as files, in the layout of CAMELYON16."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tifffile")
pytest.importorskip("openslide")

from snellen.data.worlds.slides.plan import Slide
from snellen.data.worlds.slides.slides import Slides
from snellen.data.worlds.slides.writing import write_slide

WORLD = Slides(count=2, tiles_across=8, tile_size=48, positive_slides=0.5, positive_rate=0.3, seed=7)


@pytest.fixture(scope="session")
def slides() -> list[Slide]:
    return sorted((WORLD.slide(index) for index in range(2)), key=lambda slide: slide.label)


@pytest.fixture(scope="session")
def camelyon(slides: list[Slide], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """normal/normal_001.tif and tumor/tumor_001.tif, each with its truth beside it."""
    folder = tmp_path_factory.mktemp("camelyon")
    for slide, name in zip(slides, ("normal", "tumor"), strict=True):
        (folder / name).mkdir()
        write_slide(slide, folder / name / f"{name}_001.tif")
    return folder
