import random

import pytest

from snellen.core.errors import InputError
from snellen.data.worlds.optotypes.captions import caption
from snellen.data.worlds.optotypes.described import (
    FACTORS,
    OBJECT_FACTORS,
    Described,
    DescribedNuisances,
    DescribedObject,
    DescribedRelation,
    select,
)
from snellen.data.worlds.optotypes.near_misses import near_misses
from snellen.data.worlds.optotypes.parser import parse
from snellen.data.worlds.optotypes.truth import contradicts, holds
from tests.data.worlds.optotypes.caption_scenes import descriptions

STAR, RING = DescribedObject(shape="star", colour="red"), DescribedObject(shape="ring", colour="blue")
PAIR = Described(
    objects=(STAR, RING), relations=(DescribedRelation(first=0, relation="left of", second=1),), background="grass"
)


def _changed(said, miss):
    """Factors in which two descriptions differ, and in how many objects."""
    factors, objects = set(), 0
    for one, other in zip(said.objects or (), miss.objects or (), strict=True):
        here = {factor for factor in OBJECT_FACTORS if getattr(one, factor) != getattr(other, factor)}
        factors |= here
        objects += bool(here)
    names = ("relations", "background", "lighting", "style", "nuisances", "lettering")
    factors |= {name for name in names if getattr(said, name) != getattr(miss, name)}
    return factors, objects


def test_every_near_miss_is_false_differs_in_one_factor_and_can_be_said():
    draw = random.Random(4)
    kinds = set()
    for number, truth in enumerate(descriptions(120, seed=6)):
        detail = draw.choice(["full", "complete", draw.sample(FACTORS, 5)])
        said = select(truth, detail)
        misses = near_misses(said, count=25, seed=number, truth=truth)
        assert len({miss.described.to_json() for miss in misses}) == len(misses)
        assert [miss.distance for miss in misses] == sorted(miss.distance for miss in misses)
        for miss in misses:
            assert contradicts(miss.described, truth)
            assert not holds(miss.described, truth)
            factors, objects = _changed(said, miss.described)
            assert factors == {miss.factor}
            assert objects == (0 if miss.factor not in OBJECT_FACTORS else 2 if miss.change == "swapped" else 1)
            assert parse(caption(miss.described, seed=number, detail="complete")) == miss.described
            kinds.add((miss.factor, miss.change))
    assert {factor for factor, _ in kinds} == set(FACTORS) - {"absences"}
    assert {factor for factor, change in kinds if change == "swapped"} == {
        "colour", "texture", "size", "tilt", "place", "relations",
    }  # fmt: skip


def test_the_hardest_come_first():
    misses = near_misses(PAIR, count=100, seed=0)
    assert {(miss.factor, miss.change) for miss in misses[:2]} == {("colour", "swapped"), ("relations", "swapped")}
    first = [miss.described.objects[0] for miss in misses if miss.change == "replaced" and miss.factor == "colour"]
    assert [one.colour for one in first if one.colour != "red"][:2] == ["orange", "purple"]
    words = [sorted(caption(said, detail="full").split()) for said in (PAIR, misses[0].described)]
    assert words[0] == words[1] or misses[0].factor == "relations"


def test_what_is_true_by_another_object_is_no_near_miss():
    truth = Described(objects=(STAR, DescribedObject(shape="star", colour="orange")))
    said = Described(objects=(STAR,))
    colours = {miss.described.objects[0].colour for miss in near_misses(said, count=99, seed=0, truth=truth)}
    assert "orange" not in colours - {"red"}
    assert "purple" in colours


def test_nuisances_and_letters_are_missed_narrowly():
    said = Described(nuisances=DescribedNuisances(rain="heavy", fog="absent"), lettering="O")
    misses = near_misses(said, count=500, seed=0)
    assert next(miss.described.lettering for miss in misses if miss.factor == "lettering") in ("Q", "D", "0", "C")
    degrees = {(miss.described.nuisances.rain, miss.described.nuisances.fog) for miss in misses}
    assert degrees == {("heavy", "absent"), ("slight", "absent"), ("absent", "absent"), ("heavy", "some"),
                       ("absent", "heavy")}  # fmt: skip


def test_the_seed_orders_equals_and_the_count_cuts():
    long = near_misses(PAIR, count=40, seed=1)
    assert near_misses(PAIR, count=7, seed=1) == long[:7]
    assert near_misses(PAIR, count=40, seed=2) != long
    assert near_misses(PAIR, count=0, seed=1) == []
    assert near_misses(Described(), count=5, seed=1) == []


def test_false_descriptions_and_negative_counts_are_refused():
    with pytest.raises(InputError, match="false of the scene"):
        near_misses(PAIR, count=1, seed=0, truth=Described(objects=(RING,)))
    with pytest.raises(InputError, match="at least 0; got -1"):
        near_misses(PAIR, count=-1, seed=0)
