"""A tree of captioned cut-outs: what is taken, what it is called, pairs on two backgrounds, and hostile trees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from snellen.core.errors import InputError, RejectedImageError
from snellen.data.files.catalogue.cutout_source import Placement, plain_background
from snellen.data.files.catalogue.stamps import load_stamps
from tests.data.files.catalogue.small_files import stamp

SMALL = Placement(size=24)


def tree(folder: Path) -> Path:
    stamp(folder, "animals/birds/crow", caption=b"A crow.\nde.utf8=Eine Kr\xc3\xa4he.\n")
    stamp(folder, "animals/birds/crow_mirror", caption=None)
    stamp(folder, "animals/fish/shark", caption=b"A shark. Help!\n", width=20, height=5)
    stamp(folder, "food/bread", caption=None)
    stamp(folder, "food/cartoon/cake")
    stamp(folder, "symbols/shapes/star")
    (folder / "food" / "bread.ogg").write_bytes(b"sound")
    return folder


def test_columns(tmp_path: Path) -> None:
    images = load_stamps(tree(tmp_path), placement=SMALL)
    assert images.ids == ["animals/birds/crow/white", "animals/fish/shark/white", "food/bread/white"]
    assert (images.class_names, images.labels.tolist()) == (("animals", "food"), [0, 0, 1])
    assert images.column("unit_id") == ["animals/birds/crow", "animals/fish/shark", "food/bread"]
    assert images.column("caption") == ["A crow.", "A shark. Help!", None]
    attributes = [json.loads(str(text)) for text in images.column("attributes")]
    assert [one["chatty"] for one in attributes] == [False, True, False]
    assert attributes[0]["folders"] == ["animals", "birds"]
    assert attributes[1]["enlarged"] == 1.0
    assert images.column("group") == ["white"] * 3
    made = json.loads(str(images.column("provenance")[0]))
    assert (made["origin"], made["source_id"]) == ("real", "animals/birds/crow.png")
    assert images.read(0).size == (24, 24)


def test_boxes_are_those_of_the_masks(tmp_path: Path) -> None:
    images = load_stamps(tree(tmp_path), placement=Placement(size=40, least_share=0.3, position="anywhere"))
    for row, boxes in enumerate(images.column("boxes")):
        mask = images.read_mask(row)
        assert mask is not None
        inside = np.asarray(mask) >= 128
        down, across = np.nonzero(inside)
        assert boxes == [[across.min(), down.min(), across.max() + 1, down.max() + 1]]


def test_deeper_classes_and_other_choices(tmp_path: Path) -> None:
    tree(tmp_path)
    assert load_stamps(tmp_path, depth=2).class_names == ("animals/birds", "animals/fish", "food")
    everything = load_stamps(tmp_path, without=())
    assert "food/cartoon/cake/white" in everything.ids
    assert "symbols/shapes/star/white" in everything.ids
    chosen = load_stamps(tmp_path, files=["food/bread.png", "animals/birds/crow.png", "absent.png"])
    assert chosen.ids == ["animals/birds/crow/white", "food/bread/white"]


def test_pairs_differ_in_nothing_but_the_background(tmp_path: Path) -> None:
    def striped(number: int) -> Image.Image:
        return Image.fromarray(np.full((8, 8, 3), 40 * number, dtype=np.uint8))

    placement = Placement(size=32, least_share=0.4, most_share=0.7, position="anywhere")
    backgrounds = {"sky": plain_background((90, 160, 230)), "stripes": striped}
    images = load_stamps(tree(tmp_path), placement=placement, backgrounds=backgrounds)
    assert len(images) == 6
    assert images.column("group") == ["sky", "stripes"] * 3
    for row in range(0, 6, 2):
        one, other = (np.asarray(images.read(row + k)) for k in (0, 1))
        masks = [np.asarray(images.read_mask(row + k)) for k in (0, 1)]
        assert (masks[0] == masks[1]).all()
        assert (one == other).all(-1)[masks[0] == 255].all()
        assert (one[masks[0] == 0] == (90, 160, 230)).all()
        assert (other[masks[0] == 0] == 40 * (row // 2)).all()
        assert len({images.column(column)[row + k] for k in (0, 1) for column in ["unit_id"]}) == 1
        assert json.loads(str(images.column("provenance")[row]))["origin"] == "edited"


def test_a_cut_out_does_not_depend_on_what_else_is_there(tmp_path: Path) -> None:
    placement = Placement(size=32, least_share=0.4, position="anywhere")
    every = load_stamps(tree(tmp_path), placement=placement)
    alone = load_stamps(tmp_path, placement=placement, files=["food/bread.png"])
    assert alone.content_hash(0) == every.content_hash(2)


def test_hostile_trees(tmp_path: Path) -> None:
    root = tree(tmp_path / "stamps")
    stamp(tmp_path, "outside/secret")
    (root / "food" / "link.png").symlink_to(tmp_path / "outside" / "secret.png")
    (root / "food" / "damaged.png").write_bytes((root / "food" / "bread.png").read_bytes()[:60])
    (root / "food" / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    stamp(root, "food/latin", caption=b"Caf\xe9")
    stamp(root, "beside")
    images = load_stamps(root, placement=SMALL)
    assert images.class_names == ("animals", "food")
    told = {}
    for row, one in enumerate(images.ids):
        try:
            images.read(row)
        except RejectedImageError as error:
            told[one] = str(error)
            assert images.column("boxes")[row] == []
    assert sorted(told) == [
        "beside/white",
        "food/bomb/white",
        "food/damaged/white",
        "food/latin/white",
        "food/link/white",
    ]
    assert "leads out of the folder" in told["food/link/white"]
    assert "damaged" in told["food/damaged/white"]
    assert "not UTF-8 at byte 3" in told["food/latin/white"]
    assert "beside the folders" in told["beside/white"]
    assert images.column("label")[0:1] == [0]
    assert images.column("label")[images.ids.index("beside/white")] is None


def test_what_makes_no_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no cut-outs: expected \.png files"):
        load_stamps(tmp_path)
    tree(tmp_path)
    with pytest.raises(InputError, match="at least one background"):
        load_stamps(tmp_path, backgrounds={})
    with pytest.raises(InputError, match="got 'a/b', expected no '/'"):
        load_stamps(tmp_path, backgrounds={"a/b": plain_background()})
    with pytest.raises(InputError, match="depth is the number of folders"):
        load_stamps(tmp_path, depth=0)
