"""Counted findings need no test; suspect labels, drift and images in trouble are told as far as facts allow."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from snellen.auditing.compare.compare import compare_records
from snellen.auditing.compare.data_differences import compare_columns
from snellen.auditing.compare.pairing import pair_runs
from snellen.auditing.report import CheckStatus
from snellen.checks.check import CheckFigure
from snellen.checks.per_image import PROPERTY, array_column, property_columns
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
        figure = CheckFigure(value=share, low=low, high=high, n=200)
        metrics = {**run.report.metrics, "label_noise.share": figure}
        return replace(run, report=run.report.model_copy(update={"metrics": metrics}))

    runs = with_share(0.1, 0.07, high, [noise], "raw"), with_share(0.01, 0.0, 0.02, [], "cleaned")
    found = finding(compare_records(*runs, resamples=50), "label_noise")
    assert found.verdict == verdict
    assert words in found.reason


def drifted(area, half=0.02, **more):
    told = Finding(kind="drift", subject="features", harm=0.005, title="drift")
    run = run_of(*outcomes(200), findings=[told] if area > 0.6 else [], **more)
    figure = CheckFigure(value=area, low=area - half, high=area + half, n=200)
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


@pytest.mark.parametrize(
    ("kind", "words"), [("slice", "where both runs list slices"), ("drift", "are not in their evidence")]
)
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


def drifting(shift, told, *, preparation=0.0, dogs=0.5, train="train", **more):
    """A run whose 150 training images are darker than the audited ones by a shift, and of which a share are dogs."""
    rng = np.random.default_rng(0)
    pixels = rng.random((400, 3, 8, 8), dtype=np.float32) * 0.5 + 0.3 + preparation
    pixels[:150] -= shift
    found = property_columns(image_properties(torch.from_numpy(pixels)))
    labels = (np.arange(150) < dogs * 150).astype(int)
    findings = [Finding(kind="drift", subject=subject, harm=0.0, title="drift") for subject in told]
    audited, training = (
        run_of(np.ones(len(of), dtype=bool), np.full(len(of), 0.9), {}, labels=of, extra=columns, **given)
        for of, columns, given in (
            (
                np.arange(250) % 2,
                {name: column[150:] for name, column in found.items()},
                {"findings": findings, "companions": {"train": {"fingerprint": train}}, **more},
            ),
            (labels, {name: column[:150] for name, column in found.items()}, {}),
        )
    )
    return replace(audited, trained_on=training.evidence["clean"])


def test_drift_of_properties_and_labels_is_the_distance_of_their_distributions():
    told = ["brightness", "labels"]
    before = drifting(0.25, told, dogs=0.95, train="dark")
    mended = compare_records(before, drifting(0.0, [], train="light"), resamples=50)
    for subject, fall in (("brightness", -0.9), ("labels", -0.44)):
        one = finding(mended, f"drift:{subject}")
        assert (one.verdict, one.paired) == ("mended", False)
        assert one.difference == pytest.approx(fall, abs=0.1)
        assert one.reason == "not paired: training or audited images differ"
    back = compare_records(drifting(0.0, [], train="light"), before, resamples=50)
    assert {finding(back, f"drift:{subject}").verdict for subject in told} == {"new"}
    same = finding(compare_records(before, before, resamples=50), "drift:brightness")
    assert (same.verdict, same.paired, same.difference) == ("same", True, 0.0)
    # Other pixels of the same images: a model that prepares them otherwise, training and audited ones alike.
    other = compare_records(before, drifting(0.24, told, dogs=0.95, train="dark", preparation=0.02), resamples=50)
    assert finding(other, "drift:brightness").paired
    assert finding(other, "drift:labels").verdict == "same"


def test_values_that_differ_by_rounding_alone_are_no_drift():
    def run(noise):
        made = []
        for count, shift in ((250, noise), (150, 0.0)):
            columns = property_columns(image_properties(torch.full((count, 3, 8, 8), 0.5)))
            columns[f"{PROPERTY}brightness"] = array_column(np.full(count, 0.5) + shift)
            made.append(run_of(np.ones(count, dtype=bool), np.full(count, 0.9), {}, extra=columns))
        return replace(made[0], trained_on=made[1].evidence["clean"])

    columns = compare_columns(pair_runs(run(0.0), run(1e-12)), resamples=20)
    assert (columns["drift:brightness"].first, columns["drift:brightness"].second) == (0.0, 0.0)


def test_images_unlike_all_others_are_those_of_either_model():
    def run(right_if_far, told, seed, far):
        features = np.random.default_rng(seed).normal(size=(600, 4)).astype(np.float32)
        features[far] += (
            40 * np.eye(4, dtype=np.float32)[np.arange(far.sum()) % 4] * (1 + np.arange(far.sum()))[:, None]
        )
        right = np.random.default_rng(seed).random(600) < np.where(np.arange(600) % 20 == 0, right_if_far, 0.9)
        findings = [Finding(kind="data_quality", subject="unlike all others", harm=0.02, title="far")] * told
        return run_of(right, np.full(600, 0.8), {}, extra={"features": array_column(features)}, findings=findings)

    far = np.arange(600) % 20 == 0
    found = compare_records(run(0.1, True, 1, far), run(0.9, False, 2, np.zeros(600, dtype=bool)), resamples=50)
    one = finding(found, "data_quality:unlike all others")
    assert (one.verdict, one.paired) == ("mended", True), "the second model sees nothing unusual in these images"
    assert one.difference == pytest.approx(-0.8, abs=0.2)
    back = compare_records(run(0.9, False, 2, np.zeros(600, dtype=bool)), run(0.1, True, 1, far), resamples=50)
    assert finding(back, "data_quality:unlike all others").verdict == "new"


@pytest.mark.parametrize(("high", "verdict"), [(0.13, "mended"), (1.0, "unclear")])
def test_where_a_table_corrects_labels_the_shares_before_and_after_are_said(high, verdict):
    noise = Finding(kind="label_noise", harm=0.1, title="labels")
    labels = np.arange(200) % 4

    def run(share, high, told, labels, fingerprint):
        made = run_of(*outcomes(200), findings=told, labels=labels, fingerprint=fingerprint, contents={"audit": "one"})
        figure = CheckFigure(value=share, low=share / 2, high=high, n=200)
        return replace(made, report=made.report.model_copy(update={"metrics": {"label_noise.share": figure}}))

    corrected = np.where(np.arange(200) < 20, (labels + 1) % 4, labels)
    found = compare_records(run(0.1, high, [noise], labels, "raw"), run(0.004, 0.01, [], corrected, "corrected"))
    assert (found.paired, found.shared) == (True, 180)
    one = finding(found, "label_noise")
    assert one.verdict == verdict
    assert "20 labels differ: shares of wrong labels 10.0% and 0.4%" in one.reason
    # Without that hash, which earlier versions did not keep, they are other data as ever.
    runs = run(0.1, 0.13, [noise], labels, "raw"), run(0.004, 0.01, [], corrected, "corrected")
    plain = [replace(one, plan={**one.plan, "contents": {}}) for one in runs]
    assert not compare_records(*plain).paired
