"""Which figures have a better side, and that those that have are judged."""

from dataclasses import replace

import numpy as np
import pytest

from snellen.auditing.compare.better_side import direction
from snellen.auditing.compare.compare import compare_records
from snellen.checks.check import CheckFigure
from snellen.checks.per_image import array_column
from snellen.core.evidence import Evidence
from tests.auditing.compare.simulated_runs import run_of
from tests.auditing.compare.test_compare import outcomes, verdicts


def test_figures_at_a_threshold_have_no_better_side():
    run = run_of(*outcomes(100))
    names = [f"discrimination.{name}" for name in ("sensitivity", "specificity", "positive_predictive_value")]
    more = {name: CheckFigure(value=0.5, low=0.4, high=0.6, n=100) for name in names}
    less = {name: CheckFigure(value=0.1, low=0.05, high=0.2, n=100) for name in names}
    runs = [replace(run, report=run.report.model_copy(update={"metrics": {**run.report.metrics, **figures}}))
            for figures in (more, less)]  # fmt: skip
    found = {figure.name: figure for figure in compare_records(*runs, resamples=50).figures}
    for name in names:
        assert found[name].verdict == "not compared"
        assert "a threshold trades one for the other" in found[name].reason


def test_coverage_and_the_error_that_a_temperature_leaves_can_get_worse():
    rng = np.random.default_rng(0)
    right = rng.random(1500) < 0.8
    knows, guesses = np.where(right, 0.95, 0.5), rng.permutation(np.where(right, 0.95, 0.5))
    found = verdicts(compare_records(run_of(right, knows, {}), run_of(right, guesses, {}), resamples=50))
    assert found["selective.coverage"] == "worse"
    back = verdicts(compare_records(run_of(right, guesses, {}), run_of(right, knows, {}), resamples=50))
    assert back["selective.coverage"] == "better"
    # Right in every second image whether sure or not: no temperature mends that.
    even, odd = np.full(1500, 0.8), np.where(np.arange(1500) % 2 == 0, 0.99, 0.4)
    mixed = verdicts(compare_records(run_of(right, even, {}), run_of(right, odd, {}), resamples=50))
    assert mixed["calibration.ece_with_temperature"] == "worse"


def test_temperatures_of_other_validation_images_are_not_compared():
    run = run_of(*outcomes(100))
    tuned = run_of(*outcomes(100), companions={"val": {"fingerprint": "a"}})
    found = {figure.name: figure for figure in compare_records(run, tuned, resamples=50).figures}
    assert found["calibration.ece_with_temperature"].reason == "the temperature was fitted on other images"


def test_the_temperature_of_the_same_validation_images_is_fitted_on_them():
    """Scores of the validation images ask for a temperature of four; without them the images themselves ask for one."""
    rng = np.random.default_rng(0)
    right = rng.random(600) < 0.8
    plan = {"companions": {"val": {"fingerprint": "a"}}}
    run = run_of(right, np.full(600, 0.8), {}, **plan)
    labels = np.arange(400) % 4
    scores = np.zeros((400, 4))
    scores[np.arange(400), np.where(rng.random(400) < 0.8, labels, (labels + 1) % 4)] = 4 * np.log(0.8 / 0.2 * 3)
    evidence = Evidence.of(
        [f"val {row}" for row in range(400)], setting="clean", model="m", label=labels.tolist(),
        prediction=scores.argmax(1).tolist(), extra={"scores": array_column(scores)},
    )  # fmt: skip
    name = "calibration.ece_with_temperature"
    found = {one.name: one for one in compare_records(*[replace(run, val_evidence=evidence)] * 2, resamples=50).figures}
    assert found[name].first == pytest.approx(0.36, abs=0.06), "0.8 divided by four in log odds is 0.44"
    own = {one.name: one for one in compare_records(run_of(right, np.full(600, 0.8), {}), run, resamples=50).figures}
    assert own[name].verdict == "not compared"


@pytest.mark.parametrize(
    ("name", "side"),
    [("selective.coverage", 1), ("calibration.ece_with_temperature", -1), ("discrimination.sensitivity", 0),
     ("drift.auroc", 0), ("discrimination.auroc", 1), ("label_noise.share", 0), ("group_gap.worst_accuracy", 1)],
)  # fmt: skip
def test_the_better_side(name, side):
    assert direction(name) == side
