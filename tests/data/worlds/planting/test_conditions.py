"""Factors by path, by name of a number, and conditions on rows."""

from __future__ import annotations

import json

import pytest

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.data.worlds.optotypes.scene import Light, Scene, SceneObject
from snellen.data.worlds.planting.selections import factor, holds, rows_where
from tests.data.worlds.planting.labelled_sets import labelled_set

STAR = SceneObject(shape="star", colour="red", radius=0.74, x=-0.3, y=0.2, rotation=0.3)
SCENE = Scene(objects=(STAR,), background="grass", light=Light(level=0.55))
RECORD = json.loads(SCENE.to_json())


def test_paths_into_the_record_of_a_scene() -> None:
    assert factor(RECORD, "objects.0.shape") == "star"
    assert factor({"objects": [{"shape": "star"}, {"shape": "ring"}]}, "objects.1.shape") == "ring"
    assert factor(RECORD, "background") == "grass"
    assert factor(RECORD, "nuisances.fog") == 0
    assert factor(RECORD, "lettering") is None


def test_numbers_have_the_names_that_scenes_give_them() -> None:
    named = {name: factor(RECORD, f"objects.0.{name}") for name in ("size", "tilt", "column", "row")}
    assert named == {name: getattr(STAR, name) for name in named}
    assert factor(RECORD, "light.name") == SCENE.light.name == "dim"
    assert factor({"size": "my own", "radius": 1.0}, "size") == "my own"


def test_conditions_ask_for_all_factors() -> None:
    assert holds(RECORD, {"objects.0.colour": ("blue", "red"), "background": "grass"})
    assert not holds(RECORD, {"objects.0.colour": "red", "background": "sand"})
    assert holds(RECORD, {})


def test_rows_that_meet_one_of_several() -> None:
    images = labelled_set(60)
    colours = [json.loads(str(text))["colour"] for text in images.column("attributes")]
    found = rows_where(images, ({"colour": "red"}, {"colour": "blue", "objects.0.size": "small"}))
    assert found.tolist() == [colour != "green" for colour in colours]


def test_refused() -> None:
    with pytest.raises(InputError, match=r"no factor 'objects.1.shape': objects has no '1'; it has: 0 … 0"):
        factor(RECORD, "objects.1.shape")
    with pytest.raises(InputError, match=r"no factor 'ground': the record has no 'ground'; it has: objects, back"):
        factor(RECORD, "ground")
    with pytest.raises(InputError, match=r"'objects.0' holds several values \(shape, colour"):
        factor(RECORD, "objects.0")
    with pytest.raises(InputError, match=r"no factor 'background\.x'"):
        factor(RECORD, "background.x")
    with pytest.raises(InputError, match="noise: image '000000': no factor 'shape'"):
        rows_where(labelled_set(4), ({"shape": "star"},))
    bare = ImageSet(labelled_set(4).source, labelled_set(4).table.select(["id"]), None, "bare")
    with pytest.raises(InputError, match="bare: image '000000' has no attributes"):
        rows_where(bare, ({"shape": "star"},))
