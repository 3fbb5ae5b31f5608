"""What is told of classifiers on trajectories whose answers are known."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.preprocessing import Preprocessing
from snellen.metrics.rank_correlation import spearman
from snellen.metrics.sweep import first_failures
from snellen.systems.continuous_nuisance.measuring import measure_trajectories
from snellen.systems.continuous_nuisance.presets import IMAGENET, STYLES, WEATHERS
from snellen.systems.continuous_nuisance.robustness import (
    failure_summary,
    mean_relative_error,
    nuisance_curve,
    rank_changes,
    rank_distance,
    rankings,
    relative_error,
)

GRID = (0.0, 1.0, 2.5)


def answers(rows, *, name="fog", model="m", units=None, grid=GRID):
    """Evidence of one model: of each trajectory a text of + (right), - (wrong) and ? (no finite scores)."""
    ids = [f"t{number}" for number in range(len(rows))]
    parts = [
        Evidence.of(
            ids, setting=f"{name}.{strength:g}", model=model, unit_ids=units, label=[0] * len(ids),
            prediction=[{"+": 0, "-": 1, "?": None}[row[column]] for row in rows],
            status=["failed" if row[column] == "?" else "ok" for row in rows],
        )
        for column, strength in enumerate(grid)
    ]  # fmt: skip
    return Evidence.merge(parts)


def shuffled(evidence):
    order = np.random.default_rng(0).permutation(len(evidence))
    return Evidence(evidence.table.take(pa.array(order)))


@pytest.mark.covers("2.8", "2.9")
def test_the_failure_point_is_the_first_one_and_never_has_a_number():
    grid = (0.0, 0.5, 10.0)  # as texts, 10 stands before 0.5
    evidence = shuffled(answers(["+++", "+-+", "++-", "---", "-++"], grid=grid))
    with pytest.raises(InputError, match="above the largest strength 10; got 3"):
        first_failures(evidence, "fog", "m", never=3.0)
    points = first_failures(evidence, "fog", "m", never=12.0)
    assert points == {"t0": 12.0, "t1": 0.5, "t2": 10.0, "t3": 0.0, "t4": 0.0}
    found = failure_summary(points, grid, never=12.0)
    assert (found.n, found.failed, found.mean_of_failed) == (5, 4, pytest.approx(10.5 / 4))
    assert found.margin == pytest.approx((0 + 11.5 + 2 + 12 + 12) / 5)
    assert found.histogram == {0.0: 2, 0.5: 1, 10.0: 1, 12.0: 1}
    assert failure_summary({"a": 3.0}, GRID, never=3.0).mean_of_failed is None
    with pytest.raises(InputError, match="no failure point"):
        failure_summary({}, GRID, never=3.0)


@pytest.mark.covers("2.15")
def test_a_missing_strength_or_scores_that_are_no_numbers_count_nowhere():
    whole = answers(["+++", "++?", "+--"])
    points = first_failures(whole, "fog", "m", never=3.0)
    assert points == {"t0": 3.0, "t2": 1.0}
    assert [point.n for point in nuisance_curve(whole, "fog", "m")] == [2, 2, 2]
    assert [point.accuracy for point in nuisance_curve(whole, "fog", "m")] == [1.0, 0.5, 0.5]
    with pytest.raises(InputError, match="no trajectory under fog that was measured at every strength"):
        nuisance_curve(answers(["++?", "?++"]), "fog", "m")


@pytest.mark.covers("2.10", "2.11")
def test_curves_have_intervals_of_units_and_the_neutral_accuracy():
    rows = ["++-", "+++", "+--", "-+-", "++-", "+++", "+--", "---"]
    points = nuisance_curve(answers(rows), "fog", "m")
    assert [(p.strength, p.accuracy, p.neutral, p.drop) for p in points] == [
        (0.0, 0.75, 0.75, 0.0), (1.0, 0.625, 0.75, 0.125), (2.5, 0.25, 0.75, 0.5),
    ]  # fmt: skip
    for p in points:
        assert p.low < p.accuracy < p.high
        assert p.drop_low <= p.drop <= p.drop_high
    assert points[0].drop_low == points[0].drop_high == 0.0
    # The same trajectories twice, each pair a unit: no more certain than once.
    twice = answers(rows * 2, units=[f"u{number}" for number in range(8)] * 2)
    alone = answers(rows * 2)
    width = [curve[2].high - curve[2].low for curve in (nuisance_curve(e, "fog", "m") for e in (twice, alone))]
    assert width[0] == pytest.approx(points[2].high - points[2].low, abs=0.05)
    assert width[1] < 0.85 * width[0]
    sure = nuisance_curve(answers(["+++"] * 8), "fog", "m")[0]
    assert sure.low < 0.9 < sure.high == 1.0


@pytest.mark.covers("2.16")
def test_relative_errors_are_in_units_of_the_chosen_reference():
    evidence = Evidence.merge(
        [
            answers(["++-", "++-", "+++", "+--"], model="ours"),
            answers(["+--", "+--", "+--", "---"], model="weak"),
            answers(["+++"] * 4, model="firm"),
            answers(["+++", "++-", "+++", "+++"], model="ours", name="rain"),
            answers(["+--", "+++", "+++", "+++"], model="weak", name="rain"),
        ]
    )
    # Rises of ours: 1/4 + 3/4; of the reference: 3/4 + 3/4.
    assert relative_error(evidence, "fog", "ours", "weak") == pytest.approx(1 / 1.5)
    assert relative_error(evidence, "fog", "weak", "ours") == pytest.approx(1.5)
    assert relative_error(evidence, "fog", "ours", "firm") is None
    assert mean_relative_error(evidence, ["fog", "rain"], "ours", "weak") == pytest.approx((1 / 1.5 + 0.5) / 2)
    assert mean_relative_error(evidence, ["fog"], "ours", "firm") is None


@pytest.mark.covers("2.16")
def test_rankings_by_strength_and_changes_beyond_chance():
    def models(count):
        return Evidence.merge([answers(["++-"] * count, model="early"), answers(["--+"] * count, model="late")])

    assert rankings(models(3), "fog", ["late", "early"]) == {
        0.0: ["early", "late"], 1.0: ["early", "late"], 2.5: ["late", "early"],
    }  # fmt: skip
    assert rank_changes(models(20), "fog", ["late", "early"]) == [("early", "late", 1.0, 2.5)]
    assert rank_changes(models(3), "fog", ["late", "early"]) == []  # three trajectories may be chance
    # Six of six have p = 0.031, seven 0.016; the level of 0.05 is shared by three comparisons.
    assert [len(rank_changes(models(count), "fog", ["late", "early"])) for count in (6, 7)] == [0, 1]
    level = answers(["+++"] * 20, model="firm")
    assert rank_changes(Evidence.merge([models(20), level]), "fog", ["early", "firm"]) == []
    assert rank_distance(["a", "b", "c"], ["c", "b", "a"]) == 1.0


def brightness(name, threshold=0.5, broken=False):
    def scores(images):
        mean = images.mean((1, 2, 3))
        found = torch.stack([threshold - mean, mean - threshold], 1)
        return found / 0 if broken else found

    return Classifier(
        scores, class_names=["dark", "bright"], name=name,
        preparation=Preprocessing(size=(2, 2), resize="exact", resize_to=(2, 2)),
    )  # fmt: skip


@pytest.mark.covers("2.15")
def test_rejected_trajectories_are_invalid_at_every_strength_and_judged_by_nobody():
    images = torch.tensor([[0.0, 0.2, 0.8], [0.0, 0.0, 0.0]]).view(2, 3, 1, 1, 1).expand(2, 3, 3, 8, 8)
    found = measure_trajectories(
        [brightness("low", 0.1), brightness("half")], images, [0, 0], name="glare", strengths=GRID,
        ids=["a", "b"], reasons=[None, "at strength 1, out of class"], unit_ids=["u", None],
    )  # fmt: skip
    assert len(found) == 2 * 2 * 3
    assert found.spent.queries == 2 * 3
    rejected = found.where(example_id="b").table
    assert set(rejected["status"].to_pylist()) == {"invalid"}
    assert set(rejected["reason"].to_pylist()) == {"at strength 1, out of class"}
    assert rejected["prediction"].null_count == 6
    assert first_failures(found, "glare", "low", never=3.0) == {"a": 1.0}
    assert first_failures(found, "glare", "half", never=3.0) == {"a": 2.5}
    assert set(found.where(example_id="a").table["unit_id"].to_pylist()) == {"u"}
    nothing = measure_trajectories([brightness("broken", broken=True)], images, [0, 0], name="glare", strengths=GRID,
                                   ids=["a", "b"])  # fmt: skip
    assert first_failures(nothing, "glare", "broken", never=3.0) == {}
    with pytest.raises(InputError, match="3 strengths and 2, 1, 2"):
        measure_trajectories([], images, [0, 0], name="glare", strengths=GRID, ids=["a"])
    with pytest.raises(InputError, match="different names"):
        measure_trajectories([brightness("x")] * 2, images, [0, 0], name="glare", strengths=GRID, ids=["a", "b"])


def test_the_published_settings():
    assert (len(STYLES), len(WEATHERS), len(IMAGENET.shifts)) == (8, 6, 14)
    assert IMAGENET.strengths == (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)
    assert (IMAGENET.guidance_scale, IMAGENET.steps, IMAGENET.gate) == (7.5, 50, 750)
    fit = IMAGENET.fit
    assert (fit.rank, fit.alpha, fit.iterations, fit.learning_rate, fit.batch_size, fit.eta) == (4, 1, 400, 2e-4, 16, 4)


def test_rank_correlation():
    assert spearman([0, 1, 2], [5.0, 6.0, 9.0]) == 1.0
    assert spearman([0, 1, 2], [5.0, 4.0, 1.0]) == -1.0
    assert spearman([0, 1, 2], [1.0, 1.0, 1.0]) == 0.0
    assert spearman([0, 1, 2, 3], [1.0, 1.0, 2.0, 3.0]) == pytest.approx(0.9486833)
    for first, second, said in (([0], [1], "2 at least"), ([0, 1], [0, np.nan], "finite")):
        with pytest.raises(InputError, match=said):
            spearman(first, second)
