"""Which images are searched on and which judge: no unit does both, and few units of many images are enough."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS
from snellen.systems.smooth_inversion.image_roles import FEWEST, draw_images, give_roles, images_needed, units_of
from tests.systems.smooth_inversion.toy_models import image_set


def roles(units, classes=4, **options):
    labels = torch.arange(len(units)) % classes
    return give_roles(labels, labels, range(classes), units=units, **{"sources": 2, "confirming": 4} | options)


def searched_rows(found):
    return {row for rows in (*found.sources.values(), *found.confirming.values()) for row in rows}


def test_one_image_of_each_unit_comes_first_and_more_only_where_units_are_few():
    units = [f"u{row % 30}" for row in range(300)]
    drawn = draw_images(units, most=400, seed=3)
    assert len(drawn) == 100
    assert len({units[row] for row in drawn[:30]}) == 30
    assert len(set(drawn.tolist())) == 100
    assert len(draw_images(units, most=20, seed=3)) == 20
    alone = [str(row) for row in range(300)]
    assert np.array_equal(draw_images(alone, most=250, seed=3), np.random.default_rng(3).permutation(300)[:250])
    many = [f"u{row % 150}" for row in range(300)]
    assert len(draw_images(many, most=400, seed=3)) == 150


def test_no_unit_both_searches_and_judges_and_each_measures_once():
    units = [f"u{row % 60}" for row in range(120)]
    found = roles(units)
    judges = [*found.choosing.tolist(), *found.measuring.tolist()]
    assert not {units[row] for row in searched_rows(found)} & {units[row] for row in judges}
    assert not {units[row] for row in found.choosing} & {units[row] for row in found.measuring}
    measuring = [units[row] for row in found.measuring]
    assert len(measuring) == len(set(measuring)) >= 20
    for target, rows in found.sources.items():
        assert not set(rows) & set(found.confirming[target])


def test_fewer_units_than_the_search_needs_are_no_reason_to_stop_where_images_are_there():
    units = [f"u{row % 12}" for row in range(120)]
    found = roles(units, sources=4, confirming=8)
    assert all(len(rows) == 4 for rows in found.sources.values())
    assert all(len(rows) == 8 for rows in found.confirming.values())
    judges = {units[row] for row in (*found.choosing.tolist(), *found.measuring.tolist())}
    assert not {units[row] for row in searched_rows(found)} & judges
    assert len(found.choosing) + len(found.measuring) >= FEWEST


def test_a_tenth_of_the_units_confirms_and_at_least_eight_where_so_many_are_wanted():
    for count, wanted, expected in ((80, 24, 8), (150, 24, 15), (400, 24, 24), (400, 4, 4)):
        found = roles([str(row) for row in range(count)], confirming=wanted)
        assert {len(rows) for rows in found.confirming.values()} == {expected}


def test_a_class_that_all_images_are_taken_for_leaves_images_to_judge():
    labels, decided = torch.arange(48) % 3, torch.zeros(48, dtype=torch.int64)
    decided[-6:] = 1  # the only images that a search towards class 0 prefers
    found = give_roles(labels, decided, range(3), sources=2, confirming=4)
    assert set(found.sources[0]) <= set(range(42, 48))
    judges = {*found.choosing.tolist(), *found.measuring.tolist()}
    assert len(judges) >= FEWEST
    assert not judges & searched_rows(found)


def test_too_few_images_or_units_are_named_with_what_is_needed():
    with pytest.raises(InputError, match=r"of 20 images .* give 28 images or more$"):
        roles([str(row) for row in range(20)])
    with pytest.raises(InputError, match=r"of 60 images of 3 units .* of units of their own"):
        roles([f"u{row % 3}" for row in range(60)])
    with pytest.raises(InputError, match="needs 6 images of other classes, and there are only"):
        roles([str(row) for row in range(7)])
    assert len(roles([str(row) for row in range(images_needed(6, 4))]).measuring) >= 5


def test_an_image_without_a_unit_is_one_of_its_own():
    images = image_set(4)
    named = images.table.append_column("unit_id", pa.array(["a", None, "a", None], COLUMNS["unit_id"]))
    units = units_of(type(images)(**{**images.__dict__, "table": named}))
    assert len(set(units.values())) == 3
    assert units[images.ids[0]] == units[images.ids[2]]
    assert units[images.ids[1]] == images.ids[1]
