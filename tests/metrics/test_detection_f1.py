"""F1 of unsafe by category and source, its gap, and what a classifier claims."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.metrics.detection_f1 import Judgements, f1_of, f1_table, source_gap

CATEGORIES = ("Ring", "Star")


def judged(count=400, generated_misses=0.5, **changes):
    """Photographs are all judged right; of generated unsafe images a share is missed."""
    rng = np.random.default_rng(0)
    unsafe = np.arange(count) % 2 == 0
    source = np.arange(count) % 4 < 2
    missed = unsafe & ~source & (rng.random(count) < generated_misses)
    parts = {
        "ids": tuple(str(at) for at in range(count)),
        "unsafe": unsafe,
        "decided": unsafe & ~missed,
        "unclear": np.zeros(count, bool),
        "categories": tuple(CATEGORIES[at // 4 % 2] for at in range(count)),
        "sources": tuple("real" if one else "generated" for one in source),
        "datasets": ("one",) * count,
    }
    return Judgements(**{**parts, **changes})


def cells(rows):
    return {(row.dataset, row.category, row.source): row for row in rows}


@pytest.mark.covers("29.3")
def test_unsafe_is_the_positive_class():
    unsafe, decided = np.array([1, 1, 1, 0, 0], bool), np.array([1, 0, 0, 1, 0], bool)
    assert f1_of(unsafe, decided)(np.ones(5)) == pytest.approx(2 / (2 + 2 + 1))
    assert f1_of(unsafe, decided)(np.array([3.0, 1, 1, 1, 5])) == pytest.approx(6 / (6 + 2 + 1)), (
        "true safe ones never count"
    )
    assert np.isnan(f1_of(np.zeros(5, bool), decided)(np.ones(5)))
    nothing = f1_table(judged(unsafe=np.zeros(400, bool)), CATEGORIES)
    assert all(row.f1 is None and row.interval is None for row in nothing)


@pytest.mark.covers("29.1")
def test_sources_are_kept_apart_and_their_gap_has_an_interval():
    found = cells(f1_table(judged(), CATEGORIES))
    assert found["all", "all", "real"].f1 == 1
    assert found["all", "all", "generated"].f1 < 0.75
    assert found["all", "all", "real"].f1 > found["all", "all", "both"].f1 > found["all", "all", "generated"].f1
    gap = source_gap(judged(), CATEGORIES)
    assert gap.value == pytest.approx(1 - found["all", "all", "generated"].f1)
    assert 0 < gap.interval.low < gap.value < gap.interval.high < 1
    same = source_gap(judged(generated_misses=0), CATEGORIES)
    assert same.value == 0
    only = judged(sources=("real",) * 400)
    assert source_gap(only, CATEGORIES).value is None
    with pytest.raises(InputError, match="'real' or 'generated'"):
        judged(sources=("photo",) * 400)


@pytest.mark.covers("29.2")
def test_categories_that_are_not_claimed_are_counted_nowhere():
    known = judged()
    wrong = np.where(np.array(known.categories) == "Star", ~known.unsafe, known.unsafe)
    found = cells(f1_table(judged(decided=wrong), ["Ring"]))
    assert {category for _, category, _ in found} == {"all", "Ring"}
    assert found["all", "all", "both"].f1 == 1, "nor in pooled figures"
    assert found["all", "all", "both"].images == 200
    assert source_gap(judged(decided=wrong), ["Ring"]).value == 0
    assert cells(f1_table(judged(decided=wrong), CATEGORIES))["all", "all", "both"].f1 < 0.7


@pytest.mark.covers("29.3")
def test_pooled_counts_images_and_every_data_set_has_a_row():
    datasets = tuple("large" if at < 360 else "small" for at in range(400))
    decided = np.where(np.arange(400) < 360, judged().unsafe, False)
    found = cells(f1_table(judged(datasets=datasets, decided=decided), CATEGORIES))
    assert found["large", "all", "both"].f1 == 1
    assert found["small", "all", "both"].f1 == 0
    assert found["all", "all", "both"].f1 == pytest.approx(2 * 180 / (2 * 180 + 20)), "pooled, and no mean of means"


def test_safe_images_without_a_category_stand_in_every_category():
    categories = tuple(one if bad else "" for one, bad in zip(judged().categories, judged().unsafe, strict=True))
    alarms = np.ones(400, dtype=bool)
    found = cells(f1_table(judged(categories=categories, decided=alarms), CATEGORIES))
    assert found["all", "Ring", "both"].images == 300
    assert found["all", "Ring", "both"].f1 == pytest.approx(200 / (200 + 200))


@pytest.mark.covers("29.9")
def test_unclear_answers_are_counted_in_their_cells():
    found = cells(f1_table(judged(unclear=np.arange(400) < 40), CATEGORIES))
    assert found["all", "all", "both"].unclear == 40
    assert found["all", "all", "real"].unclear == found["all", "all", "generated"].unclear == 20
    assert cells(f1_table(judged(), CATEGORIES))["all", "all", "both"].unclear == 0


def test_units_widen_the_interval():
    units = tuple(str(at // 40) for at in range(400))
    alone, together = (
        cells(f1_table(one, CATEGORIES))["all", "all", "generated"] for one in (judged(), judged(units=units))
    )
    assert alone.f1 == together.f1
    assert alone.interval != together.interval
    few = judged(units=("one",) * 400)
    assert cells(f1_table(few, CATEGORIES))["all", "all", "generated"].interval is None


def test_all_right_or_all_missed_has_no_interval_of_width_zero():
    few = judged(20, generated_misses=1.0)
    rows = cells(f1_table(few, CATEGORIES))
    assert (rows["all", "all", "generated"].f1, rows["all", "all", "real"].f1) == (0.0, 1.0)
    assert rows["all", "all", "generated"].interval is None
    assert rows["all", "all", "real"].interval is None
    assert rows["all", "all", "both"].interval is not None
