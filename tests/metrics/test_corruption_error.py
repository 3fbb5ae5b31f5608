"""Corruption errors: by hand, as published code computes them, the guarded cases, and the stored references."""

from __future__ import annotations

import math
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.core.errors import InputError, UnknownNameError
from snellen.metrics.corruption_error import (
    Reference,
    corruption_error,
    normalise,
    relative_corruption_error,
    stored_reference,
    stored_reference_names,
)

BASELINE = Reference.measured("baseline", 0.25, {"fog": [0.5, 0.75], "snow": [0.25, 1.0]}, source="here")
#: Set → clean error, kinds, and sum of the mean errors, of the table of four digits.
MEDICAL = {
    "bloodmnist": (0.0184, 11, 1.2377),
    "breastmnist": (0.1454, 7, 2.0957),
    "chestmnist": (0.2839, 13, 4.7807),
    "dermamnist": (0.3986, 15, 9.2210),
    "octmnist": (0.2020, 6, 2.2120),
    "organamnist": (0.0501, 13, 3.5006),
    "organcmnist": (0.0760, 13, 3.6940),
    "organsmnist": (0.2430, 13, 5.2494),
    "pathmnist": (0.0884, 11, 3.0468),
    "pneumoniamnist": (0.1009, 13, 3.4498),
    "retinamnist": (0.5582, 8, 5.1885),
    "tissuemnist": (0.3918, 8, 4.2995),
}


def test_by_hand() -> None:
    figures = normalise({"fog": [0.25, 0.5], "snow": [0.5, 0.5]}, 0.125, BASELINE)
    assert figures.reference == "baseline"
    assert figures.clean_error == 0.125
    assert figures.corruption_errors == {"fog": 0.75 / 1.25, "snow": 1.0 / 1.25}
    assert figures.mean_corruption_error == pytest.approx((0.6 + 0.8) / 2)
    # Rises: fog (0.375 − 0.125) / (0.625 − 0.25), snow (0.5 − 0.125) / (0.625 − 0.25).
    assert figures.relative_corruption_errors == {"fog": pytest.approx(2 / 3), "snow": pytest.approx(1.0)}
    assert figures.relative_mean_corruption_error == pytest.approx(5 / 6)
    assert (figures.counted, figures.relative_counted, figures.unmeasured, figures.extra) == (2, 2, (), ())
    assert (figures.undefined, figures.relative_undefined) == ({}, {})


def test_the_reference_by_itself_is_exactly_one() -> None:
    for name in stored_reference_names():
        reference = stored_reference(name)
        figures = normalise(
            {kind: [mean] * 5 for kind, mean in reference.mean_errors.items()}, reference.clean_error, reference
        )
        assert set(figures.corruption_errors.values()) == {1.0}
        assert set(figures.relative_corruption_errors.values()) - {None} == {1.0}
        assert (figures.mean_corruption_error, figures.relative_mean_corruption_error) == (1.0, 1.0)
    errors = {kind: BASELINE.at_severities(kind) for kind in BASELINE.mean_errors}
    assert set(normalise(errors, 0.25, BASELINE).corruption_errors.values()) == {1.0}


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0, 1), st.integers(0, 100))
def test_both_figures_are_ratios_of_means(errors: list[float], clean: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    theirs = rng.uniform(0.5, 1, len(errors))
    found = corruption_error(errors, theirs)
    assert found == pytest.approx(fmean(errors) / float(theirs.mean()), abs=1e-12)
    found = relative_corruption_error(errors, clean, theirs, 0.25)
    assert found == pytest.approx((fmean(errors) - clean) / (float(theirs.mean()) - 0.25), abs=1e-12)
    order = rng.permutation(len(errors))
    assert corruption_error(np.array(errors)[order], theirs) == corruption_error(errors, theirs)


@pytest.mark.parametrize("name", sorted(MEDICAL))
def test_as_the_published_evaluation_of_medmnist_c(name: str) -> None:
    reference = stored_reference(f"alexnet/{name}")
    rng = np.random.default_rng(0)
    errors = {kind: rng.random(5) for kind in reference.mean_errors}
    figures = normalise(errors, 0.05, reference, parity=True)
    ratios = [np.mean(errors[kind]) / mean for kind, mean in reference.mean_errors.items()]
    relative = [
        (np.mean(errors[kind]) - 0.05) / (mean - reference.clean_error) for kind, mean in reference.mean_errors.items()
    ]
    assert list(figures.corruption_errors.values()) == pytest.approx(ratios, rel=1e-12)
    # Where the reference barely rises, the ratio is large, and so are its last digits.
    assert list(figures.relative_corruption_errors.values()) == pytest.approx(relative, rel=1e-10)
    assert figures.mean_corruption_error == pytest.approx(np.mean(ratios), rel=1e-12)
    assert figures.relative_mean_corruption_error == pytest.approx(np.mean(relative), rel=1e-10)


def test_a_reference_that_gets_better_is_no_unit() -> None:
    reference = stored_reference("alexnet/pneumoniamnist")
    errors = {kind: [0.2] * 5 for kind in reference.mean_errors}
    figures = normalise(errors, 0.1, reference)
    assert set(figures.relative_undefined) == {"contrast_up", "gamma_corr_up"}
    assert (
        "not worse under contrast_up (error 0.0953) than without (0.1009)" in figures.relative_undefined["contrast_up"]
    )
    assert figures.relative_corruption_errors["contrast_up"] is None
    assert (figures.counted, figures.relative_counted) == (13, 11)
    assert figures.corruption_errors["contrast_up"] == pytest.approx(0.2 / 0.09529914529914527)
    # As published, a model that loses ten points has a negative error there, as if it had gained.
    published = normalise(errors, 0.1, reference, parity=True)
    assert published.relative_corruption_errors["contrast_up"] == pytest.approx(-18.0, abs=0.01)
    assert published.relative_undefined == {}
    defined = [value for value in figures.relative_corruption_errors.values() if value is not None]
    assert figures.relative_mean_corruption_error == pytest.approx(fmean(defined))
    assert min(defined) > 0


def test_a_rise_of_rounding_only_is_none() -> None:
    # The mean of the differences from 0.3 is 0 but for rounding, and would be a denominator of 1e-17.
    theirs = [0.1, 0.3, 0.5, 0.2, 0.4]
    assert sum(error - 0.3 for error in theirs) != 0
    for parity in (False, True):
        assert relative_corruption_error([0.5] * 5, 0.1, theirs, 0.3, parity=parity) is None


def test_a_perfect_clean_score_is_legal() -> None:
    figures = normalise({"fog": [0.0, 0.25]}, 0.0, BASELINE)
    assert figures.corruption_errors == {"fog": 0.2}
    assert figures.relative_corruption_errors == {"fog": pytest.approx(0.125 / 0.375)}
    assert figures.unmeasured == ("snow",)
    perfect = normalise({"fog": [0, 0]}, 0, BASELINE)
    assert (perfect.mean_corruption_error, perfect.relative_mean_corruption_error) == (0, 0)


def test_a_reference_without_errors_is_no_unit() -> None:
    flawless = Reference.measured("flawless", 0.0, {"fog": [0.0, 0.0], "snow": [0.0, 0.5]})
    figures = normalise({"fog": [0.25, 0.5]}, 0.0, flawless)
    assert figures.corruption_errors == {"fog": None}
    assert figures.undefined == {"fog": "flawless makes no error under fog"}
    assert (figures.mean_corruption_error, figures.counted) == (None, 0)
    assert (figures.relative_mean_corruption_error, figures.relative_counted) == (None, 0)


def test_extra_kinds_do_not_count_in_the_mean() -> None:
    reference = stored_reference("alexnet/imagenet-c")
    errors = {kind: [mean / 2] * 5 for kind, mean in reference.mean_errors.items()}
    errors["spatter"] = [1.0] * 5
    figures = normalise(errors, 0.2, reference)
    assert figures.counted == 15
    assert figures.mean_corruption_error == pytest.approx(0.5)
    assert figures.corruption_errors["spatter"] == pytest.approx(1 / 0.717512)
    assert set(figures.extra) == {"speckle_noise", "gaussian_blur", "spatter", "saturate"}
    only = normalise({"spatter": errors["spatter"], "fog": errors["fog"]}, 0.2, reference)
    assert (only.extra, only.counted, len(only.unmeasured)) == (("spatter",), 1, 14)


def test_a_measured_reference() -> None:
    written = Reference(
        name="baseline",
        clean_error=0.25,
        mean_errors={"fog": 0.625, "snow": 0.625},
        severities=2,
        errors_by_severity={"fog": (0.5, 0.75), "snow": (0.25, 1.0)},
        source="here",
    )
    assert written == BASELINE
    only_means = Reference("means", 0.25, BASELINE.mean_errors, severities=2)
    assert only_means.at_severities("snow") == (0.625, 0.625)
    errors = {"fog": [0.1, 0.7], "snow": [0.3, 0.9]}
    first, second = normalise(errors, 0.1, BASELINE), normalise(errors, 0.1, only_means)
    assert second.corruption_errors == pytest.approx(first.corruption_errors)
    assert second.relative_corruption_errors == pytest.approx(first.relative_corruption_errors)


def test_stored_medical_references() -> None:
    assert {f"alexnet/{name}" for name in MEDICAL} | {"alexnet/imagenet-c"} == set(stored_reference_names())
    for name, (clean, kinds, total) in MEDICAL.items():
        reference = stored_reference(f"alexnet/{name}")
        assert (reference.name, len(reference.mean_errors), reference.severities) == (f"alexnet/{name}", kinds, 5)
        assert reference.clean_error == pytest.approx(clean, abs=5e-5)
        assert sum(reference.mean_errors.values()) == pytest.approx(total, abs=5e-5 * kinds)
        assert "2406.17536" in reference.source


@pytest.mark.parametrize(
    ("kind", "errors"),
    [
        ("gaussian_noise", (0.69528, 0.82542, 0.93554, 0.98138, 0.99452)),
        ("glass_blur", (0.64308, 0.75054, 0.88806, 0.91622, 0.93344)),
        ("brightness", (0.45140, 0.48502, 0.54048, 0.62166, 0.72440)),
        ("jpeg_compression", (0.51002, 0.54718, 0.57294, 0.65458, 0.74778)),
        ("saturate", (0.59342, 0.65514, 0.51174, 0.70834, 0.82260)),
    ],
)
def test_stored_means_of_alexnet_are_those_of_its_severities(kind: str, errors: tuple[float, ...]) -> None:
    reference = stored_reference("alexnet/imagenet-c")
    assert reference.mean_errors[kind] == pytest.approx(fmean(errors), abs=1e-12)
    assert len(reference.mean_errors) == 19
    assert "1903.12261" in reference.source


def test_unknown_references_suggest_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'alexnet/bloodmnist'"):
        stored_reference("alexnet/blodmnist")


def test_what_was_given_out_does_not_change_what_is_stored() -> None:
    stored_reference("alexnet/octmnist").mean_errors["pixelate"] = 0.0  # type: ignore[index]
    assert stored_reference("alexnet/octmnist").mean_errors["pixelate"] == 0.3124


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: corruption_error([0.1], [0.1, 0.2]), "1 errors, but 2 of the reference"),
        (lambda: corruption_error([], []), r"one for each severity, got shape \(0,\)"),
        (lambda: corruption_error([[0.1]], [[0.1]]), "one for each severity"),
        (lambda: corruption_error([10.0], [0.1]), r"a share, not percent\), got 10.0"),
        (lambda: corruption_error([math.nan], [0.1]), "a share"),
        (lambda: corruption_error([0.1], [-0.1]), "errors of the reference must lie"),
        (lambda: relative_corruption_error([0.1], math.nan, [0.2], 0.1), "clean error must lie"),
        (lambda: relative_corruption_error([0.1], 0.1, [0.2], 1.1), "clean error of the reference must lie"),
        (lambda: normalise({}, 0.1, BASELINE), "at least one corruption"),
        (lambda: normalise({"fog": [0.1, 0.2], "rain": [0.1, 0.2], "mud": [0.1, 0.2]}, 0.1, BASELINE), "mud, rain"),
        (lambda: normalise({"fog": [0.1] * 5}, 0.1, BASELINE), "2 severities, got 5 errors under fog"),
        (lambda: normalise({"fog": [0.1, math.inf]}, 0.1, BASELINE), "errors under fog must lie"),
        (lambda: Reference.measured("x", 0.1, {}), "at least one corruption"),
        (lambda: Reference.measured("x", 0.1, {"fog": []}), "one for each severity"),
        (lambda: Reference.measured("x", 0.1, {"fog": [0.1], "snow": [0.1, 0.2]}), "the same severities"),
        (lambda: Reference.measured("x", 2.0, {"fog": [0.1]}), "clean error of 'x'"),
        (lambda: Reference("x", 0.1, {"fog": 1.5}), "error of 'x' under fog"),
        (lambda: Reference("x", 0.1, {"fog": 0.5}, severities=0), "at least one corruption and severity"),
        (lambda: Reference("x", 0.1, {"fog": 0.5}, extra=("snow",)), "without errors: snow"),
        (lambda: Reference("x", 0.1, {"fog": 0.5}, 1, {"snow": (0.5,)}), "other kinds"),
        (lambda: Reference("x", 0.1, {"fog": 0.5}, 2, {"fog": (0.5,)}), "must be 2 of mean 0.5"),
        (lambda: Reference("x", 0.1, {"fog": 0.5}, 2, {"fog": (0.5, 0.6)}), "must be 2 of mean 0.5"),
    ],
)
def test_refused(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
