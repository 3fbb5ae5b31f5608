"""Files that are no slides, or want too much: refused by name, before anything large is read; the others stay."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.data.files.whole_slides.loading import load_slides
from snellen.data.files.whole_slides.slide_file import SlideFile, SlideLimits
from snellen.data.files.whole_slides.tiling import Tiling
from tests.data.files.whole_slides.painted import glass, with_tissue, write_tiff

TILING = Tiling(tile=32, mpp=1.0)


def tissue() -> np.ndarray:
    return with_tissue(glass(), 64, 64, 128, 128)


def rejected(images: ImageSet) -> dict[str, str]:
    found = {}
    for position, one in enumerate(images.ids):
        try:
            images.read(position)
        except RejectedImageError as error:
            found[one] = str(error)
    return found


VMS = b"[Virtual Microscope Specimen]\nNoLayers=1\nImageFile=../../../etc/passwd\n"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "it does not begin as TIFF"),
        (b"hello", "it does not begin as TIFF"),
        (VMS, r"it does not begin as TIFF.*Slides of several files"),
        (b"II*\0" + b"\0" * 40, "no slide that OpenSlide reads"),
        (b"II*\0\x08\0\0\0" + b"\xff" * 200, "no slide that OpenSlide reads|is damaged"),
        (b"ZISRAWFILE" + b"\0" * 600, "no slide that OpenSlide reads|is damaged"),
    ],
)
def test_no_slide(tmp_path: Path, content: bytes, match: str) -> None:
    (tmp_path / "x.svs").write_bytes(content)
    with pytest.raises(RejectedImageError, match=match):
        SlideFile(tmp_path / "x.svs")


def test_plain_pictures_are_no_slides(tmp_path: Path) -> None:
    Image.fromarray(tissue()).save(tmp_path / "plain.tif")
    with pytest.raises(RejectedImageError, match="no slide that OpenSlide reads"):
        SlideFile(tmp_path / "plain.tif")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
def test_truncated_slides(tmp_path: Path, share: float) -> None:
    whole = write_tiff(tmp_path / "whole.tif", tissue()).read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(RejectedImageError, match=r"cut\.tif"):
        SlideFile(tmp_path / "cut.tif").thumbnail(256)
    images = load_slides(tmp_path, TILING)
    assert list(rejected(images)) == ["cut.tif"]
    assert len(images) > 10


def test_reasons_and_fingerprints_say_nothing_of_the_folder(tmp_path: Path) -> None:
    sets = []
    for place in ("here", "there"):
        write_tiff(tmp_path / place / "whole.tif", tissue())
        path = write_tiff(tmp_path / place / "wide.tif", tissue(), factors=(1,))
        with tifffile.TiffFile(path, mode="r+b") as opened:
            for side in ("ImageWidth", "ImageLength"):
                opened.pages[0].tags[side].overwrite(2**20)
        sets.append(load_slides(tmp_path / place, TILING))
    assert rejected(sets[0]) == rejected(sets[1]) == {"wide.tif": "slide wide.tif is damaged: Invalid TIFF: wide.tif"}
    assert sets[0].fingerprint() == sets[1].fingerprint()


def test_a_corrupt_region_spoils_its_tiles_only(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", tissue(), tile=32)
    healthy = load_slides(path, TILING)
    before = [healthy.read(position).tobytes() for position in range(len(healthy))]
    fingerprint = healthy.fingerprint()
    with tifffile.TiffFile(path) as opened:
        page = opened.pages[0]
        # The tile in row 3 and column 4 of the file's grid of 8 x 8.
        offset, length = page.dataoffsets[3 * 8 + 4], page.databytecounts[3 * 8 + 4]
    content = bytearray(path.read_bytes())
    content[offset : offset + length] = b"\xff" * length
    path.write_bytes(content)
    images = load_slides(path, TILING)
    assert images.ids == healthy.ids
    found = rejected(images)
    assert list(found) == ["slide.tif/0003-0004"]
    assert "slide slide.tif is damaged" in found["slide.tif/0003-0004"]
    after = [None if one in found else images.read(place).tobytes() for place, one in enumerate(images.ids)]
    assert sum(a != b for a, b in zip(after, before, strict=True)) == 1
    assert images.fingerprint() != fingerprint


def test_a_slide_without_tissue_is_a_bag_without_tiles(tmp_path: Path) -> None:
    write_tiff(tmp_path / "normal" / "bare.tif", glass())
    write_tiff(tmp_path / "tumor" / "full.tif", tissue())
    images = load_slides(tmp_path, TILING)
    assert rejected(images) == {
        "normal/bare.tif": "slide normal/bare.tif has no tile with 50% tissue: a bag without tiles. Check its "
        "thumbnail; set less tissue (tissue=…), or leave the slide out"
    }
    place = images.ids.index("normal/bare.tif")
    assert (images.column("bag_id")[place], images.column("bag_label")[place]) == ("normal/bare.tif", 0)
    assert np.isnan(images.source.tile_boxes([place])).all()
    assert images.source.bag_thumbnail("normal/bare.tif", 64).size == (64, 64)
    with pytest.raises(InputError, match=r"none of the 1 slides of .*bag without tiles"):
        load_slides(tmp_path / "normal" / "bare.tif", TILING)
    small = load_slides(tmp_path / "tumor" / "full.tif", Tiling(tile=256, mpp=1.0, tissue=0.2))
    assert len(small) == 1
    with pytest.raises(InputError, match="is smaller than one tile of 512 microns"):
        load_slides(tmp_path, Tiling(tile=512, mpp=1.0))


def test_slides_that_want_too_much(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", tissue(), factors=(1,))

    def slide(**limits: int) -> SlideFile:
        return SlideFile(path, limits=SlideLimits(**limits))

    with pytest.raises(RejectedImageError, match="256×256 pixels, a side more than 255 "):
        slide(max_side=255)
    with pytest.raises(RejectedImageError, match=r"tiles of 64×64 pixels \(max_read_pixels\)"):
        slide(max_read_pixels=1000)
    with pytest.raises(RejectedImageError, match=r"has no coarse level: .* 256×256 pixels, more than 65535"):
        slide(max_overview_pixels=65_535).thumbnail(16)
    with pytest.raises(RejectedImageError, match="a region of 100×100 pixels"):
        slide(max_read_pixels=9_999).read(0, 0, 0, 100)
    with pytest.raises(InputError, match=r"read from 128×128 pixels, more than 9999"):
        load_slides(path, Tiling(tile=16, mpp=8.0), limits=SlideLimits(max_read_pixels=9_999))
    with pytest.raises(InputError, match="has 64 tiles of 32 pixels, more than 63"):
        load_slides(path, TILING, limits=SlideLimits(max_tiles=63))
    with pytest.raises(InputError, match=r"coarser than the requested 0\.5"):
        load_slides(path, Tiling(tile=32, mpp=0.5))


def test_links_and_paths_that_lead_out(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_tiff(folder / "normal" / "a.tif", tissue())
    outside = write_tiff(tmp_path / "outside.tif", tissue())
    os.symlink(outside, folder / "normal" / "link.tif")
    os.mkfifo(folder / "normal" / "pipe.tif")
    found = rejected(load_slides(folder, TILING))
    assert found["normal/link.tif"] == "slide normal/link.tif: a link that leads out of the folder"
    assert "not a file but a named pipe" in found["normal/pipe.tif"]
    assert len(found) == 2
    (folder / "slides.csv").write_text("slide,label\nnormal/a.tif,0\n../outside.tif,1\n/etc/passwd,1\nnormal/b.tif,1\n")
    found = rejected(load_slides(folder / "slides.csv", TILING))
    assert found["../outside.tif"] == "slide ../outside.tif: the path leads out of its folder"
    assert "the path is absolute" in found["/etc/passwd"]
    assert "there is no such file" in found["normal/b.tif"]
    assert len(found) == 3


def test_names_are_text(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>.tif"
    write_tiff(tmp_path / "slides" / name, tissue())
    (tmp_path / "slides" / os.fsdecode(b"caf\xe9.tif")).write_bytes(b"no slide")
    images = load_slides(tmp_path / "slides", TILING)
    assert set(images.column("bag_id")) == {name, "caf\\xe9.tif"}
    assert list(rejected(images)) == ["caf\\xe9.tif"]
