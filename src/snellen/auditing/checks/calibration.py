"""Does confidence match accuracy, and would one temperature mend it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from snellen.auditing.calibration import CalibrationError, calibration_error
from snellen.checks.check import Check, Conclusion, Kept, Measured, Reading
from snellen.checks.halves import halves
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.panels import Line, Panel, Point
from snellen.checks.per_image import PerImage
from snellen.core.finding import Finding
from snellen.core.method import Need
from snellen.metrics.calibration import ReliabilityBins
from snellen.metrics.clustered import clustered_share
from snellen.metrics.loss_interval import loss_interval
from snellen.metrics.temperature import fit_temperature, tempered_probabilities

#: Calibration has no error scale of its own. Lower bound of the expected calibration error → harm.
CALIBRATION_HARM: tuple[tuple[float, float], ...] = ((0.15, 0.05), (0.05, 0.005), (0.0, 0.0))

#: Largest Brier score, and what the log loss of one image is cut to: a model that is sure and wrong has no finite one.
WORST_BRIER, WORST_NLL = 2.0, 1000.0


class Calibration(Check):
    """Expected calibration error, proper scores, reliability, and what temperature scaling would do."""

    name: ClassVar[str] = "calibration"
    summary: ClassVar[str] = "does confidence match accuracy, and would a temperature mend it"
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

    def conclude(self, reading: Reading) -> Conclusion:
        """Figures, and the hypothesis that the model is calibrated."""
        known = reading.images.select(reading.images.labelled)
        if not len(known) or known.confidence is None or known.scores is None:
            return Conclusion()
        error = calibration_error(
            known.confidence, known.correct, known.units, bins=self.bins, resamples=self.resamples
        )
        after, temperature = self._tempered(known, reading)
        return Conclusion(
            metrics={**self._metrics(known, error), **self._after(known, after)},
            hypotheses=[
                Hypothesis(
                    error.p_value,
                    lambda level: next(harm for bound, harm in CALIBRATION_HARM if error.lower(level) >= bound),
                    lambda harm: self._finding(known, error, after, temperature, harm),
                )
            ],
            panels=self._panel(known, after),
            notes=[
                "The calibration errors are biased upwards by chance; their bounds and the finding are not. The "
                "interval of calibration.nll knows losses like those it has seen: rare, far larger ones lie beyond it. "
                + (
                    "The temperature was fitted on the tuning images."
                    if "tune" in reading.companions
                    else "The temperature was fitted on one half of the images and judged on the other, in turn."
                )
            ],
        )

    def _metrics(self, known: PerImage, error: CalibrationError) -> dict[str, Measured]:
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
            found[f"calibration.{name}"] = Measured(value=float(values.mean()), low=low, high=high, n=n)
        return found

    def _after(self, known: PerImage, after: NDArray[np.float64]) -> dict[str, Measured]:
        error = calibration_error(after, known.correct, known.units, bins=self.bins, resamples=self.resamples)
        return {"calibration.ece_with_temperature": _measured(error, len(known))}

    def _tempered(self, known: PerImage, reading: Reading) -> tuple[NDArray[np.float64], float]:
        """Confidence (n,) after scaling by a temperature that was fitted on other images, and that temperature."""
        assert known.scores is not None
        tune = reading.companions.get("tune")
        if tune is not None and tune.scores is not None and tune.labelled.any():
            fitted = fit_temperature(tune.scores[tune.labelled], tune.labels[tune.labelled]).temperature
            return tempered_probabilities(known.scores, fitted).max(1), fitted
        first = halves(known.unit_ids)
        sure, temperatures = np.empty(len(known)), []
        for fitted_on in (first, ~first):
            scores, labels = known.scores[fitted_on], known.labels[fitted_on]
            temperatures.append(fit_temperature(scores, labels).temperature if len(labels) else 1.0)
            sure[~fitted_on] = tempered_probabilities(known.scores[~fitted_on], temperatures[-1]).max(1)
        return sure, float(np.exp(np.mean(np.log(temperatures))))

    def _finding(
        self, known: PerImage, error: CalibrationError, after: NDArray[np.float64], temperature: float, harm: float
    ) -> Finding:
        assert known.confidence is not None
        confidence, accuracy = float(known.confidence.mean()), float(known.correct.mean())
        direction = "overconfident" if confidence > accuracy else "underconfident"
        mended = ReliabilityBins.of(after, known.correct.astype(np.float64), self.bins).ece
        return Finding(
            kind="calibration",
            harm=harm,
            p_value=error.p_value,
            title=(
                f"Confidence is off by {error.value:.1%} on average; over all images {direction} by "
                f"{abs(confidence - accuracy):.1%}"
            ),
            facts={
                "ece": error.value,
                "ece_low": error.lower(0.975),
                "ece_if_calibrated": error.if_calibrated,
                "mean_confidence": confidence,
                "accuracy": accuracy,
                "temperature": temperature,
                "ece_with_temperature": mended,
            },
            treatments=(f"divide the scores by {temperature:.3g} before the softmax",) if mended < error.value else (),
        )

    def _panel(self, known: PerImage, after: NDArray[np.float64]) -> list[Panel]:
        assert known.confidence is not None
        return [
            Panel(
                check=self.name,
                title="Reliability",
                about="Accuracy of the images that the model is so sure of. On the dashed line they agree.",
                x_label="confidence",
                y_label="accuracy",
                lines=(
                    Line(name="as it is", points=_reliability(known.confidence, known, self.bins)),
                    Line(name="with temperature", points=_reliability(after, known, self.bins)),
                    Line(name="calibrated", points=(Point(x=0, y=0), Point(x=1, y=1)), reference=True),
                ),
            )
        ]


def _measured(error: CalibrationError, n: int) -> Measured:
    """An error of 0 is possible unless calibration is refuted."""
    low = error.lower(0.975) if error.p_value <= 0.025 else 0.0
    return Measured(value=error.value, low=min(low, error.value), high=max(error.high, error.value), n=n)


def _reliability(confidence: NDArray[np.float64], known: PerImage, bins: int) -> tuple[Point, ...]:
    found = ReliabilityBins.of(confidence, known.correct.astype(np.float64), bins)
    # The bins of ReliabilityBins, whose upper ends are closed.
    bin_of = np.searchsorted(np.arange(1, bins + 1) / bins, confidence, side="left")
    points = []
    for place in np.flatnonzero(found.count):
        inside = bin_of == place
        low, high = clustered_share(known.correct[inside], known.units_of(inside))
        points.append(Point(x=found.confidence[place], y=found.accuracy[place], low=low, high=high))
    return tuple(points)
