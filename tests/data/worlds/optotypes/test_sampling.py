import math
from collections import Counter

import pytest

from snellen.core.errors import InputError
from snellen.data.worlds.optotypes.factors import (
    ASIDE,
    CENTRAL,
    LEVELS,
    NUISANCES,
    RADII,
    RELATION_RATIO,
    ROTATIONS,
    SHAPES,
    STYLES,
)
from snellen.data.worlds.optotypes.scenes import Scenes

EVERYTHING = Scenes(
    count=600,
    objects=(1, 3),
    lightings=("dim", "bright"),
    styles=STYLES,
    nuisance_share=0.5,
    lettering_share=0.25,
    individuals=7,
)
SCENES = EVERYTHING.scenes("train")


def inside(value, spans):
    return any(low <= value <= high for low, high in spans)


def test_nothing_lies_between_two_names():
    for scene in SCENES:
        assert inside(scene.light.level, LEVELS.values())
        for one in scene.objects:
            assert inside(one.radius, RADII.values())
            assert inside(one.rotation, ROTATIONS.values())
            for place in (one.x, one.y):
                assert abs(place) <= CENTRAL or ASIDE <= abs(place) <= 1 - one.radius + 1e-9


def test_objects_do_not_touch_and_are_clearly_beside_or_above_each_other():
    for scene in SCENES:
        for number, one in enumerate(scene.objects):
            for other in scene.objects[:number]:
                across, down = abs(one.x - other.x), abs(one.y - other.y)
                assert math.hypot(across, down) >= 0.95 * (one.radius + other.radius)
                assert max(across, down) > RELATION_RATIO * min(across, down)
                assert (one.shape, one.colour) != (other.shape, other.colour)


def test_every_value_occurs_about_as_often_as_any_other():
    counts = Counter(scene.objects[0].shape for scene in SCENES)
    assert set(counts) == set(SHAPES)
    assert all(abs(count - 60) < 4.5 * math.sqrt(60) for count in counts.values())
    assert {len(scene.objects) for scene in SCENES} == {1, 2, 3}
    assert {name for scene in SCENES for name in scene.nuisances.present} == set(NUISANCES)
    assert max(len(scene.nuisances.present) for scene in SCENES) == 1
    share = sum(bool(scene.nuisances.present) for scene in SCENES) / len(SCENES)
    assert abs(share - 0.5) < 4.5 * 0.5 / math.sqrt(len(SCENES))
    written = sum(scene.lettering is not None for scene in SCENES) / len(SCENES)
    assert abs(written - 0.25) < 4.5 * 0.44 / math.sqrt(len(SCENES))


def test_a_scene_does_not_depend_on_how_many_there_are():
    fewer = EVERYTHING.model_copy(update={"count": 50})
    assert fewer.scenes("train") == SCENES[:50]


def test_splits_and_seeds_differ_and_share_no_individual():
    of = {split: EVERYTHING.scenes(split) for split in ("train", "val", "test")}
    individuals = {
        split: {(one.shape, one.instance) for scene in scenes for one in scene.objects} for split, scenes in of.items()
    }
    assert not individuals["train"] & individuals["test"]
    assert not individuals["val"] & individuals["test"]
    assert not individuals["train"] & individuals["val"]
    assert not {scene.seed for scene in of["train"]} & {scene.seed for scene in of["test"]}
    other = EVERYTHING.model_copy(update={"seed": 1})
    assert not {scene.seed for scene in other.scenes("train")} & {scene.seed for scene in of["train"]}


def test_objects_that_do_not_fit():
    with pytest.raises(InputError, match="4 objects do not fit into a scene with sizes large"):
        Scenes(count=1, objects=(4, 4), sizes=("large",)).scenes()
