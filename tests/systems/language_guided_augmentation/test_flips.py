"""Flips counted: the published score, what is beyond the control, the ranking and the quotas."""

import itertools

import pytest

from snellen.core.randomness import Randomness
from snellen.metrics.intervals import wilson
from snellen.metrics.paired_test import mcnemar
from snellen.systems.language_guided_augmentation.discovery import EditRow
from snellen.systems.language_guided_augmentation.flips import ranked, selected

_IDS = itertools.count()


def rows(phrase, flips, count, *, controls=0, lost=0, label=0):
    """``count`` edited images of which the first ``flips`` flip, the last ``controls`` under the control; and lost."""
    made = [
        EditRow(
            f"{phrase} {next(_IDS)}", label, "object", phrase, None, "test",
            after=1 - label if number < flips else label,
            control=1 - label if number >= count - controls else label,
        )
        for number in range(count)
    ]  # fmt: skip
    return made + [EditRow(f"lost {next(_IDS)}", label, "object", phrase, None, "test", reason="not found")] * lost


@pytest.mark.covers("4.3")
def test_the_score_divides_by_occurrences_for_each_phrase_and_sums_over_merged_ones():
    """Occurrences count where nothing was found, too: 3/8 + 1/2, and 0 for a phrase that never flips."""
    given = rows("ring", 3, 6, lost=2) + rows("red ring", 1, 2) + rows("tree", 0, 40)
    first, second = ranked(given)[0]
    assert first.phrase == "ring"
    assert first.score == pytest.approx(3 / 8 + 1 / 2)
    assert (first.images, len(first.rows)) == (8, 10)
    assert (second.phrase, second.score, second.lower) == ("tree", 0.0, 0.0)
    apart = ranked(given, similarity=0.9)[0]
    assert {one.phrase: one.score for one in apart} == {"ring": 3 / 8, "red ring": 1 / 2, "tree": 0.0}


@pytest.mark.covers("4.2")
def test_flips_that_controls_cause_as_well_are_no_evidence():
    given = rows("frame", 20, 20, controls=20) + rows("ring", 9, 12, controls=1) + rows("tree", 0, 30)
    ring, *others = ranked(given)[0]
    assert {one.phrase: (one.lower, one.p_value()) for one in others} == {"frame": (0.0, 1.0), "tree": (0.0, 1.0)}
    assert ring.only == (9, 1)
    assert ring.lower == wilson(8, 12).low
    assert ring.p_value() == mcnemar(9, 1, alternative="greater")
    assert others[0].score == 1.0, "the published score does not see it"
    assert 0 < ring.bound(0.95) < 8 / 12
    assert ring.bound(0.99) < ring.bound(0.95)


def test_one_flip_of_a_rare_phrase_has_the_published_score_one_and_comes_last():
    given = rows("comet", 1, 1) + rows("ring", 10, 20)
    assert [(one.phrase, one.supported, one.score) for one in ranked(given)[0]] == [
        ("ring", True, 0.5), ("comet", False, 1.0)
    ]  # fmt: skip
    assert [one.phrase for one in ranked(given, support=1)[0]] == ["ring", "comet"], "and even then by its bound"


def test_images_of_one_unit_are_one_witness():
    given = rows("ring", 12, 12)
    alone = ranked(given)[0][0]
    units = {row.example_id: number // 6 for number, row in enumerate(given)}
    joined = ranked(given, units=units)[0][0]
    assert alone.p_value() < 1e-3 < 0.05 < joined.p_value()
    assert joined.bound(0.95) < alone.bound(0.95)


def test_an_image_counts_once_where_two_of_its_phrases_are_merged():
    pair = [EditRow("a", 0, "object", phrase, None, "test", after=1, control=0) for phrase in ("ring", "red ring")]
    (one,) = ranked(pair)[0]
    assert (one.images, one.only, len(one.flips)) == (1, (1, 0), 2)


@pytest.mark.covers("4.11")
def test_quotas_of_phrase_and_class_hold_and_the_draw_follows_from_seed_and_ids():
    given = rows("ring", 30, 30) + rows("tree", 25, 30) + rows("lake", 20, 30) + rows("frame", 20, 20, controls=20)
    leans = ranked(given)[0]
    chosen = selected(leans, Randomness(0))
    counts = {phrase: sum(row.phrase == phrase for row in chosen) for phrase in ("ring", "tree", "lake", "frame")}
    assert counts == {"ring": 15, "tree": 10, "lake": 10, "frame": 0}
    assert all(row.flipped for row in chosen)
    assert selected(leans, Randomness(0), most=18)[15:] == chosen[15:18]
    assert selected(leans, Randomness(0)) == chosen != selected(leans, Randomness(1))
    mixed = ranked(given[::-1])[0]
    assert {row.example_id for row in selected(mixed, Randomness(0))} == {row.example_id for row in chosen}
    assert selected(ranked(rows("ring", 3, 3))[0], Randomness(0)) == [], "too few images"
    both = selected(ranked(rows("ring", 12, 12, controls=4))[0], Randomness(0))
    assert len(both) == 8, "an edit whose control flips as well teaches the editing"
    assert all(row.control == row.label for row in both)
