import numpy as np
import pytest

from snellen.core.errors import UnknownNameError
from snellen.data.worlds.solids.assemblies import PALETTE, SOLID_CLASSES, draw_colours, draw_solid

# Largest number of parts and least: as many as people would build it of.
PARTS = range(3, 9)


@pytest.mark.parametrize("name", SOLID_CLASSES)
def test_an_individual_follows_from_its_seed(name):
    first = draw_solid(name, 5)
    assert first == draw_solid(name, 5)
    assert first.class_name == name
    others = {draw_solid(name, seed).content_hash for seed in range(20)}
    assert len(others) == 20


@pytest.mark.parametrize("name", SOLID_CLASSES)
def test_objects_have_few_parts_and_stand_upright(name):
    for seed in range(20):
        solid = draw_solid(name, seed)
        assert len(solid.parts) in PARTS
        assert all(0 <= tone <= 1 for part in solid.parts for tone in part.colour)


def test_colours_do_not_depend_on_the_class():
    for seed in range(10):
        first = draw_colours(np.random.default_rng(0))
        assert len(set(first)) == 3
        colours = [{part.colour for part in draw_solid(name, seed).parts} for name in SOLID_CLASSES]
        everything = set.union(*colours)
        assert len(everything) == 3  # one seed gives the same three colours to every class
        main = {draw_solid(name, seed).parts[0].colour for name in ("mug", "car", "chair", "lamp", "snowman", "table")}
        assert len(main) == 1


def test_colours_come_from_the_whole_palette():
    drawn = np.array([draw_colours(np.random.default_rng(seed))[0] for seed in range(600)])
    nearest = np.abs(drawn[:, None] - np.array(PALETTE)[None]).max(-1).argmin(1)
    counts = np.bincount(nearest, minlength=len(PALETTE))
    assert counts.min() > 25
    assert counts.max() < 80


def test_unknown_classes_are_reported():
    with pytest.raises(UnknownNameError, match="mug"):
        draw_solid("mugs", 0)
