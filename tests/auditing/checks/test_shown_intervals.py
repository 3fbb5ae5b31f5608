"""Whatever an audit shows as a 95 % interval holds the truth about so often, with images alone and in units."""

from functools import cache

import numpy as np
import pytest

from snellen.auditing.checks.calibration import Calibration
from snellen.auditing.checks.discrimination import Discrimination
from snellen.auditing.checks.selective import Selective
from snellen.checks.check import CheckInput
from snellen.checks.per_image import PerImage
from snellen.core.evidence import Evidence
from snellen.metrics.auroc import auroc
from snellen.metrics.discrimination import ScoreCounts
from snellen.metrics.inspection.error_share import estimated_error_share
from snellen.metrics.selective import RiskCoverage
from snellen.metrics.temperature import fit_temperature, tempered_probabilities
from tests.auditing.readings import reading

CHECKS = (Calibration(resamples=50), Selective(risk=0.1), Discrimination(specificity=0.9))
EMPTY = Evidence.merge([])
CLASSIFIER = reading(EMPTY, Evidence.of(["x"], setting="clean", model="m", prediction=[0]), ["no", "yes"]).classifier

#: Name → units (None: images alone), images, repetitions, overconfidence.
WORLDS = {"alone": (None, 120, 100, 1.0), "overconfident, in units": (40, 320, 80, 2.0)}
FIGURES = (
    "calibration.ece", "calibration.adaptive_ece", "calibration.ece_with_temperature", "calibration.brier",
    "calibration.nll", "selective.aurc", "selective.coverage", "discrimination.auroc", "discrimination.sensitivity",
    "discrimination.specificity", "discrimination.positive_predictive_value",
    "discrimination.negative_predictive_value",
)  # fmt: skip


def drawn(rng, n, units, steepness):
    """Images of two classes, and how probable the second one truly is."""
    codes = np.arange(n) if units is None else np.arange(n) // (n // units)
    shared = 0.0 if units is None else 0.4
    feature, luck = (
        np.sqrt(shared) * rng.normal(size=int(codes[-1]) + 1)[codes] + np.sqrt(1 - shared) * rng.normal(size=n)
        for _ in range(2)
    )
    logit = 1.7 * 1.7 * feature
    truth = 1 / (1 + np.exp(-logit))
    labels = (uniform(luck) < truth).astype(np.int64)
    scores = np.stack([np.zeros(n), steepness * logit], 1)
    sure = 1 / (1 + np.exp(-steepness * np.abs(logit)))
    ids = tuple(f"i{row}" for row in range(n))
    known = PerImage(
        ids=ids, labels=labels, predictions=(logit > 0).astype(np.int64), scores=scores, confidence=sure,
        unit_ids=ids if units is None else tuple(map(str, codes)), units=None if units is None else codes,
    )  # fmt: skip
    return known, truth


def uniform(normal):
    """Uniform values of normal ones, by their logistic approximation's table."""
    grid = np.linspace(-6, 6, 4001)
    density = np.exp(-(grid**2) / 2)
    return np.interp(normal, grid, np.cumsum(density) / density.sum())


def true_error(sure, truth, edges):
    chance = np.maximum(truth, 1 - truth)
    place = np.searchsorted(edges, sure, side="left")
    return float(np.abs(np.bincount(place, sure - chance)).sum() / len(sure))


def truths(rng, val, steepness):
    """The figures of very many images."""
    whole, truth = drawn(rng, 200_000, None, steepness)
    sure, right, second = whole.confidence, np.maximum(truth, 1 - truth), whole.labels == 1
    order = np.argsort(-sure)
    risk = np.cumsum(1 - right[order]) / np.arange(1, len(truth) + 1)
    probability = 1 / (1 + np.exp(-whole.scores[:, 1]))
    hit = np.where(second, probability, 1 - probability)
    tuned = ScoreCounts.of(val.labels, tempered_probabilities(val.scores, 1.0)[:, 1])
    threshold = tuned.threshold_at_specificity(0.9)
    called = probability >= threshold
    mended = tempered_probabilities(whole.scores, fit_temperature(val.scores, val.labels).temperature).max(1)
    width, mass = np.arange(1, 16) / 15, np.quantile(sure, np.arange(1, 15) / 15)
    return {
        "calibration.ece": true_error(sure, truth, width),
        "calibration.adaptive_ece": true_error(sure, truth, mass),
        "calibration.ece_with_temperature": true_error(mended, truth, width),
        "calibration.brier": float((2 * (1 - hit) ** 2).mean()),
        "calibration.nll": float(-np.log(hit).mean()),
        "selective.aurc": RiskCoverage.of(sure, whole.correct).area,
        "selective.coverage": float((risk <= 0.1).mean()),
        "discrimination.auroc": auroc(whole.labels, whole.scores[:, 1]),
        "discrimination.sensitivity": float(called[second].mean()),
        "discrimination.specificity": float(1 - called[~second].mean()),
        "discrimination.positive_predictive_value": float(second[called].mean()),
        "discrimination.negative_predictive_value": float(1 - second[~called].mean()),
    }


@cache
def simulated(world):
    """Share of repetitions whose interval lies above and below the truth, by figure."""
    units, n, repetitions, steepness = WORLDS[world]
    rng = np.random.default_rng(7)
    val, _ = drawn(rng, 1000, None, steepness)
    given = {"val": val}

    def figures(known):
        found = {}
        for check in CHECKS:
            at = CheckInput(evidence=EMPTY, images=known, classifier=CLASSIFIER, companions=given)
            found |= check.conclude(at).metrics
        return found

    true = truths(rng, val, steepness)
    above, below = dict.fromkeys(true, 0), dict.fromkeys(true, 0)
    for _ in range(repetitions):
        for name, found in figures(drawn(rng, n, units, steepness)[0]).items():
            above[name] += found.low > true[name]
            below[name] += found.high < true[name]
    return {name: (above[name] / repetitions, below[name] / repetitions) for name in true}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("figure", FIGURES)
def test_the_interval_holds(world, figure):
    above, below = simulated(world)[figure]
    repetitions = WORLDS[world][2]
    noise = 2.6 * np.sqrt(0.05 * 0.95 / repetitions)
    assert above + below <= 0.05 + noise


@pytest.mark.parametrize(("n", "noise"), [(400, 0.0), (400, 0.08)])
def test_the_interval_of_the_share_of_wrong_labels_holds(n, noise):
    rng, missed, repetitions = np.random.default_rng(3), 0, 30
    for _ in range(repetitions):
        sure = 1 / (1 + np.exp(-rng.uniform(0, 9, n)))
        wrong = (rng.random(n) > sure) ^ (rng.random(n) < noise)
        found = estimated_error_share(np.stack([sure, 1 - sure], 1), wrong.astype(np.int64))
        missed += not found.lower(0.975) <= noise <= found.upper(0.975)
    assert missed <= 4, "5 % of 30 are 1.5, with a standard error of 1.2"
