import random
from itertools import permutations

from snellen.data.worlds.optotypes.described import (
    FACTORS,
    INVERSE,
    OBJECT_FACTORS,
    Described,
    DescribedNuisances,
    DescribedObject,
    DescribedRelation,
    select,
)
from snellen.data.worlds.optotypes.truth import contradicts, holds
from tests.data.worlds.optotypes.caption_scenes import descriptions

RED_STAR, BLUE_RING = DescribedObject(shape="star", colour="red"), DescribedObject(shape="ring", colour="blue")
TRUTH = Described(
    objects=(RED_STAR, BLUE_RING),
    relations=(DescribedRelation(first=0, relation="above", second=1),),
    nuisances=DescribedNuisances(fog="heavy", rain="some", snow="absent"),
    lettering="",
)


def _brute_force(said, truth):
    """Whether some assignment of objects makes all that is said equal to what is true, tried one by one."""
    known = {(one.first, one.second): one.relation for one in truth.relations}
    known |= {(second, first): INVERSE[relation] for (first, second), relation in known.items()}
    for found in permutations(range(len(truth.objects)), len(said.objects)):
        objects = all(
            getattr(one, factor) in (None, getattr(truth.objects[number], factor))
            for one, number in zip(said.objects, found, strict=True)
            for factor in OBJECT_FACTORS
        )
        if objects and all(known.get((found[one.first], found[one.second])) == one.relation for one in said.relations):
            return True
    return False


def test_objects_are_found_as_by_trying_every_assignment():
    draw = random.Random(1)
    outcomes = []
    for truth in descriptions(1500, seed=2):
        said = select(truth, [factor for factor in FACTORS if draw.random() < 0.4])
        if not said.objects:
            continue
        order = draw.sample(range(len(said.objects)), len(said.objects))
        kept = [said.objects[number] for number in order[: draw.randrange(1, len(order) + 1)]]
        kept = [one.model_copy(update={"colour": draw.choice(["red", one.colour])}) for one in kept]
        relations = (DescribedRelation(first=0, relation="left of", second=1),) if len(kept) > 1 else ()
        said = Described(objects=tuple(kept), relations=draw.choice([(), relations]))
        assert holds(said, truth) == _brute_force(said, truth)
        outcomes.append((holds(said, truth), contradicts(said, truth)))
    assert {(True, False), (False, True), (False, False)} == set(outcomes)


def test_part_of_the_truth_holds_and_is_never_contradicted():
    draw = random.Random(2)
    for truth in descriptions(500, seed=3):
        part = select(truth, [factor for factor in FACTORS if draw.random() < 0.5])
        assert holds(part, truth)
        assert not contradicts(part, truth)


def test_a_pair_is_not_one_object_and_a_swap_is_false():
    assert contradicts(Described(objects=(RED_STAR, RED_STAR)), TRUTH)
    assert contradicts(Described(objects=(RED_STAR, BLUE_RING, DescribedObject())), TRUTH)
    assert not contradicts(Described(objects=(BLUE_RING, RED_STAR)), TRUTH)
    turned = Described(objects=TRUTH.objects, relations=(DescribedRelation(first=0, relation="below", second=1),))
    assert contradicts(turned, TRUTH)
    assert contradicts(Described(objects=()), TRUTH)
    assert holds(Described(objects=()), Described(objects=()))


def test_degrees_include_each_other():
    def said(**degrees):
        return Described(nuisances=DescribedNuisances(**degrees))

    assert holds(said(fog="some"), TRUTH)
    assert contradicts(said(fog="slight"), TRUTH)
    assert contradicts(said(fog="absent"), TRUTH)
    assert not holds(said(rain="slight"), TRUTH)
    assert not contradicts(said(rain="slight"), TRUTH)
    assert contradicts(said(snow="some"), TRUTH)
    assert not holds(said(blur="absent"), TRUTH)
    assert not contradicts(said(blur="absent"), TRUTH)


def test_of_what_is_not_known_nothing_is_sure():
    unknown = Described()
    assert not holds(TRUTH, unknown)
    assert not contradicts(TRUTH, unknown)
    tilted = Described(objects=(DescribedObject(colour="blue", tilt="upright"),))
    assert not holds(tilted, TRUTH)
    assert not contradicts(tilted, TRUTH)
