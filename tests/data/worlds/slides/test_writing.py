"""Slides as files: what OpenSlide reads is what was rendered, and memory does not grow with the slide."""

from __future__ import annotations

import json
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from snellen.core.errors import InputError, MissingExtraError
from snellen.data.worlds.slides import writing
from snellen.data.worlds.slides.plan import Slide
from snellen.data.worlds.slides.rendering import render_regions
from snellen.data.worlds.slides.slides import Slides
from snellen.data.worlds.slides.writing import level_count, write_slide

tifffile = pytest.importorskip("tifffile")
openslide = pytest.importorskip("openslide")


@pytest.fixture(scope="module")
def slide() -> Slide:
    return Slides(count=1, tiles_across=5, tile_size=48, positive_slides=1.0, positive_rate=0.3, seed=1).slide(0)


@pytest.fixture(scope="module")
def written(slide: Slide, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slides") / "one.tif"
    write_slide(slide, path)
    return path


def test_openslide_reads_what_was_rendered(slide: Slide, written: Path) -> None:
    with openslide.OpenSlide(written) as opened:
        assert opened.properties["openslide.vendor"] == "generic-tiff"
        assert opened.level_dimensions == ((240, 240), (120, 120), (60, 60))
        assert opened.level_downsamples == (1.0, 2.0, 4.0)
        assert opened.properties["openslide.mpp-x"] == opened.properties["openslide.mpp-y"] == "1"
        assert opened.properties["openslide.level[0].tile-width"] == "48"
        for level, (width, height) in enumerate(opened.level_dimensions):
            read = np.asarray(opened.read_region((0, 0), level, (width, height)))
            rendered = render_regions([slide], level=level, tops=[0], lefts=[0], height=height, width=width)
            np.testing.assert_array_equal(read[:, :, :3], rendered.pixels[0])
            assert (read[:, :, 3] == 255).all()
        part = np.asarray(opened.read_region((100, 60), 0, (50, 70)))[:, :, :3]
        alone = render_regions([slide], level=0, tops=[60], lefts=[100], height=70, width=50).pixels[0]
        np.testing.assert_array_equal(part, alone)
        thumbnail = np.asarray(opened.get_thumbnail((60, 60))).astype(float)
    whole = render_regions([slide], level=2, tops=[0], lefts=[0], height=60, width=60).pixels[0]
    assert np.abs(thumbnail - whole).mean() < 2


def test_the_truth_lies_beside(slide: Slide, written: Path) -> None:
    table = pq.read_table(written.with_name("one.tiles.parquet"))
    rows, columns = table["row"].to_numpy(), table["column"].to_numpy()
    assert len(table) == slide.tissue.sum()
    assert slide.tissue[rows, columns].all()
    np.testing.assert_array_equal(table["label"].to_numpy(), slide.positive[rows, columns])
    known = json.loads(table.schema.metadata[b"slide"])
    assert (known["id"], known["label"], known["site"]) == (slide.id, 1, slide.site)
    assert known["microns_per_pixel"] == 1.0
    assert sorted(path.name for path in written.parent.iterdir()) == ["one.tif", "one.tiles.parquet"]


def test_the_same_slide_gives_the_same_bytes(slide: Slide, written: Path, tmp_path: Path) -> None:
    write_slide(slide, tmp_path / "again.tif")
    assert (tmp_path / "again.tif").read_bytes() == written.read_bytes()


def test_memory_does_not_grow_with_the_slide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen times the tiles: as many are rendered at once, and what is held beside them grows by bytes a tile."""
    asked: list[int] = []

    def counted(slides: list[Slide], *, height: int, width: int, **_: object) -> SimpleNamespace:
        asked.append(len(slides) * height * width)
        return SimpleNamespace(pixels=np.zeros((len(slides), height, width, 3), dtype=np.uint8))

    monkeypatch.setattr(writing, "render_regions", counted)
    monkeypatch.setattr(writing, "_PIXELS_AT_ONCE", 2**15)
    peaks = []
    for across in (16, 64):
        slide = Slides(count=1, tiles_across=across, tile_size=32, seed=1).slide(0)
        tracemalloc.start()
        write_slide(slide, tmp_path / f"{across}.tif", levels=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(asked) == 2**15
    pixels = (64**2 - 16**2) * 32 * 32 * 3
    assert peaks[1] - peaks[0] < pixels / 20


def test_large_slides_are_bigtiff(slide: Slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_BIG", 1000)
    write_slide(slide, tmp_path / "big.tif", levels=1)
    with tifffile.TiffFile(tmp_path / "big.tif") as opened:
        assert opened.is_bigtiff
    with openslide.OpenSlide(tmp_path / "big.tif") as opened:
        assert opened.level_dimensions == ((240, 240),)


def test_levels_halve() -> None:
    slide = Slides(count=1, tiles_across=16, tile_size=64).slide(0)
    assert [level_count(slide, smallest=smallest) for smallest in (1024, 1023, 128, 1)] == [1, 2, 4, 11]


def test_what_cannot_be_written_is_refused(slide: Slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"written as TIFF; give it a name that ends in \.tif"):
        write_slide(slide, tmp_path / "slide.svs")
    with pytest.raises(InputError, match="12 levels requested for a slide of 240 pixels; expected 1 to 8"):
        write_slide(slide, tmp_path / "slide.tif", levels=12)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(MissingExtraError, match=r"snellen\[wsi\]"):
        write_slide(slide, tmp_path / "slide.tif")
    assert not list(tmp_path.iterdir())


def test_a_broken_write_leaves_nothing(slide: Slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> object:
        raise OSError("no space left")

    monkeypatch.setattr(writing, "render_regions", broken)
    with pytest.raises(OSError, match="no space left"):
        write_slide(slide, tmp_path / "slide.tif")
    assert not list(tmp_path.iterdir())
