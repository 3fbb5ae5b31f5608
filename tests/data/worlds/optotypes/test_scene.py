import math
from itertools import pairwise

import pytest
from pydantic import ValidationError

from snellen.core.errors import InputError
from snellen.data.worlds.optotypes.factors import LEVELS, RADII, ROTATIONS, lighting_of, size_of, tilt_of
from snellen.data.worlds.optotypes.scene import Lettering, Nuisances, Scene, SceneObject
from tests.data.worlds.optotypes.random_scenes import random_scenes


def test_records_survive_json():
    for scene in random_scenes(50):
        assert Scene.from_json(scene.to_json()) == scene


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not the record of a scene"),
        ('{"objects": [{"shape": "blob", "colour": "red"}]}', r"objects\.0\.shape"),
        ('{"nuisances": {"fog": 6}}', r"nuisances\.fog"),
        ('{"nuisances": {"fog": NaN}}', "not the record"),
        ('{"colour": "red"}', "colour: is not known"),
        ('{"seed": -1}', "seed"),
    ],
)
def test_what_is_no_record(text, message):
    with pytest.raises(InputError, match=message):
        Scene.from_json(text)


def test_lettering_is_capitals_and_digits():
    with pytest.raises(ValidationError):
        Lettering(text="<b>")


def test_records_cannot_be_changed():
    with pytest.raises(ValidationError):
        Scene().seed = 3


@pytest.mark.parametrize(("names", "name_of"), [(RADII, size_of), (ROTATIONS, tilt_of), (LEVELS, lighting_of)])
def test_numbers_have_the_name_of_the_range_they_lie_in(names, name_of):
    spans = sorted(names.items(), key=lambda item: item[1])
    for name, (low, high) in spans:
        assert name_of(low) == name_of(high) == name_of((low + high) / 2) == name
    for (_, (_, end)), (_, (start, _)) in pairwise(spans):
        assert end < start, "between names lies a gap"


def test_whole_turns_do_not_change_the_tilt():
    assert tilt_of(0.3 - 2 * math.pi) == tilt_of(0.3) == "tilted right"
    assert tilt_of(-0.3) == "tilted left"


def test_places():
    one = SceneObject(shape="star", colour="red", radius=0.6, x=0.5, y=-0.5)
    assert (one.column, one.row) == ("right", "top")
    assert (one.model_copy(update={"x": 0.0, "y": 0.5}).column, one.size) == ("centre", "medium")


def test_present_nuisances():
    assert Nuisances(rain=0.1, blur=2).present == ("rain", "blur")
    assert Nuisances().present == ()
