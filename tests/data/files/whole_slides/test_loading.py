"""Slides as an image set: tiles against the truth, labels from folders and tables, references, seams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snellen.core.errors import InputError, RejectedImageError, UnknownNameError
from snellen.core.images import COLUMNS
from snellen.core.preprocessing import Preprocessing
from snellen.data.files.bags import Bags, TiledSource, boxes_of_tiles
from snellen.data.files.whole_slides.loading import load_slides
from snellen.data.files.whole_slides.tiling import Tiling
from snellen.data.loading import prepared_batches
from snellen.data.references import load_images
from snellen.data.worlds.slides.plan import Slide
from snellen.data.worlds.slides.rendering import render_regions
from tests.data.files.whole_slides.painted import glass, with_tissue, write_tiff

TILING = Tiling(tile=48, mpp=1.0)


class Heard:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def begin(self, task: str, total: float) -> None:
        self.notes.append(f"{task} {total}")

    def advance(self, task: str, amount: float, note: str = "") -> None:
        self.notes.append(note)

    def finish(self, task: str) -> None:
        self.notes.append("done")


def test_tiles_are_those_of_the_truth(camelyon: Path, slides: list[Slide]) -> None:
    heard = Heard()
    images = load_slides(camelyon, TILING, progress=heard)
    assert heard.notes == ["indexing slides 2", "normal/normal_001.tif", "tumor/tumor_001.tif", "done"]
    assert images.class_names == ("normal", "tumor")
    for slide, name in zip(slides, ("normal/normal_001.tif", "tumor/tumor_001.tif"), strict=True):
        of_slide = images.select([row for row, bag in enumerate(images.column("bag_id")) if bag == name])
        found = np.zeros_like(slide.tissue)
        rows, columns = (np.array(of_slide.column(f"tile_{axis}")) for axis in ("row", "column"))
        found[rows, columns] = True
        # The plan of a slide judges tissue by its outline, not by saturation: tiles that are half tissue may differ.
        assert (found != slide.tissue).sum() <= 2
        assert (found & slide.tissue).sum() >= 12
        np.testing.assert_array_equal(of_slide.labels, slide.positive[rows, columns])
        assert set(of_slide.column("bag_label")) == {slide.label}
        chosen = [0, len(of_slide) // 2, len(of_slide) - 1]
        drawn = render_regions(
            [slide] * 3, level=0, tops=list(rows[chosen] * 48), lefts=list(columns[chosen] * 48), height=48, width=48
        )
        for position, pixels in zip(chosen, drawn.pixels, strict=True):
            np.testing.assert_array_equal(np.asarray(of_slide.read(position)), pixels)
    assert all(
        images.table.schema.field(name).type == COLUMNS[name] for name in COLUMNS if name in images.table.schema.names
    )
    bags = Bags.of(images.unlabelled())
    assert (bags.ids, bags.labels.tolist()) == (("normal/normal_001.tif", "tumor/tumor_001.tif"), [0, 1])
    assert [str(unit).split()[0] for unit in bags.units] == list(bags.ids)


def test_slides_of_one_name_in_two_folders_are_not_one_unit(tmp_path: Path) -> None:
    units = []
    for place, seed in (("train", 0), ("test", 1), ("copy", 0)):
        write_tiff(tmp_path / place / "1.tif", with_tissue(glass(seed=seed), 0, 0, 128, 128))
        units.append(set(load_slides(tmp_path / place, TILING).column("unit_id")))
    assert units[0].isdisjoint(units[1])
    assert units[0] == units[2]


def test_truth_of_another_grid_is_not_taken(camelyon: Path, tmp_path: Path) -> None:
    assert "label" not in load_slides(camelyon, Tiling(tile=24, mpp=1.0)).table.column_names
    assert "label" not in load_slides(camelyon, Tiling(tile=48, mpp=1.0, stride=24)).table.column_names
    assert load_slides(camelyon, Tiling(tile=24, mpp=2.0)).has_labels
    path = write_tiff(tmp_path / "tumor" / "a.tif", with_tissue(glass(), 0, 0, 128, 128))
    write_tiff(tmp_path / "normal" / "b.tif", with_tissue(glass(), 0, 0, 128, 128))
    path.with_name("a.tiles.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(InputError, match=r"tumor/a\.tiles\.parquet is no table of the truth of tiles"):
        load_slides(tmp_path, TILING)


def test_a_coarser_magnification_is_resampled(camelyon: Path, slides: list[Slide]) -> None:
    images = load_slides(camelyon, Tiling(tile=32, mpp=3.0))
    assert images.source.slides[1].tiles.level == 1
    row, column = images.column("tile_row")[-1], images.column("tile_column")[-1]
    drawn = render_regions([slides[1]], level=0, tops=[row * 96], lefts=[column * 96], height=96, width=96).pixels[0]
    expected = drawn.reshape(32, 3, 32, 3, 3).mean((1, 3))
    read = images.read(len(images) - 1)
    assert read.size == (32, 32)
    assert np.abs(np.asarray(read) - expected).mean() < 6
    assert np.abs(np.asarray(read).astype(float).mean((0, 1)) - expected.mean((0, 1))).max() < 2


def test_boxes_are_where_the_thumbnail_shows_the_tile(camelyon: Path) -> None:
    images = load_slides(camelyon, TILING)
    assert isinstance(images.source, TiledSource)
    chosen = images.select(np.arange(len(images))[::-4])
    boxes = boxes_of_tiles(chosen, range(len(chosen)))
    for position in range(len(chosen)):
        picture = images.source.bag_thumbnail(str(chosen.column("bag_id")[position]), 384)
        left, top, right, bottom = (boxes[position] * [*picture.size, *picture.size]).round().astype(int)
        np.testing.assert_array_equal(np.asarray(picture)[top:bottom, left:right], np.asarray(chosen.read(position)))
    with pytest.raises(InputError, match="there is no slide"):
        images.source.bag_thumbnail("elsewhere", 64)


def test_threads_give_the_same(camelyon: Path) -> None:
    images = load_slides(camelyon, TILING)
    preparation = Preprocessing(size=(48, 48))
    alone, together = (
        [batch.pixels for batch in prepared_batches(images, preparation, 8, workers=workers)] for workers in (0, 4)
    )
    assert all(bool((one == other).all()) for one, other in zip(alone, together, strict=True))
    images.source.close()
    assert images.source.slides[0].file._handles.open_count == 0


def test_contents_are_reported_without_reading_pixels(camelyon: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = load_slides(camelyon, TILING)
    again = load_slides(camelyon, TILING)
    coarser = load_slides(camelyon, Tiling(tile=24, mpp=2.0))
    monkeypatch.setattr(type(images.source), "read", None)
    assert images.fingerprint() == again.fingerprint()
    assert images.ids == coarser.ids
    assert images.fingerprint() != coarser.fingerprint()
    assert len({images.content_hash(position) for position in range(len(images))}) == len(images)


def test_a_slide_that_vanishes_is_rejected_and_stops_nothing(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", with_tissue(glass(), 0, 0, 128, 128))
    table = tmp_path / "slides.csv"
    table.write_text("slide,patient\na.tif,p1\n")
    images, before = load_slides(table, TILING), load_slides(table, TILING).fingerprint()
    path.unlink()
    images.source.close()
    assert images.fingerprint() != before
    with pytest.raises(RejectedImageError, match=r"slide a\.tif"):
        images.read(0)


def test_a_table_says_what_is_known(camelyon: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1), ("c", 2)):
        write_tiff(tmp_path / f"{name}.tif", with_tissue(glass(seed=seed), 0, 0, 128, 128))
    table = tmp_path / "slides.csv"
    table.write_text(
        "slide,label,patient,site,split,stain\na.tif,metastasis,p1,north,train,HE\nb.tif,healthy,p1,north,val,HE\n"
        "c.tif,,p2,,test,HE\n"
    )
    images = load_slides(table, Tiling(tile=32))
    assert images.class_names == ("healthy", "metastasis")
    bags = Bags.of(images, labelled=False)
    assert (bags.ids, bags.labels.tolist(), bags.units) == (("a.tif", "b.tif", "c.tif"), [1, 0, -1], ("p1", "p1", "p2"))
    firsts = [rows[0] for rows in bags.members]
    assert [images.column("group")[row] for row in firsts] == ["north", "north", None]
    assert [images.column("split")[row] for row in firsts] == ["train", "val", "test"]
    train = load_images(f"slides:{table}?tile=32#train")
    assert (set(train.column("bag_id")), train.split, train.class_names) == ({"a.tif"}, "train", images.class_names)
    assert train.name == "slides (train split)"
    turned = load_images(f"slides:{table}?tile=32&classes=metastasis,healthy")
    assert Bags.of(turned, labelled=False).labels.tolist() == [0, 1, -1]
    table.write_text("slide,label\na.tif,1\nb.tif,00\n")
    numbered = load_slides(table, Tiling(tile=32))
    assert numbered.class_names == ("0", "1")
    assert Bags.of(numbered).labels.tolist() == [1, 0]


def test_references_say_what_is_wrong(camelyon: Path, tmp_path: Path) -> None:
    heard = Heard()
    images = load_images(f"slides:{camelyon}?tile=48&mpp=1.0&tissue=0.5", name="lymph nodes", progress=heard)
    assert heard.notes[0] == "indexing slides 2"
    assert (images.name, images.ids) == ("lymph nodes", load_slides(camelyon, TILING).ids)
    for query, error, match in (
        ("tiles=48", UnknownNameError, "did you mean 'tile'"),
        ("tile=two", InputError, "tile: expected a whole number"),
        ("tile=48&tile=50", InputError, "tile is given twice"),
        ("classes=normal,odd", InputError, "slide tumor/tumor_001.tif is of class 'tumor'"),
    ):
        with pytest.raises(error, match=match):
            load_images(f"slides:{camelyon}?{query}")
    with pytest.raises(InputError, match="has no slides of split 'train'"):
        load_images(f"slides:{camelyon}#train")
    with pytest.raises(InputError, match="there are no slides at"):
        load_images(f"slides:{tmp_path / 'nothing'}")
    with pytest.raises(InputError, match=r"holds no slides: looked for files ending in \.svs"):
        load_images(f"slides:{tmp_path}")
    with pytest.raises(InputError, match="names no slides"):
        load_images("slides:")
    bad = tmp_path / "bad.csv"
    for text, match in (
        ("path,label\na.tif,1\n", "has no column 'slide'"),
        ("slide\n", "lists no slides"),
        ("slide,label\na.tif,1\na.tif,0\n", "line 3: slide a.tif is listed twice"),
        ("slide,split\na.tif,later\n", "line 2: unknown split 'later'"),
        ("slide,label\n,1\n", "line 2: no slide is named"),
    ):
        bad.write_text(text)
        with pytest.raises(InputError, match=match):
            load_images(f"slides:{bad}")


def test_magnification_that_no_file_tells(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", with_tissue(glass(), 0, 0, 128, 128), mpp=None)
    with pytest.raises(InputError, match="does not state its microns per pixel; give it with slide_mpp=VALUE"):
        load_slides(tmp_path, Tiling(tile=32))
    assert len(load_images(f"slides:{tmp_path}?tile=32&slide_mpp=1.0")) == 16
    assert len(load_images(f"slides:{tmp_path}?tile=32&slide_mpp=0.5")) == 4


def test_slides_beside_class_folders_and_splits_of_folders(tmp_path: Path) -> None:
    pixels = with_tissue(glass(), 0, 0, 128, 128)
    for place in ("train/normal/a", "train/tumor/b", "test/normal/c", "test/tumor/d"):
        write_tiff(tmp_path / "split" / f"{place}.tif", pixels)
    images = load_slides(tmp_path / "split", Tiling(tile=32), split="test")
    assert (set(images.column("bag_id")), images.split) == ({"test/normal/c.tif", "test/tumor/d.tif"}, "test")
    for place in ("training/normal/a", "training/tumor/b", "testing/images/c"):
        write_tiff(tmp_path / "CAMELYON16" / f"{place}.tif", pixels)
    both = load_slides(tmp_path / "CAMELYON16", Tiling(tile=32))
    assert both.class_names == ("normal", "tumor")
    assert Bags.of(both, labelled=False).labels.tolist() == [-1, 0, 1]
    assert set(both.column("split")) == {"train", "test"}
    write_tiff(tmp_path / "mixed" / "normal" / "a.tif", pixels)
    write_tiff(tmp_path / "mixed" / "b.tif", pixels)
    mixed = load_slides(tmp_path / "mixed", Tiling(tile=32))
    assert mixed.source.slides[0].refused == (
        "slide b.tif: lies beside the class folders, so its class is unknown; move it into one of them"
    )


def test_one_slide_alone_has_no_classes_and_no_truth(camelyon: Path) -> None:
    assert camelyon.joinpath("tumor", "tumor_001.tiles.parquet").is_file()
    images = load_slides(camelyon / "tumor" / "tumor_001.tif", TILING)
    assert images.class_names is None
    assert not images.has_labels
    assert "bag_label" not in images.table.column_names
