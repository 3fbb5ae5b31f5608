import json

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.data.worlds.view_set import boxes_of_coverage, view_set


class Discs:
    """A disc, larger for larger objects, as bright as the azimuth."""

    size = 16
    recipe = "discs 1"
    objects = ("big", "little")

    def __init__(self):
        self.calls = []

    def class_of(self, object_id):
        return {"big": "plate", "little": "coin"}[object_id]

    def content_hash(self, object_id):
        return object_id

    def render(self, object_id, viewpoints):
        self.calls.append((object_id, len(viewpoints)))
        place = torch.arange(16) - 7.5
        inside = (place[:, None] ** 2 + place[None] ** 2).sqrt() < (6 if object_id == "big" else 3)
        coverage = inside.float().expand(len(viewpoints), -1, -1)
        tone = viewpoints[:, 1, None, None].float() / 360
        image = tone * coverage + 1 - coverage
        return image[:, None].expand(-1, 3, -1, -1), coverage


class Backdrop:
    def pictures(self, rows):
        return torch.stack([torch.full((3, 16, 16), row / 10) for row in rows])

    def recipe(self, row):
        return f"tone {row}"


def viewpoints(*azimuths):
    return torch.tensor([[0.0, azimuth, 0.0, 4.0, 0.0, 0.0] for azimuth in azimuths])


def both(**values):
    return view_set(Discs(), {"big": viewpoints(90, 180), "little": viewpoints(36)}, **values)


def test_rows_follow_the_mapping():
    images = both(split="train", name="discs", seed=3, groups=["a", "b", "a"])
    assert images.ids == ["big/0000", "big/0001", "little/0000"]
    assert images.class_names == ("coin", "plate")
    assert images.labels.tolist() == [1, 1, 0]
    assert images.column("unit_id") == ["big", "big", "little"]
    assert images.column("mask")[2] == "masks/little/0000.png"
    assert images.column("group") == ["a", "b", "a"]
    assert images.column("split") == ["train"] * 3
    assert json.loads(images.column("attributes")[1]) == {
        "object": "big", "class": "plate", "roll": 0.0, "azimuth": 180.0, "elevation": 0.0, "distance": 4.0,
        "shift_x": 0.0, "shift_y": 0.0,
    }  # fmt: skip
    assert json.loads(images.column("provenance")[0])["seed"] == 3
    assert images.column("boxes") == [None] * 3


def test_pixels_and_masks_are_those_of_the_renderer():
    images = both()
    pixels = np.asarray(images.read(1))
    assert pixels[8, 8].tolist() == [128] * 3
    assert pixels[0, 0].tolist() == [255] * 3
    mask = np.asarray(images.read_mask(2))
    assert mask[8, 8] == 255
    assert mask[8, 2] == 0


def test_views_of_an_object_are_rendered_in_one_call():
    discs = Discs()
    images = view_set(discs, {"big": viewpoints(*range(50)), "little": viewpoints(*range(20))})
    for row in range(70):
        images.read(row)
    assert discs.calls == [("big", 50), ("little", 20)]


def test_a_backdrop_takes_the_place_of_white():
    images = both(backdrop=Backdrop())
    for row, tone in ((1, 26), (2, 51)):
        pixels = np.asarray(images.read(row))
        assert pixels[0, 0, 0] == tone
        assert np.array_equal(pixels[8, 8], np.asarray(both().read(row))[8, 8])


def test_the_hash_follows_from_everything_the_pixels_follow_from():
    plain, other = both(), view_set(Discs(), {"big": viewpoints(90, 181), "little": viewpoints(36)})
    assert plain.content_hash(0) == other.content_hash(0)
    assert plain.content_hash(1) != other.content_hash(1)
    assert plain.content_hash(0) != both(backdrop=Backdrop()).content_hash(0)
    assert len({plain.content_hash(row) for row in range(3)}) == 3


def test_boxes_are_kept_where_something_is_seen():
    def boxes(object_id, rows):
        found = np.tile(np.array([2, 3, 14, 13], dtype=np.float32), (len(rows), 1))
        found[0] = np.nan
        return found

    assert both(boxes=boxes).column("boxes") == [[], [[2.0, 3.0, 14.0, 13.0]], []]


def test_boxes_of_coverage_are_found():
    coverage = Discs().render("little", viewpoints(0, 0))[1].clone()
    coverage[1] = 0.4
    boxes = boxes_of_coverage(coverage)
    assert boxes[0].tolist() == [5, 5, 11, 11]
    assert np.isnan(boxes[1]).all()
    assert boxes_of_coverage(coverage[:0]).shape == (0, 4)


def test_more_may_be_known_about_an_object():
    images = both(attributes_by_object={"little": {"metal": "gold"}})
    assert json.loads(images.column("attributes")[2])["metal"] == "gold"
    assert "metal" not in json.loads(images.column("attributes")[0])


@pytest.mark.parametrize(
    ("mapping", "values", "told"),
    [
        ({}, {}, "at least one object"),
        ({"big": torch.zeros(2, 5)}, {}, r"viewpoints of big must be \(m, 6\)"),
        ({"big": torch.full((1, 6), torch.nan)}, {}, "not finite"),
        ({"big": viewpoints(1)}, {"class_names": ("coin",)}, "big is a plate"),
        ({"big": viewpoints(1)}, {"groups": ["a", "b"]}, "one for each of the 1 views; got 2"),
    ],
)
def test_sets_that_cannot_be(mapping, values, told):
    with pytest.raises(InputError, match=told):
        view_set(Discs(), mapping, **values)
