import pytest

from snellen.core.errors import InputError
from snellen.data.worlds.optotypes.described import Described, DescribedNuisances, DescribedObject, DescribedRelation
from snellen.data.worlds.optotypes.ontology import KINDS, VALUES, attributes, nearest
from tests.data.worlds.optotypes.caption_scenes import descriptions

STAR, RING = DescribedObject(shape="star", colour="red"), DescribedObject(shape="ring", colour="blue")


def test_every_value_has_kinds_and_no_kind_is_a_value():
    assert set(KINDS) == set(VALUES)
    for factor, kinds in KINDS.items():
        assert set(kinds) == set(VALUES[factor])
        assert not {kind for own in kinds.values() for kind in own} & set(VALUES[factor])
        for value in VALUES[factor]:
            assert sorted((*nearest(factor, value), value)) == sorted(VALUES[factor])


def test_near_values_are_those_one_would_confuse():
    assert nearest("colour", "yellow")[0] == "orange"
    assert nearest("colour", "cyan")[0] in ("blue", "green")
    assert nearest("place", "top left")[:2] == ("top", "left")
    assert nearest("place", "top left")[-1] == "bottom right"
    assert nearest("size", "tiny") == ("small", "medium", "large")
    assert nearest("tilt", "tilted left")[0] == "tilted right"
    assert nearest("relation", "above")[0] == "below"
    assert nearest("background", "grass")[0] == "sand"


def test_attributes_hold_kinds_relations_and_what_is_present():
    said = Described(
        objects=(STAR, RING),
        relations=(DescribedRelation(first=0, relation="above", second=1),),
        nuisances=DescribedNuisances(fog="slight", rain="absent", snow="some"),
        lettering="GO",
    )
    assert attributes(said) == {
        "shape: star", "shape: angular", "shape: pointed", "shape: indented",
        "shape: ring", "shape: curved", "shape: round", "shape: hollow",
        "colour: red", "colour: coloured", "colour: warm", "colour: blue", "colour: cold",
        "relation: star above ring", "relation: ring below star", "relation: one above the other",
        "nuisance: fog", "nuisance: slight fog", "nuisance: weather", "nuisance: veiled",
        "nuisance: snow", "nuisance: precipitation",
        "lettering: text", "lettering: GO",
    }  # fmt: skip


def test_bound_attributes_tell_swapped_objects_apart():
    swapped = Described(objects=(STAR.model_copy(update={"colour": "blue"}), RING.model_copy(update={"colour": "red"})))
    straight = Described(objects=(STAR, RING))
    assert attributes(straight) == attributes(swapped)
    assert attributes(straight, bound=True) != attributes(swapped, bound=True)
    assert "star with colour: red" in attributes(straight, bound=True)


def test_attributes_do_not_depend_on_the_order_of_objects():
    for said in descriptions(100, seed=8):
        unrelated = said.model_copy(update={"relations": ()})
        turned = unrelated.model_copy(update={"objects": said.objects[::-1]})
        assert attributes(unrelated, bound=True) == attributes(turned, bound=True)
    assert attributes(Described()) == frozenset()


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="unknown factor of the ontology 'color'; did you mean 'colour'"):
        nearest("color", "red")
    with pytest.raises(InputError, match="unknown colour of the ontology 'pink'"):
        nearest("colour", "pink")
