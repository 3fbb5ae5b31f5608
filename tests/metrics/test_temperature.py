"""Temperature scaling: against scipy, by simulation, at the optimum, at perfect separation, and with bad input."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.metrics.calibration import ProbabilityScores
from snellen.metrics.temperature import fit_temperature, negative_log_likelihood, tempered_probabilities


def drawn(seed: int, n: int, k: int, scale: float, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and labels drawn from their softmax at this temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, k)) * scale
    chances = tempered_probabilities(logits, temperature)
    return logits, (chances.cumsum(1)[:, :-1] < rng.random((n, 1))).sum(1)


def slope(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Derivative of the mean negative log-likelihood by 1/T, written out."""
    expected = (tempered_probabilities(logits, temperature) * logits).sum(1)
    return float((expected - logits[np.arange(len(labels)), labels]).mean())


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(5, 80), st.integers(2, 6), st.sampled_from([0.01, 1.0, 30.0]))
def test_against_scipy(seed: int, n: int, k: int, scale: float) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    logits, labels = drawn(seed, n, k, scale, temperature=scale)
    fitted = fit_temperature(logits, labels)
    found = optimize.minimize_scalar(
        lambda log_t: negative_log_likelihood(logits, labels, math.exp(log_t)),
        bounds=(math.log(1e-3), math.log(1e3)),
        method="bounded",
        options={"xatol": 1e-12},
    )
    assert fitted.after <= found.fun + 1e-12
    if fitted.ended == "inside":
        assert fitted.after == pytest.approx(found.fun, abs=1e-10)
        # A minimum is only as sharp as the root of the rounding of its value.
        assert math.log(fitted.temperature) == pytest.approx(found.x, abs=1e-4)
        assert slope(logits, labels, fitted.temperature) == pytest.approx(0, abs=1e-13 * scale * 10)
    assert fitted.after <= fitted.before


@pytest.mark.parametrize("temperature", [0.2, 1.0, 2.5, 40.0])
def test_a_known_temperature_is_recovered(temperature: float) -> None:
    logits, labels = drawn(0, 20_000, 5, 2 * temperature, temperature)
    fitted = fit_temperature(logits, labels)
    # Four standard errors of the estimate of 1/T, from the curvature of the likelihood.
    chances = tempered_probabilities(logits, temperature)
    variance = float(((chances * logits**2).sum(1) - (chances * logits).sum(1) ** 2).mean())
    error = 1 / math.sqrt(variance * 20_000)
    assert abs(1 / fitted.temperature - 1 / temperature) < 4 * error
    assert fitted.ended == "inside"


def test_two_classes_in_closed_form() -> None:
    # Three of four are right by the same margin: log 3 = margin / T.
    logits, labels = [[5.0, 1.0]] * 4, [0, 0, 0, 1]
    fitted = fit_temperature(logits, labels)
    assert fitted.temperature == pytest.approx(4 / math.log(3), rel=1e-14)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert fitted.after == pytest.approx(entropy, abs=1e-14)
    assert fitted.before == pytest.approx(
        -(0.75 * -math.log1p(math.exp(-4)) - 0.25 * math.log1p(math.exp(4))), abs=1e-14
    )


def test_likelihood_against_the_other_module() -> None:
    logits, labels = drawn(1, 300, 4, 3.0)
    for temperature in (0.5, 1.0, 7.0):
        scores = ProbabilityScores.of(tempered_probabilities(logits, temperature), labels)
        found = negative_log_likelihood(logits, labels, temperature)
        assert found == pytest.approx(scores.negative_log_likelihood, abs=1e-12)


@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-50, 50))
def test_scale_shift_and_order(seed: int, factor: float, shift: float) -> None:
    logits, labels = drawn(seed, 50, 3, 2.0)
    fitted = fit_temperature(logits, labels)
    if fitted.ended != "inside":
        return
    order = np.random.default_rng(seed).permutation(50)
    assert fit_temperature(logits[order], labels[order]).temperature == pytest.approx(fitted.temperature, rel=1e-13)
    assert fit_temperature(logits * factor, labels).temperature == pytest.approx(fitted.temperature * factor, rel=1e-9)
    assert fit_temperature(logits + shift, labels).temperature == pytest.approx(fitted.temperature, rel=1e-9)


def test_scores_as_large_as_they_come() -> None:
    logits, labels = drawn(2, 400, 4, 2.0)
    fitted = fit_temperature(logits * 200, labels)
    assert fitted.temperature == pytest.approx(200 * fit_temperature(logits, labels).temperature, rel=1e-9)
    assert math.isfinite(fitted.before)


def test_perfect_separation_ends_at_the_lowest() -> None:
    logits = np.eye(3)[[0, 1, 2, 0]] * 5
    fitted = fit_temperature(logits, [0, 1, 2, 0])
    assert (fitted.temperature, fitted.ended) == (1e-3, "lowest")
    assert fitted.after == 0
    fitted = fit_temperature(logits, [0, 1, 2, 0], lowest=0.05)
    assert (fitted.temperature, fitted.ended) == (0.05, "lowest")
    assert fitted.after < fitted.before


def test_worse_than_chance_ends_at_the_highest() -> None:
    fitted = fit_temperature(np.eye(3)[[0, 1, 2]] * 5, [1, 2, 0], highest=50)
    assert (fitted.temperature, fitted.ended) == (50, "highest")
    assert math.log(3) < fitted.after < fitted.before


def test_equal_scores_have_no_temperature() -> None:
    fitted = fit_temperature([[2.0, 2.0], [7.0, 7.0]], [0, 1])
    assert (fitted.temperature, fitted.ended) == (1, "flat")
    assert fitted.before == fitted.after == pytest.approx(math.log(2))
    assert fit_temperature([[3.0]], [0]).ended == "flat"


def test_parts_of_a_large_table_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = drawn(3, 500, 4, 2.0)
    whole = fit_temperature(logits, labels)
    monkeypatch.setattr("snellen.metrics.temperature._CHUNK", 50)
    assert fit_temperature(logits, labels).temperature == pytest.approx(whole.temperature, rel=1e-13)


def test_single_precision_tensors_are_taken() -> None:
    torch = pytest.importorskip("torch")
    logits, labels = drawn(4, 200, 3, 2.0)
    single = fit_temperature(torch.tensor(logits, dtype=torch.float32), torch.tensor(labels))
    assert single.temperature == pytest.approx(fit_temperature(logits, labels).temperature, rel=1e-5)
    rounded = fit_temperature(logits.astype(np.float32).astype(np.float64), labels)
    assert single == rounded


def test_order_of_the_classes_stays() -> None:
    logits, _ = drawn(5, 100, 6, 2.0)
    for temperature in (0.1, 1.0, 10.0):
        chances = tempered_probabilities(logits, temperature)
        assert (chances.argsort(1) == logits.argsort(1)).all()
        assert chances.sum(1) == pytest.approx(1, abs=1e-12)


def test_no_images() -> None:
    assert math.isnan(negative_log_likelihood(np.zeros((0, 3)), []))
    assert tempered_probabilities(np.zeros((0, 3)), 2.0).shape == (0, 3)
    with pytest.raises(InputError, match="fitted to no images"):
        fit_temperature(np.zeros((0, 3)), [])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_temperature([1.0, 2.0], [0]), r"logits must be \(n, k\) with at least one class, got \(2,\)"),
        (lambda: fit_temperature(np.zeros((2, 0)), [0, 0]), r"got \(2, 0\)"),
        (lambda: fit_temperature([[1.0, 2.0]], [0, 1]), r"expected logits \(n, k\) and labels \(n,\)"),
        (lambda: fit_temperature([[1.0, 2.0]], [2]), "integers from 0 to 1"),
        (lambda: fit_temperature([[1.0, 2.0]], [-1]), "leave unknown ones out"),
        (lambda: fit_temperature([[1.0, 2.0]], [0.0]), "integers from 0 to 1"),
        (lambda: fit_temperature([[1.0, -math.inf]], [0]), "1 of 2 logits are not finite"),
        (lambda: fit_temperature([[math.nan, math.nan]], [0]), "2 of 2 logits"),
        (lambda: fit_temperature([[1.0, 2.0]], [0], lowest=0), "0 < lowest < highest, got 0 and"),
        (lambda: fit_temperature([[1.0, 2.0]], [0], lowest=2, highest=1), "got 2 and 1"),
        (lambda: negative_log_likelihood([[1.0, 2.0]], [0], 0), "a finite number above 0, got 0"),
        (lambda: tempered_probabilities([[1.0, 2.0]], math.nan), "a finite number above 0"),
        (lambda: tempered_probabilities([[1.0, math.inf]], 1.0), "not finite"),
    ],
)
def test_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
