"""Does confidence match accuracy, and what would a temperature or a scale for each class mend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from snellen.checks.check import Check, CheckFigure, CheckInput, CheckResult, Kept, Several
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.independent import in_first_half
from snellen.checks.panels import Line, Panel, Point
from snellen.checks.per_image import PerImage
from snellen.core.finding import Finding
from snellen.core.method import Need
from snellen.metrics.bootstrap import cluster_bootstrap
from snellen.metrics.calibration import ReliabilityBins
from snellen.metrics.clustered import clustered_share
from snellen.metrics.incomplete_beta import regularised_incomplete_beta
from snellen.metrics.loss_interval import loss_interval
from snellen.metrics.power import detectable_shift
from snellen.metrics.temperature import fit_temperature, tempered_probabilities
from snellen.metrics.vector_scaling import enough_for_vector_scaling, fit_vector_scaling
from snellen.metrics.weighted import weighted_adaptive_calibration_error, weighted_calibration_error

#: Fewer images than this many a bin bound nothing from above.
IMAGES_PER_BIN = 2

#: Bins of the test hold at least so much variance of the outcomes, and there are at most so many.
VARIANCE_PER_BIN, TEST_BINS = 5.0, 10
#: … and at least so many units, where images come in units.
UNITS_PER_BIN = 20

#: Added to the variance of each bin: among a hundred images that are sure to 99.9 % one error is no proof.
EXTRA_VARIANCE = 0.5


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error with what a calibrated model would show.

    Attributes:
        value: as usually reported (Guo et al. 2017, eq. 3; in bins of equal mass Nixon et al. 2019); biased upwards,
            the more the fewer the images.
        if_calibrated: its mean were the stated confidences true.
        spread: standard error, by the bootstrap over units.
        high: upper 97.5 % bound.
        p_value: of outcomes as far from the confidences if the model is calibrated.
    """

    value: float
    if_calibrated: float
    spread: float
    high: float
    p_value: float

    def lower(self, confidence: float) -> float:
        """One-sided lower bound of the true error: the largest bias is taken off."""
        if math.isinf(self.spread):
            return 0.0
        return max(self.value - self.if_calibrated - NormalDist().inv_cdf(confidence) * self.spread, 0.0)


def calibration_error(
    confidence: NDArray[np.float64],
    correct: NDArray[np.bool_],
    units: NDArray[np.int64] | None = None,
    *,
    bins: int,
    resamples: int,
    equal_mass: bool = False,
) -> CalibrationError:
    """Estimate the expected calibration error and bound it.

    A calibrated model has an error too: consistency resampling (Bröcker and Smith 2007) draws outcomes from the stated
    confidences and shows how large; where outcomes within a unit go together, it is scaled by the square root of the
    design effect. Its mean is the largest bias of the estimate, which vanishes as the true error grows, so the lower
    bound takes it off and the upper one does not. The bootstrap over units gives the spread.

    Args:
        confidence: largest probability of each image, (n,), n ≥ 1.
        correct: whether each prediction is right, (n,).
        units: (n,), code of each image's unit; None when each is its own.
        bins: how many.
        equal_mass: bins hold equal numbers of images in place of equal widths of confidence (the adaptive error).
        resamples: of each kind; a fixed seed makes the result reproducible.
    """
    rng, n = np.random.default_rng(0), len(confidence)
    outcomes = correct.astype(np.float64)
    figure = weighted_adaptive_calibration_error if equal_mass else weighted_calibration_error
    statistic, whole = figure(confidence, outcomes, bins), np.ones(n)
    value = statistic(whole)
    calibrated = [figure(confidence, rng.random(n) < confidence, bins)(whole) for _ in range(resamples)]
    p_value, design_effect = calibration_test(confidence, correct, units)
    spread = math.inf
    if n > 1 and (units is None or len(np.unique(units)) > 1):
        spread = cluster_bootstrap(statistic, n, units, resamples=resamples, rng=rng, jackknife_groups=2).standard_error
    bias = float(np.mean(calibrated)) * design_effect**0.5
    # Where all or no predictions are right, the bootstrap sees no spread: the accuracy itself is not that certain.
    off = max(abs(float(confidence.mean()) - end) for end in clustered_share(correct, units))
    enough = n >= IMAGES_PER_BIN * bins and math.isfinite(spread)
    high = max(value + 1.96 * spread, off) if enough else 1.0
    return CalibrationError(value, bias, spread, min(high, 1.0), p_value)


def calibration_test(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], units: NDArray[np.int64] | None = None
) -> tuple[float, float]:
    """Test that outcomes follow the stated confidences: p value, and the design effect of the units (1 or more).

    Hosmer and Lemeshow's statistic, Σ_m (right_m − expected_m)² / variance_m, over bins of equal variance Σ p (1 − p);
    no parameter is fitted, so there is a degree of freedom for each bin. Outcomes of a unit go together: the variance
    of a bin is then that of the units' sums, where that is larger, the bins hold 20 units or more on average, and the
    statistic follows Fisher's F with as many degrees of freedom as a bin has units, less one.

    >>> sure = np.full(400, 0.9)
    >>> calibration_test(sure, np.arange(400) < 360)[0], calibration_test(sure, np.arange(400) < 300)[0] < 1e-6
    (1.0, True)
    """
    # Equal confidences share a bin, so that the order of the images cannot matter.
    _, rank = np.unique(confidence, return_inverse=True)
    own = np.bincount(rank, confidence * (1 - confidence))
    whole = max(float(own.sum()), 1e-12)
    # What a bin must hold is counted as if all images of a unit went together.
    size = 1.0 if units is None else len(units) / len(np.unique(units))
    most = TEST_BINS if units is None else min(TEST_BINS, int(len(units) / size) // UNITS_PER_BIN)
    count = bins_for(whole / size, most)
    middle = (np.cumsum(own) - own / 2) / whole
    place = np.minimum((middle * count).astype(np.int64), count - 1)[rank]
    misses = correct - confidence
    expected = np.bincount(place, confidence * (1 - confidence), minlength=count)
    variance, freedom = expected, float(len(confidence) - count)
    if units is not None:
        _, cells = np.unique(units * count + place, return_inverse=True)
        sums = np.bincount(cells, misses)
        bin_of = np.zeros(len(sums), dtype=np.int64)
        bin_of[cells] = place
        variance = np.maximum(expected, np.bincount(bin_of, sums**2, minlength=count))
        freedom = len(sums) / count - 1
    design_effect = float(variance.sum() / expected.sum()) if expected.sum() > 0 else 1.0
    extra = EXTRA_VARIANCE * size**2
    statistic = float((np.bincount(place, misses, minlength=count) ** 2 / (variance + extra)).sum())
    rest = max(freedom, 1.0)
    return regularised_incomplete_beta(rest / (rest + statistic), rest / 2, count / 2), max(design_effect, 1.0)


def bins_for(variance: float, most: int = TEST_BINS) -> int:
    """Number of bins of the test, for the sum of the variances of all outcomes."""
    return int(np.clip(variance // VARIANCE_PER_BIN, 1, max(most, 1)))


#: Largest Brier score, and what the log loss of one image is cut to: a model that is sure and wrong has no finite one.
WORST_BRIER, WORST_NLL = 2.0, 1000.0


@dataclass(frozen=True, eq=False)
class Mended:
    """Confidences after a treatment that was fitted on other images.

    Attributes:
        name: of the treatment.
        confidence: (n,), largest probability.
        correct: (n,), whether the class of that probability is the label.
    """

    name: str
    confidence: NDArray[np.float64]
    correct: NDArray[np.bool_]

    def error(self, bins: int) -> float:
        """Expected calibration error that remains."""
        return ReliabilityBins.of(self.confidence, self.correct.astype(np.float64), bins).ece


class Calibration(Check):
    """Expected calibration error, proper scores, reliability, and what temperature scaling would do."""

    name: ClassVar[str] = "calibration"
    summary: ClassVar[str] = "does confidence match accuracy, and would a temperature mend it"
    several: ClassVar[Several | None] = "each"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "scores"})
    reads: ClassVar[frozenset[Kept]] = frozenset({"scores"})

    bins: int = Field(15, ge=2, description="equal-width bins of the expected calibration error")
    resamples: int = Field(200, ge=50, description="resamples for its bounds")

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return self._names("ece", "adaptive_ece", "brier", "nll", "ece_with_temperature")

    def cost(self) -> float:
        """Nothing but the clean scores is needed."""
        return 0.0

    def conclude(self, reading: CheckInput) -> CheckResult:
        """Figures, and the hypothesis that the model is calibrated."""
        known = reading.images.select(reading.images.labelled)
        if not len(known) or known.confidence is None or known.scores is None:
            return CheckResult()
        error = calibration_error(
            known.confidence, known.correct, known.units, bins=self.bins, resamples=self.resamples
        )
        temperature, mended = self._mended(known, reading)
        return CheckResult(
            metrics={**self._metrics(known, error), **self._after(known, mended[0])},
            hypotheses=[
                Hypothesis(
                    error.p_value,
                    # A confidence is a promise of how many decisions are right: the error is the share not kept.
                    error.lower,
                    lambda harm: self._finding(known, error, temperature, mended, harm),
                )
            ],
            panels=self._panel(known, mended),
            sight=[lambda alpha: _sight(known, alpha)],
            notes=[
                "The calibration errors are biased upwards by chance; their bounds and the finding are not. The "
                "interval of calibration.nll knows losses like those it has seen: rare, far larger ones lie beyond it. "
                + (
                    "Temperature and scales were fitted on the validation images."
                    if "val" in reading.companions
                    else "Temperature and scales were fitted on one half of the images, judged on the other, in turn."
                )
            ],
        )

    def _metrics(self, known: PerImage, error: CalibrationError) -> dict[str, CheckFigure]:
        assert known.scores is not None
        assert known.confidence is not None
        n = len(known)
        adaptive = calibration_error(
            known.confidence, known.correct, known.units, bins=self.bins, resamples=self.resamples, equal_mass=True
        )
        found = {
            "calibration.ece": _measured(error, n),
            "calibration.adaptive_ece": _measured(adaptive, n),
        }
        probabilities = tempered_probabilities(known.scores, 1.0)
        hit = probabilities[np.arange(n), known.labels]
        # Of each image, as snellen.metrics.calibration.ProbabilityScores sums them.
        brier = (probabilities**2).sum(1) - hit**2 + (1 - hit) ** 2
        log_loss = np.minimum(-np.log(np.maximum(hit, 1e-300)), WORST_NLL)
        # What a lost image costs: all, or what it costs on average where the runner-up is the label.
        runner_up = np.sort(probabilities, axis=1)[:, -2] if probabilities.shape[1] > 1 else np.ones(n)
        lost = float(np.minimum(-np.log(np.maximum(runner_up, 1e-300)), WORST_NLL).mean())
        for name, values, large, most in (
            ("brier", brier, WORST_BRIER, WORST_BRIER),
            ("nll", log_loss, min(max(lost, 1.0), WORST_NLL), WORST_NLL),
        ):
            values = np.clip(values, 0, most)
            low, high = loss_interval(values, known.units, large=large, most=most)
            found[f"calibration.{name}"] = CheckFigure(value=float(values.mean()), low=low, high=high, n=n)
        return found

    def _after(self, known: PerImage, after: Mended) -> dict[str, CheckFigure]:
        error = calibration_error(
            after.confidence, after.correct, known.units, bins=self.bins, resamples=self.resamples
        )
        return {"calibration.ece_with_temperature": _measured(error, len(known))}

    def _mended(self, known: PerImage, reading: CheckInput) -> tuple[float, list[Mended]]:
        """The temperature of other images, and confidences with it and, where images are enough, with class scales."""
        assert known.scores is not None
        val = reading.companions.get("val")
        if val is not None and val.scores is not None and val.labelled.any():
            folds = [(val.scores[val.labelled], val.labels[val.labelled], np.ones(len(known), dtype=bool))]
        else:
            first = in_first_half(known.unit_ids)
            folds = [(known.scores[half], known.labels[half], ~half) for half in (first, ~first)]
        probabilities, temperatures = np.empty_like(known.scores), []
        for scores, labels, judged in folds:
            temperatures.append(fit_temperature(scores, labels).temperature if len(labels) else 1.0)
            probabilities[judged] = tempered_probabilities(known.scores[judged], temperatures[-1])
        temperature = float(np.exp(np.mean(np.log(temperatures))))
        found = [Mended("with temperature", known.confidence_by(probabilities), known.correct)]
        if all(enough_for_vector_scaling(*scores.shape) for scores, _, _ in folds):
            scaled = np.empty_like(known.scores)
            for scores, labels, judged in folds:
                scaled[judged] = fit_vector_scaling(scores, labels).probabilities(known.scores[judged])
            found.append(Mended("with a scale for each class", scaled.max(1), scaled.argmax(1) == known.labels))
        return temperature, found

    def _finding(
        self, known: PerImage, error: CalibrationError, temperature: float, mended: Sequence[Mended], harm: float
    ) -> Finding:
        assert known.confidence is not None
        bins = ReliabilityBins.of(known.confidence, known.correct.astype(np.float64), self.bins)
        excess = np.nan_to_num(bins.confidence - bins.accuracy) * bins.count / len(known)
        over, under = float(np.maximum(excess, 0).sum()), float(np.maximum(-excess, 0).sum())
        left = [one.error(self.bins) for one in mended]
        return Finding(
            kind="calibration",
            harm=harm,
            p_value=error.p_value,
            title=(
                f"Confidence misses the share of right decisions by {error.value:.1%} on average: overconfident by "
                f"{over:.1%}, underconfident by {under:.1%}"
            ),
            facts={
                "ece": error.value,
                "ece_low": error.lower(0.975),
                "ece_if_calibrated": error.if_calibrated,
                "overconfident": over,
                "underconfident": under,
                "mean_confidence": float(known.confidence.mean()),
                "accuracy": float(known.correct.mean()),
                "temperature": temperature,
                "ece_with_temperature": left[0],
                **({"ece_with_class_scales": left[1]} if len(left) > 1 else {}),
            },
        )

    def _panel(self, known: PerImage, mended: Sequence[Mended]) -> list[Panel]:
        assert known.confidence is not None
        return [
            Panel(
                check=self.name,
                title="Reliability",
                about="Accuracy of the images that the model is so sure of. On the dashed line they agree.",
                x_label="confidence",
                y_label="accuracy",
                lines=(
                    Line(name="as it is", points=_reliability(known.confidence, known.correct, known, self.bins)),
                    *(
                        Line(name=one.name, points=_reliability(one.confidence, one.correct, known, self.bins))
                        for one in mended
                    ),
                    Line(name="calibrated", points=(Point(x=0, y=0), Point(x=1, y=1)), reference=True),
                ),
            )
        ]


def _sight(known: PerImage, alpha: float) -> str | None:
    """The least shift of all confidences that would be found; None where units or few doubtful images leave it open."""
    assert known.confidence is not None
    whole = float((known.confidence * (1 - known.confidence)).sum())
    if known.units is not None or whole < VARIANCE_PER_BIN:
        return None
    bins = bins_for(whole)
    shift = detectable_shift(whole / bins + EXTRA_VARIANCE, len(known), bins, alpha)
    most = min(float(known.confidence.mean()), float(1 - known.confidence.mean()))
    # Beyond the share of images that are not sure, confidences cannot be too low by so much for all.
    return None if shift > most else f"confidences that are all too high, or all too low, by {100 * shift:.1f} points"


def _measured(error: CalibrationError, n: int) -> CheckFigure:
    """An error of 0 is possible unless calibration is refuted."""
    low = error.lower(0.975) if error.p_value <= 0.025 else 0.0
    return CheckFigure(value=error.value, low=min(low, error.value), high=max(error.high, error.value), n=n)


def _reliability(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], known: PerImage, bins: int
) -> tuple[Point, ...]:
    found = ReliabilityBins.of(confidence, correct.astype(np.float64), bins)
    # The bins of ReliabilityBins, whose upper ends are closed.
    bin_of = np.searchsorted(np.arange(1, bins + 1) / bins, confidence, side="left")
    points = []
    for place in np.flatnonzero(found.count):
        inside = bin_of == place
        low, high = clustered_share(correct[inside], known.units_of(inside))
        points.append(Point(x=found.confidence[place], y=found.accuracy[place], low=low, high=high))
    return tuple(points)
