"""A slide: its regions, its magnification, and the whole from afar, with any pyramid or none."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from snellen.core.errors import InputError, MissingExtraError, RejectedImageError
from snellen.data.files.whole_slides.slide_file import SlideFile, SlideLimits
from snellen.data.worlds.slides.plan import Slide
from snellen.data.worlds.slides.rendering import render_regions
from tests.data.files.whole_slides.painted import glass, with_tissue, write_tiff


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_regions_are_what_was_written(camelyon: Path, slides: list[Slide]) -> None:
    with SlideFile(camelyon / "tumor" / "tumor_001.tif") as slide:
        assert (slide.size, slide.downsamples, slide.resolution()) == ((384, 384), (1.0, 2.0, 4.0), 1.0)
        assert slide.name == "tumor_001.tif"
        for level, side in ((0, 48), (1, 30)):
            read = np.asarray(slide.read(100, 60, level, side))
            top, left = 60 >> level, 100 >> level
            drawn = render_regions([slides[1]], level=level, tops=[top], lefts=[left], height=side, width=side)
            np.testing.assert_array_equal(read, drawn.pixels[0])
        beyond = np.asarray(slide.read(370, 370, 0, 30))
        assert (beyond[14:] == 255).all()
        assert (beyond[:, 14:] == 255).all()


@pytest.mark.parametrize("factors", [(1,), (1, 2, 4), (1, 4)])
@pytest.mark.parametrize("pixel", [1.0, 2.0, 3.7, 8.0, 40.0])
def test_an_overview_is_the_mean_of_squares(tmp_path: Path, factors: tuple[int, ...], pixel: float) -> None:
    pixels = noise(240, 320)
    # Blocks of 64 pixels: the overview is put together from many.
    limits = SlideLimits(max_read_pixels=2**16)
    slide = SlideFile(write_tiff(tmp_path / "slide.tif", pixels, factors=factors), limits=limits)
    for coarser in (False, True):
        picture, spanned = slide.overview(pixel, coarser=coarser)
        assert spanned >= pixel if coarser else spanned <= pixel
        assert spanned % 1 == 0
        size = int(spanned)
        height, width = 240 // size, 320 // size
        cut = pixels[: height * size, : width * size].reshape(height, size, width, size, 3).mean((1, 3))
        ours = np.asarray(picture)[:height, :width].astype(float)
        assert np.abs(ours - cut).max() < 1.01  # rounded at most twice
        assert picture.size == (-(-320 // size), -(-240 // size))
    slide.close()


def test_thumbnails_fit(tmp_path: Path) -> None:
    pixels = with_tissue(glass(200, 400), 0, 200, 100, 200)
    slide = SlideFile(write_tiff(tmp_path / "slide.tif", pixels))
    for longest in (400, 333, 100, 7):
        picture = slide.thumbnail(longest)
        assert max(picture.size) == longest
        assert abs(picture.height - longest / 2) <= 0.5
    shown = np.asarray(slide.thumbnail(100).convert("HSV"))[..., 1] > 40
    assert shown[:24, 52:].all()
    assert not shown[26:].any()
    assert not shown[:, :48].any()
    with pytest.raises(InputError, match="at least 1 pixel"):
        slide.thumbnail(0)


def test_each_thread_reads_alone_and_all_alike(camelyon: Path) -> None:
    slide = SlideFile(camelyon / "tumor" / "tumor_001.tif")
    places = [(x, y) for x in range(0, 384, 48) for y in range(0, 384, 48)]
    alone = [slide.read(x, y, 0, 48).tobytes() for x, y in places]
    with ThreadPoolExecutor(4) as pool:
        barrier = threading.Barrier(4)
        list(pool.map(lambda _: barrier.wait(timeout=600), range(4)))
        together = list(pool.map(lambda place: slide.read(*place, 0, 48).tobytes(), places))
        assert together == alone
        assert slide._handles.open_count <= 5
    slide.close()
    assert slide._handles.open_count == 0
    assert slide.read(0, 0, 0, 48).tobytes() == alone[0]
    slide.close()


@pytest.mark.parametrize(
    ("mpp", "given", "expected"), [(0.5, None, 0.5), (0.5, 2.0, 0.5), (None, 2.0, 2.0), ((0.5, 0.501), None, 0.5005)]
)
def test_the_file_knows_its_magnification_best(tmp_path: Path, mpp: object, given: object, expected: float) -> None:
    slide = SlideFile(write_tiff(tmp_path / "slide.tif", glass(), mpp=mpp), mpp=given)
    assert slide.resolution() == pytest.approx(expected, rel=1e-3)


def test_without_magnification_there_is_none(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", glass(), mpp=None)
    with pytest.raises(
        RejectedImageError, match=r"slide\.tif does not state its microns per pixel; give it with slide_m"
    ):
        SlideFile(path).resolution()
    slide = SlideFile(path)
    slide.properties["openslide.objective-power"] = "40"
    with pytest.raises(RejectedImageError, match=r"a lens of 40 times: often 0\.25"):
        slide.resolution()
    with pytest.raises(RejectedImageError, match=r"pixels of 0\.5×1 microns"):
        SlideFile(write_tiff(tmp_path / "oblong.tif", glass(), mpp=(0.5, 1.0)))


def test_what_was_not_scanned_is_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slide = SlideFile(write_tiff(tmp_path / "slide.tif", glass()))
    holes = Image.new("RGBA", (8, 8), (10, 20, 30, 255))
    holes.paste((0, 0, 0, 0), (0, 0, 4, 8))
    with slide._slide() as handle:
        monkeypatch.setattr(type(handle), "read_region", lambda *_: holes)
    assert slide.read(0, 0, 0, 8).getpixel((1, 1)) == (255, 255, 255)
    slide.properties["openslide.background-color"] = "f0f0e8"
    read = slide.read(0, 0, 0, 8)
    assert (read.getpixel((1, 1)), read.getpixel((6, 1))) == ((240, 240, 232), (10, 20, 30))


def test_fingerprints_tell_files_apart(tmp_path: Path) -> None:
    def fingerprint(file: str, pixels: np.ndarray, **options: object) -> str:
        return SlideFile(write_tiff(tmp_path / file, pixels), **options).fingerprint

    pixels = noise(64, 64)
    changed = pixels.copy()
    changed[40, 40] ^= 1
    first = fingerprint("a.tif", pixels)
    assert first == fingerprint("b.tif", pixels) == fingerprint("a.tif", pixels, name="another")
    assert first != fingerprint("c.tif", changed)
    assert SlideFile(write_tiff(tmp_path / "d.tif", pixels, mpp=None), mpp=2.0).fingerprint != first


def test_without_openslide_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tiff(tmp_path / "slide.tif", glass())
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(MissingExtraError, match=r"reading slides needs the package 'openslide'.*snellen\[wsi\]"):
        SlideFile(path)
