import json

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.method import World
from snellen.data.worlds.solids.assemblies import SOLID_CLASSES
from snellen.data.worlds.solids.solid_set import GROUNDS, RANGES, Grounds, Solids, draw_viewpoints
from snellen.data.worlds.view_set import LayeredRenderer
from snellen.data.worlds.viewpoints import COORDINATES

SMALL = Solids(classes=("mug", "house"), objects=2, views=3, size=32)


def test_the_table_says_what_is_known():
    images = SMALL.images(split="val")
    assert isinstance(SMALL, World)
    assert len(images) == 12
    assert images.class_names == ("mug", "house")
    assert images.split == "val"
    assert images.ids[:4] == ["val/mug-0000/0000", "val/mug-0000/0001", "val/mug-0000/0002", "val/mug-0001/0000"]
    assert images.labels.tolist() == [0] * 6 + [1] * 6
    assert images.column("unit_id")[0] == "val/mug-0000"
    assert images.column("group") == ["white"] * 12
    known = json.loads(images.column("attributes")[4])
    assert known["object"] == "val/mug-0001"
    assert known["class"] == "mug"
    assert known["instance"] == 1
    assert set(known) == {"object", "class", "instance", *COORDINATES}
    made = json.loads(images.column("provenance")[0])
    assert made["origin"] == "generated"
    assert made["generator"].startswith("snellen solids")


def test_what_is_read_is_what_the_attributes_say():
    images = SMALL.images()
    known = json.loads(images.column("attributes")[7])
    viewpoint = torch.tensor([[known[name] for name in COORDINATES]], dtype=torch.float64)
    picture, coverage = SMALL.renderer().render(known["object"], viewpoint)
    pixels = np.asarray(images.read(7)).astype(float) / 255
    assert np.abs(pixels - picture[0].permute(1, 2, 0).numpy()).max() <= 0.5 / 255 + 1e-6
    assert np.abs(np.asarray(images.read_mask(7)) / 255.0 - coverage[0].numpy()).max() <= 0.5 / 255 + 1e-6


def test_boxes_lie_about_masks():
    images = Solids(classes=("chair",), objects=2, views=6, viewpoints="any").images()
    for row, boxes in enumerate(images.column("boxes")):
        mask = np.asarray(images.read_mask(row)) > 127
        left, top, right, bottom = boxes[0]
        columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        assert left <= columns[0] + 1
        assert top <= rows[0] + 1
        assert right >= columns[-1]
        assert bottom >= rows[-1]


def test_splits_share_no_object():
    parts = [SMALL.renderer(split=split) for split in ("train", "val", "test")]
    hashes = [{one.content_hash(name) for name in one.objects} for one in parts]
    assert len(set.union(*hashes)) == 12
    ids = [set(SMALL.images(split=split).column("unit_id")) for split in ("train", "val", "test")]
    assert len(set.union(*ids)) == 12


def test_views_do_not_depend_on_how_many_there_are():
    few = SMALL.images()
    many = Solids(classes=("car", "mug", "house"), objects=3, views=5, size=32).images()
    place = {key: row for row, key in enumerate(many.ids)}
    for row in (0, 4, 11):
        other = place[few.ids[row]]
        assert few.column("attributes")[row] == many.column("attributes")[other]
        assert few.column("boxes")[row] == many.column("boxes")[other]
        assert few.content_hash(row) == many.content_hash(other)
        assert np.array_equal(np.asarray(few.read(row)), np.asarray(many.read(other)))


def test_the_seed_changes_objects_and_viewpoints():
    first, second = SMALL.images(), SMALL.model_copy(update={"seed": 1}).images()
    assert first.column("attributes")[0] != second.column("attributes")[0]
    assert first.content_hash(0) != second.content_hash(0)
    assert not np.array_equal(np.asarray(first.read(0)), np.asarray(second.read(0)))


def test_viewpoints_stay_within_their_range():
    for within, (low, high) in RANGES.items():
        drawn = draw_viewpoints(range(300), within)
        assert drawn.shape == (300, 6)
        low, high = torch.tensor(low), torch.tensor(high)
        assert (drawn >= low).all()
        assert (drawn <= high).all()
        spread = (drawn.amax(0) - drawn.amin(0)) / (high - low)
        assert (spread > 0.97).all()
        assert torch.equal(drawn[7:8], draw_viewpoints([7], within))
    assert draw_viewpoints([], "any").shape == (0, 6)


def test_grounds_lie_behind_the_object():
    plain = Solids(classes=("tree",), objects=1, views=30, backgrounds=GROUNDS, shadow=False)
    images, white = plain.images(), plain.model_copy(update={"backgrounds": ("white",)}).images()
    groups = images.column("group")
    assert set(groups) > {"grass", "plain", "night"}
    for row, ground in enumerate(groups):
        pixels, mask = np.asarray(images.read(row)).astype(int), np.asarray(images.read_mask(row))
        before_white = np.asarray(white.read(row)).astype(int)
        assert (np.abs(pixels - before_white)[mask == 255] <= 1).all()
        assert (ground == "white") == bool((pixels == before_white).all())


def test_shadows_darken_the_ground():
    one = Solids(classes=("tree",), objects=1, views=4, backgrounds=("grass",))
    with_shadow, without = one.images(), one.model_copy(update={"shadow": False}).images()
    dark, light = (np.asarray(images.read(1)).astype(int) for images in (with_shadow, without))
    assert (dark <= light).all()
    assert (light - dark).max() > 20


def test_a_ground_does_not_depend_on_the_others():
    grounds = Grounds(names=GROUNDS, seeds=tuple(range(len(GROUNDS))), size=24)
    together = grounds.pictures(range(len(GROUNDS)))
    assert together.min() >= 0
    assert together.max() <= 1
    for row in range(len(GROUNDS)):
        assert torch.equal(grounds.pictures([row])[0], together[row])
    assert grounds.recipe(0) != grounds.recipe(1)


def test_the_renderer_has_layers():
    assert isinstance(SMALL.renderer(), LayeredRenderer)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"classes": ()}, "at least 1"),
        ({"classes": ("mug", "mug")}, "must differ"),
        ({"backgrounds": ("white", "white")}, "must differ"),
        ({"classes": ("mugs",)}, "expected "),
        ({"size": 4}, "at least 8"),
        ({"views": 0}, "at least 1"),
        ({"viewpoints": "odd"}, "natural"),
    ],
)
def test_sets_that_cannot_be(values, told):
    with pytest.raises(InputError, match=told):
        Solids(**values)


def test_all_classes_unless_stated_otherwise():
    assert Solids(objects=1, views=1).images().class_names == SOLID_CLASSES
