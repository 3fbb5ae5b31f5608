import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from snellen.core.errors import InputError
from snellen.data.worlds.optotypes.described import (
    INVERSE,
    PLACES,
    Described,
    DescribedNuisances,
    DescribedObject,
    DescribedRelation,
    degree_of,
    described,
    relation_of,
)
from snellen.data.worlds.optotypes.factors import NUISANCES, ROUND
from snellen.data.worlds.optotypes.scene import Lettering, Light, Nuisances, Scene, SceneObject
from tests.data.worlds.optotypes.caption_scenes import caption_scene, descriptions

STAR = SceneObject(shape="star", colour="red")


def test_a_scene_is_described_by_the_names_of_its_factors():
    draw = random.Random(3)
    for _ in range(300):
        scene = caption_scene(draw)
        said = described(scene)
        assert (said.background, said.lighting, said.style) == (scene.background, scene.light.name, scene.style)
        for one, named in zip(scene.objects, said.objects, strict=True):
            assert (named.shape, named.colour, named.texture, named.size) == (
                one.shape,
                one.colour,
                one.texture,
                one.size,
            )
            assert named.tilt == (None if one.shape in ROUND else one.tilt)
        for relation in said.relations:
            places = [(scene.objects[n].x, scene.objects[n].y) for n in (relation.first, relation.second)]
            assert relation_of(*places) == relation.relation


def test_nine_places_have_nine_names():
    named = [
        described(Scene(objects=(STAR.model_copy(update={"x": x, "y": y}),))).objects[0].place
        for y, x in product((-0.5, 0.0, 0.5), repeat=2)
    ]
    assert tuple(named) == PLACES


@given(st.tuples(*[st.floats(-1, 1)] * 4))
def test_a_relation_turns_round_with_its_objects_and_keeps_clear_of_diagonals(places):
    first, second = places[:2], places[2:]
    relation = relation_of(first, second)
    assert relation_of(second, first) == (None if relation is None else INVERSE[relation])
    right, down = abs(first[0] - second[0]), abs(first[1] - second[1])
    assert (relation is None) == (max(right, down) <= 1.5 * min(right, down))


def test_strengths_have_names_between_which_lies_one_that_is_true_of_both():
    names = [degree_of(strength / 100) for strength in range(501)]
    assert list(dict.fromkeys(names)) == ["absent", None, "slight", "some", "heavy"]
    faint = described(Scene(nuisances=Nuisances(fog=0.3, snow=5)))
    assert (faint.nuisances.fog, faint.nuisances.snow, faint.nuisances.rain) == (None, "heavy", "absent")


@pytest.mark.parametrize(
    ("lettering", "said"),
    [
        (None, ""),
        (Lettering(text="STOP"), "STOP"),
        (Lettering(text="STOP", opacity=0), ""),
        (Lettering(text="STOP", opacity=0.2), None),
        (Lettering(text="STOP", height=0.05), None),
        (Lettering(text="STOP", x=0.9), None),
        (Lettering(text="STOP", y=-0.95), None),
    ],
)
def test_lettering_is_reported_where_it_is_legible(lettering, said):
    assert described(Scene(lettering=lettering)).lettering == said


@pytest.mark.parametrize(
    ("style", "background", "level", "colour", "told"),
    [
        ("stippled", "grass", 0.95, "white", False),
        ("stippled", "grass", 0.95, "blue", True),
        ("line", "sand", 0.95, "yellow", False),
        ("line", "sand", 0.55, "white", True),
        ("inverted", "night", 0.95, "white", False),
        ("photo", "night", 0.95, "white", True),
        ("photo", "night", 0.95, "blue", False),
    ],
)
def test_letters_that_do_not_stand_out_are_not_reported(style, background, level, colour, told):
    lettering = Lettering(text="GO", colour=colour)
    scene = Scene(style=style, background=background, light=Light(level=level), lettering=lettering)
    assert described(scene).lettering == ("GO" if told else None)


def test_objects_beyond_the_edge_are_not_described_nor_related():
    away = STAR.model_copy(update={"x": 1.6})
    said = described(Scene(objects=(away, STAR, SceneObject(shape="ring", colour="blue", y=0.6))))
    assert [one.shape for one in said.objects] == ["star", "ring"]
    assert said.relations == (DescribedRelation(first=0, relation="above", second=1),)


def test_records_survive_json():
    for said in descriptions(200):
        assert Described.from_json(said.to_json()) == said
    partial = Described(objects=(DescribedObject(),), nuisances=DescribedNuisances(fog="some"))
    assert Described.from_json(partial.to_json()) == partial
    assert {name for name in NUISANCES if partial.nuisances.degree(name)} == {"fog"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "description"),
        ('{"background": "moon"}', "background"),
        ('{"objects": [{"shape": "ring", "tilt": "upright"}]}', "looks the same however it is turned"),
        ('{"objects": [{}, {}], "relations": [{"first": 1, "relation": "above", "second": 0}]}', "earlier object"),
        ('{"objects": [{}], "relations": [{"first": 0, "relation": "above", "second": 1}]}', "there are 1"),
        ('{"lettering": "stop"}', "lettering"),
    ],
)
def test_what_is_no_description_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        Described.from_json(text)


def test_records_are_frozen():
    with pytest.raises(ValidationError):
        DescribedObject().shape = "star"
