"""Counted findings need no test; suspect labels, drift and slices are told only as far as facts allow."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from snellen.auditing.compare.compare import compare_records
from snellen.auditing.report import CheckStatus
from snellen.checks.check import Measured
from snellen.checks.per_image import property_columns
from snellen.core.finding import Finding
from snellen.metrics.inspection.properties import image_properties
from tests.auditing.compare.simulated_runs import run_of
from tests.auditing.compare.test_compare import finding, outcomes

COUNTED = {
    "duplicate:exact": ("duplicate", "exact", "surplus_images"),
    "leakage:exact, training": ("leakage", "exact, training", "images"),
    "data_quality:constant images": ("data_quality", "constant images", "images"),
}


def counted(key, count, images=200, **more):
    kind, subject, fact = COUNTED[key]
    told = [Finding(kind=kind, subject=subject, harm=count / images, title=key, facts={fact: count})] if count else []
    return run_of(*outcomes(images), findings=told, **more)


@pytest.mark.parametrize("key", COUNTED)
@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [(6, 0, "mended"), (6, 2, "better"), (6, 6, "same"), (6, 9, "worse"), (0, 9, "new")],
)
def test_counts_are_compared_as_they_are(key, before, after, verdict):
    told = finding(compare_records(counted(key, before), counted(key, after), resamples=50), key)
    assert told.verdict == verdict
    assert f"{before} of 200 images, then {after} of 200" in told.reason


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ((10, 200), (0, 190), "mended"),  # just the copies were taken out
        ((10, 200), (0, 60), "unclear"),  # a smaller set has fewer copies
        ((10, 200), (12, 400), "unclear"),
        ((10, 200), (12, 200), "worse"),
        ((10, 200), (4, 400), "better"),
    ],
)
def test_on_other_images_the_size_of_the_set_is_no_improvement(before, after, verdict):
    key = "duplicate:exact"
    runs = counted(key, *before), counted(key, *after, fingerprint="other")
    told = finding(compare_records(*runs, resamples=50), key)
    assert told.verdict == verdict
    assert "the data differ" in told.reason


def test_what_only_one_run_counted_or_counted_otherwise_is_unclear():
    run = counted("duplicate:exact", 6)
    checks = tuple(
        CheckStatus(name=one.name, status="failed", reason="no room") if one.name == "duplicates" else one
        for one in run.report.checks
    )
    broken = replace(run, report=run.report.model_copy(update={"checks": checks, "findings": ()}))
    told = finding(compare_records(run, broken, resamples=50), "duplicate:exact")
    assert (told.verdict, told.reason) == ("unclear", "the check duplicates failed in the second run: no room")
    plan = {**run.plan, "checks": [{**c, "mirrored": False} if "mirrored" in c else c for c in run.plan["checks"]]}
    other = replace(counted("duplicate:exact", 0), plan=plan)
    told = finding(compare_records(run, other, resamples=50), "duplicate:exact")
    assert told.verdict == "unclear"
    assert "other parameters" in told.reason


def test_other_training_images_are_named():
    key = "leakage:exact, training"
    runs = [counted(key, n, companions={"train": {"fingerprint": name}}) for n, name in ((4, "a"), (0, "b"))]
    told = finding(compare_records(*runs, resamples=50), key)
    assert told.verdict == "mended"
    assert "the training images differ" in told.reason


def test_the_same_labels_are_as_wrong_as_they_were():
    noise = Finding(kind="label_noise", harm=0.1, title="labels")
    with_it, without = (run_of(*outcomes(200), findings=told) for told in ([noise], []))
    more = run_of(*outcomes(200), findings=[noise.model_copy(update={"harm": 0.2})])
    assert finding(compare_records(with_it, more, resamples=50), "label_noise").verdict == "same"
    told = finding(compare_records(with_it, without, resamples=50), "label_noise")
    assert told.verdict == "unclear"
    assert "the same labels" in told.reason
    cleaned = run_of(*outcomes(200), fingerprint="cleaned")
    told = finding(compare_records(with_it, cleaned, resamples=50), "label_noise")
    assert told.verdict == "unclear"
    assert "not bounded from both sides" in told.reason


@pytest.mark.parametrize(
    ("high", "verdict", "words"),
    [(0.13, "mended", "intervals of the reports"), (1.0, "unclear", "not bounded from both sides")],
)
def test_labels_of_other_data_are_compared_by_the_intervals_of_their_share(high, verdict, words):
    noise = Finding(kind="label_noise", harm=0.1, title="labels")

    def with_share(share, low, high, told, fingerprint):
        run = run_of(*outcomes(200), findings=told, fingerprint=fingerprint)
        figure = Measured(value=share, low=low, high=high, n=200)
        metrics = {**run.report.metrics, "label_noise.share": figure}
        return replace(run, report=run.report.model_copy(update={"metrics": metrics}))

    runs = with_share(0.1, 0.07, high, [noise], "raw"), with_share(0.01, 0.0, 0.02, [], "cleaned")
    found = finding(compare_records(*runs, resamples=50), "label_noise")
    assert found.verdict == verdict
    assert words in found.reason


def drifted(area, half=0.02, **more):
    told = Finding(kind="drift", subject="features", harm=0.005, title="drift")
    run = run_of(*outcomes(200), findings=[told] if area > 0.6 else [], **more)
    figure = Measured(value=area, low=area - half, high=area + half, n=200)
    return replace(run, report=run.report.model_copy(update={"metrics": {**run.report.metrics, "drift.auroc": figure}}))


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [(0.8, 0.55, "mended"), (0.9, 0.7, "better"), (0.7, 0.99, "worse"), (0.55, 0.8, "new"), (0.8, 0.81, "unclear")],
)
def test_drift_is_compared_by_the_intervals_of_its_area(before, after, verdict):
    found = compare_records(drifted(before), drifted(after), resamples=50)
    told = finding(found, "drift:features")
    assert (told.verdict, told.paired) == (verdict, False)
    assert told.reason == "not paired: taken from the intervals of the reports"
    assert not found.losses, "drift is no merit of the model"


@pytest.mark.parametrize(("kind", "words"), [("slice", "where both runs list slices"), ("drift", "are not in their evidence")])
def test_what_no_fact_tells_is_unclear_with_the_reason(kind, words):
    told = Finding(kind=kind, subject="labels", harm=0.1, title="told")
    run = run_of(*outcomes(200), findings=[told])
    plan = {**run.plan, "checks": [*run.plan["checks"], {"check": "slices"}]}
    checks = (*run.report.checks, CheckStatus(name="slices", status="done"))
    before = replace(run, plan=plan, report=run.report.model_copy(update={"checks": checks}))
    after = replace(before, report=before.report.model_copy(update={"findings": ()}))
    found = finding(compare_records(before, after, resamples=50), f"{kind}:labels")
    assert found.verdict == "unclear"
    assert words in found.reason


def troubled(right_if_dark, told, seed, **more):
    """A run in which a tenth of 600 images is nearly black."""
    dark, rng = np.arange(600) % 10 == 0, np.random.default_rng(0)
    pixels = rng.random((600, 3, 12, 12), dtype=np.float32)
    pixels[dark] *= 0.05
    right = np.random.default_rng(seed).random(600) < np.where(dark, right_if_dark, 0.9)
    findings = [Finding(kind="data_quality", subject="very dark", harm=0.05, title="dark")] if told else []
    extra = property_columns(image_properties(torch.from_numpy(pixels)))
    return run_of(right, np.full(600, 0.8), {}, extra=extra, findings=findings, **more)


def test_images_in_trouble_are_found_again_in_the_evidence():
    bad, good = troubled(0.2, True, 1), troubled(0.9, False, 2)
    told = finding(compare_records(bad, good, resamples=50), "data_quality:very dark")
    assert (told.verdict, told.paired) == ("mended", True)
    assert finding(compare_records(good, bad, resamples=50), "data_quality:very dark").verdict == "new"
    apart = compare_records(bad, troubled(0.9, False, 2, fingerprint="other"), resamples=50)
    told = finding(apart, "data_quality:very dark")
    assert (told.verdict, told.paired) == ("mended", False)
