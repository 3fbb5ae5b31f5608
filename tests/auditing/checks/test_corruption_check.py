"""The corruption check: errors by hand, references of every kind, which class breaks where, what is kept."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from snellen.auditing.audit import audit
from snellen.auditing.checks import resolve_checks
from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.checks.check import Batch
from snellen.checks.per_image import PerImage
from snellen.checks.strengths import (
    class_breaks,
    error_metrics,
    failure_severities,
    half_lost_at,
    outcomes_by_kind,
)
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnknownNameError
from snellen.core.evidence import Evidence
from snellen.core.randomness import Randomness
from snellen.core.run import canonical_json
from snellen.methods.corruptions.benchmarks import benchmark
from snellen.methods.corruptions.corruption import Corruption
from snellen.metrics.corruption_error import Reference, stored_reference
from snellen.metrics.intervals import clopper_pearson
from snellen.testing.conformance import small_problem
from tests.auditing.readings import conclusion, findings

LABELS = [0, 0, 0, 1]
CLEAN = [0, 0, 1, 1]
#: Kind → severity → predictions. Errors of the images, averaged over the severities: brightness ½ 1 1 0, fog 0 0 1 0.
AFTER = {"brightness": {1: [0, 1, 1, 1], 3: [1, 1, 1, 1]}, "fog": {1: [0, 0, 1, 1], 3: [0, 0, 1, 1]}}
REFERENCE = Reference.measured("theirs", 0.1, {"brightness": [0.4, 0.6], "fog": [0.1, 0.1]})
KINDS, SEVERITIES = ("brightness", "fog"), (1, 3)


def rows(setting: str, predictions: list[int] | None, labels: list[int]) -> Evidence:
    ids = [f"{position:05d}" for position in range(len(labels))]
    if predictions is None:
        return Evidence.of(ids, setting=setting, model="m", label=labels, status="failed", reason="not finite")
    return Evidence.of(ids, setting=setting, model="m", label=labels, prediction=predictions, value=[0.9] * len(labels))


def evidence(after: dict, clean: list[int], labels: list[int]) -> tuple[Evidence, Evidence]:
    """Of the corrupted images (severity 0 among them), and of the clean ones."""
    changed = [
        rows(f"{kind}.{severity:g}", predictions, labels)
        for kind, by_severity in after.items()
        for severity, predictions in {0: clean, **by_severity}.items()
    ]
    return Evidence.merge(changed), rows("clean", clean, labels)


def figures(*, balanced: bool = False, reference: Reference | None = None) -> dict:
    return errors_of(evidence(AFTER, CLEAN, LABELS), KINDS, balanced=balanced, reference=reference)


def errors_of(measured, kinds, severities=SEVERITIES, **options) -> dict:
    changed, clean = measured
    images = PerImage.of(clean)
    return error_metrics(images, outcomes_by_kind(changed, images, kinds, severities), **options)


def half_width(values) -> float:
    """Half of Student's 95 % interval of a mean of four values and of two more, of 1 and −1 beside their mean."""
    values = np.asarray(values, dtype=float)
    return 2.570582 * np.std([*(values - values.mean()), 1, -1], ddof=1) / math.sqrt(6)


# -- errors ------------------------------------------------------------------------------------------------------------


def test_errors_by_hand() -> None:
    found = figures()
    assert {name: figure.value for name, figure in found.items()} == {
        "corruption.brightness.error": pytest.approx(0.625),
        "corruption.fog.error": pytest.approx(0.25),
        "corruption.clean_error": pytest.approx(0.25),
        "corruption.error": pytest.approx((0.625 + 0.25) / 2),
    }
    assert {figure.n for figure in found.values()} == {4}
    values = np.array([0.5, 1, 1, 0])
    # The spread is taken without bias, √(4/3) times the deviations, before the two are added.
    half = half_width(values * math.sqrt(4 / 3))
    error = found["corruption.brightness.error"]
    assert (error.low, error.high) == pytest.approx((max(0.625 - half, 0), min(0.625 + half, 1.0)), abs=1e-5)


def test_balanced_errors_weigh_the_classes_alike() -> None:
    found = figures(balanced=True)
    assert found["corruption.brightness.error"].value == pytest.approx((2.5 / 3 + 0) / 2)
    assert found["corruption.fog.error"].value == pytest.approx((1 / 3 + 0) / 2)
    assert found["corruption.clean_error"].value == pytest.approx((1 / 3 + 0) / 2)
    # Class 1 has one image only and takes the variance of the other.
    error = found["corruption.brightness.error"]
    assert (error.low, error.high) == (0.0, 1.0)


def test_errors_in_units_of_a_reference() -> None:
    found = figures(reference=REFERENCE)
    assert found["corruption.mce"].value == pytest.approx((0.625 / 0.5 + 0.25 / 0.1) / 2)
    # The reference loses nothing to fog, so there is nothing to divide by.
    assert found["corruption.relative_mce"].value == pytest.approx((0.625 - 0.25) / (0.5 - 0.1))
    ratios = (np.array([0.5, 1, 1, 0]) / 0.5 + np.array([0, 0, 1, 0]) / 0.1) / 2
    half = half_width(ratios * math.sqrt(4 / 3))
    mce = found["corruption.mce"]
    assert (mce.low, mce.high) == pytest.approx((max(ratios.mean() - half, 0), min(ratios.mean() + half, 6)), abs=1e-5)
    rises = (np.array([0.5, 1, 1, 0]) - np.array([0, 0, 1, 0])) / 0.4
    half = half_width(rises * math.sqrt(4 / 3))
    relative = found["corruption.relative_mce"]
    assert (relative.low, relative.high) == pytest.approx((rises.mean() - half, rises.mean() + half), abs=1e-5)
    balanced = figures(balanced=True, reference=REFERENCE)
    assert balanced["corruption.mce"].value == pytest.approx((2.5 / 3 / 2 / 0.5 + 1 / 3 / 2 / 0.1) / 2)


def test_kinds_that_give_no_ratio_are_left_out() -> None:
    extra = Reference("theirs", 0.1, {"brightness": 0.5, "fog": 0.1}, severities=2, extra=("brightness",))
    found = figures(reference=extra)
    assert found["corruption.mce"].value == pytest.approx(0.25 / 0.1)
    assert "corruption.relative_mce" not in found
    perfect = figures(reference=Reference("perfect", 0.0, {"brightness": 0.0, "fog": 0.0}, severities=2))
    assert not {"corruption.mce", "corruption.relative_mce"} & set(perfect)
    assert "corruption.error" in perfect


def test_an_image_of_each_class_has_an_interval_that_can_be_written() -> None:
    labels = [0, 1]
    changed, clean = evidence({"fog": {1: [0, 0], 3: [1, 1]}}, [0, 1], labels)
    reference = Reference("theirs", 0.1, {"fog": 0.3}, severities=2)
    found = errors_of((changed, clean), ["fog"], balanced=True, reference=reference)
    assert (found["corruption.error"].low, found["corruption.error"].high) == (0.0, 1.0)
    mce, relative = found["corruption.mce"], found["corruption.relative_mce"]
    assert (mce.low, mce.high) == pytest.approx((0, 1 / 0.3))
    assert (relative.low, relative.high) == pytest.approx((-1 / 0.2, 1 / 0.2))
    for figure in found.values():
        assert figure.low <= figure.value <= figure.high
        canonical_json(figure.model_dump())


def test_what_is_not_decided_is_wrong_and_what_is_missing_does_not_count() -> None:
    measured = evidence({"fog": {1: [0, 0, 1, 1], 3: None}}, CLEAN, LABELS)
    found = errors_of(measured, ["fog"], balanced=False, reference=None)
    assert found["corruption.fog.error"].value == pytest.approx((0.25 + 1) / 2)
    assert errors_of(measured, ["fog"], (1, 2), balanced=False, reference=None) == {}


def test_twelve_right_images_do_not_prove_that_all_are() -> None:
    labels = [0] * 12
    found = errors_of(evidence({"fog": {1: labels}}, labels, labels), ["fog"], (1,), balanced=False, reference=None)
    error = found["corruption.clean_error"]
    assert (error.value, error.low) == (0.0, 0.0)
    assert 0.15 < error.high < 0.3


def test_the_check_takes_the_errors_of_its_benchmark() -> None:
    kinds = ("pixelate", "contrast_down")
    after = dict(zip(kinds, AFTER.values(), strict=True))
    changed, clean = evidence(after, CLEAN, LABELS)
    theirs = Reference.measured("theirs", 0.1, {"pixelate": [0.4, 0.6], "contrast_down": [0.1, 0.1]})
    check = CommonCorruptions(benchmark="octmnist", kinds=kinds, severities=SEVERITIES, reference=theirs)
    found = conclusion(check, changed, clean, ["a", "b"]).metrics
    assert found["corruption.pixelate.error"].value == pytest.approx(2.5 / 3 / 2)
    assert found["corruption.mce"].value == figures(balanced=True, reference=REFERENCE)["corruption.mce"].value
    assert found["corruption.pixelate.1.accuracy"].value == pytest.approx(2 / 4), "accuracies count images alike"
    plain = CommonCorruptions(kinds=KINDS, severities=SEVERITIES)
    plain = conclusion(plain, *evidence(AFTER, CLEAN, LABELS), ["a", "b"]).metrics
    assert plain["corruption.brightness.error"].value == pytest.approx(0.625)
    assert "corruption.mce" not in plain


# -- what a finding tells ----------------------------------------------------------------------------------------------


def breaks(after: dict, clean: list[int], labels: list[int], severities: tuple[float, ...], kinds: int = 1) -> dict:
    changed, unchanged = evidence(after, clean, labels)
    images = PerImage.of(unchanged)
    outcomes = outcomes_by_kind(changed, images, ["fog"], severities)["fog"]
    return class_breaks(images, outcomes, severities, ["a", "b", "c"], kinds=kinds)


def test_a_class_breaks_where_more_than_half_is_lost_for_certain() -> None:
    labels = [0] * 20 + [1] * 20 + [2] * 4
    after = {
        "fog": {
            1: [0] * 6 + [1] * 14 + [1] * 19 + [0] + [0] * 4,  # 14 of 20 lost proves nothing, and neither do 4 of 4
            2.5: [0] + [1] * 19 + [1] * 19 + [0] + [0] * 4,
            5: [1] * 20 + [0] * 20 + [0] * 4,
        }
    }
    level = 1 - 0.05 / 9  # three classes at three severities
    assert clopper_pearson(19, 20, level).low > 0.5 > clopper_pearson(14, 20, level).low
    assert clopper_pearson(4, 4, 0.95).low < 0.5
    assert breaks(after, labels, labels, (5, 2.5, 1)) == {"a": 2.5, "b": 5}
    # Images that are wrong when clean are not lost to the corruption.
    half = [0] * 20 + [0] * 19 + [1] + [2] * 4
    assert breaks(after, half, labels, (1, 2.5, 5)) == {"a": 2.5}


def test_classes_that_lose_less_than_half_are_seldom_called_broken() -> None:
    rng, severities, called = np.random.default_rng(0), (1, 2, 3, 4, 5), 0
    labels = np.repeat(np.arange(10), 4)
    images = PerImage(ids=tuple(map(str, range(40))), labels=labels, predictions=labels)
    for _ in range(20):
        for _ in range(15):
            outcomes = (rng.random((5, 40)) >= 0.45).astype(np.int8)
            called += bool(class_breaks(images, outcomes, severities, [str(n) for n in range(10)], kinds=15))
    assert called <= 1


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], None),
        ([None, None], None),
        ([2.0], 2.0),
        ([5.0, 1.0, None], 5.0),
        ([5.0, 1.0, None, None], 5.0),
        ([5.0, None, None], None),
        ([3.0, 1.0, 2.0, 4.0], 2.0),
    ],
)
def test_the_severity_at_which_half_is_lost(points: list[float | None], expected: float | None) -> None:
    assert half_lost_at(np.array([math.inf if point is None else point for point in points])) == expected


def test_the_severity_at_which_an_image_is_first_wrong() -> None:
    labels = np.zeros(4, dtype=int)
    images = PerImage(ids=tuple("abcd"), labels=labels, predictions=np.array([0, 0, 0, 1]))
    outcomes = np.array([[0, 1, 1, 0], [1, 0, 1, 0]], dtype=np.int8)
    assert failure_severities(images, outcomes, (5, 1)).tolist() == [5.0, 1.0, math.inf]


def test_facts_of_a_finding() -> None:
    labels = [0, 1] * 20
    after = {"brightness": {1: [0, 1] * 15 + [0, 0] * 5, 5: [0, 0] * 20}}
    changed, clean = evidence(after, labels, labels)
    check = CommonCorruptions(kinds=("brightness",), severities=(1, 5), examples=2)
    (finding,) = findings(check, changed, clean, ["cat", "dog"])
    facts = finding.facts
    assert (facts["corruption"], facts["clean_accuracy"]) == ("brightness", 1.0)
    assert facts["mean_drop"] == pytest.approx((5 / 40 + 20 / 40) / 2)
    assert (facts["worst_severity"], facts["worst_drop"]) == (5, 0.5)
    assert (facts["share_ever_broken"], facts["half_lost_by_severity"]) == (0.5, 5.0)
    assert facts["classes_broken"] == "dog from 5"
    assert finding.harm > facts["mean_drop_low"] > 0, "one-sided and two-sided bounds at 95 %"
    assert len(finding.examples) == 2
    mild, _ = evidence({"brightness": {1: [0, 1] * 15 + [0, 0] * 5, 5: [0, 1] * 10 + [0, 0] * 10}}, labels, labels)
    (finding,) = findings(check, mild, clean, ["cat", "dog"])
    assert (finding.facts["half_lost_by_severity"], finding.facts["classes_broken"]) == ("never", "none")


# -- references --------------------------------------------------------------------------------------------------------


def test_kinds_without_a_ratio_are_named(problem) -> None:
    classifier, images, _ = problem
    check = CommonCorruptions(
        benchmark="pneumoniamnist", kinds=("contrast_up", "pixelate"), reference="alexnet/pneumoniamnist"
    )
    notes = audit(classifier, images.limit(30), checks=[check]).notes
    assert any("No corruption.relative_mce of contrast_up: alexnet/pneumoniamnist is not worse" in n for n in notes)
    assert not any("No corruption.relative_mce of pixelate" in n for n in notes)


@pytest.mark.covers("37.10")
def test_corruptions_that_were_trained_on_are_named(problem) -> None:
    classifier, images, _ = problem
    trained = Classifier(
        classifier.module, class_names="abcde", preparation=classifier.preparation, name="trained",
        recipe={"method": "targeted_augmentation", "kinds": ["fog", "snow"]},
    )  # fmt: skip
    check = CommonCorruptions(kinds=("fog", "contrast"), severities=(1,))
    told = [note for note in audit(trained, images.limit(20), checks=[check]).notes if "was trained on" in note]
    assert told == [
        "trained was trained on images under fog, as its card says: what is measured there is no robustness to the "
        "unknown."
    ]


def test_a_stored_reference_by_name() -> None:
    check = CommonCorruptions(reference="alexnet/imagenet-c")
    assert check.reference == stored_reference("alexnet/imagenet-c")
    medical = CommonCorruptions(benchmark="bloodmnist", reference="alexnet/bloodmnist")
    assert medical.reference.name == "alexnet/bloodmnist"
    assert CommonCorruptions().reference is None


def test_references_that_cannot_be_used() -> None:
    with pytest.raises(InputError, match=r"unknown reference .*'alexnet/imagenet'; did you mean 'alexnet/imagenet-c'"):
        resolve_checks([{"check": "corruption", "reference": "alexnet/imagenet"}])
    with pytest.raises(InputError, match="'alexnet/octmnist' has no error for gaussian_noise, shot_noise"):
        CommonCorruptions(reference="alexnet/octmnist", benchmark="imagenet-c")
    with pytest.raises(InputError, match=r"was measured at severities \[1.0, .*, this check at \[1.0, 5.0\]"):
        CommonCorruptions(reference="alexnet/imagenet-c", severities=(1, 5))
    with pytest.raises(InputError, match="was measured at benchmark pathmnist, this check at bloodmnist"):
        CommonCorruptions(benchmark="bloodmnist", reference="alexnet/pathmnist")
    with pytest.raises(InputError, match="was measured at benchmark bloodmnist, this check at imagenet-c"):
        CommonCorruptions(kinds=("pixelate", "defocus_blur"), reference="alexnet/bloodmnist", benchmark="imagenet-c")


def test_a_reference_that_was_audited_here(problem, tmp_path: Path) -> None:
    classifier, images, _ = problem
    options = {"kinds": ("brightness", "contrast"), "severities": (1, 2.5)}
    first = audit(classifier, images, out=tmp_path / "first", checks=[CommonCorruptions(**options)])
    check = CommonCorruptions(**options, reference=str(tmp_path / "first"))
    assert (check.reference.name, check.reference.severities) == (classifier.name, 2)
    assert check.reference.source == f"audited on {images.name}"
    assert check.reference.clean_error == pytest.approx(0.1)
    for kind in options["kinds"]:
        assert check.reference.mean_errors[kind] == first.metrics[f"corruption.{kind}.error"].value
    assert set(check.reference.mean_errors) == set(options["kinds"])
    second = audit(classifier, images, out=tmp_path / "second", checks=[check])
    assert second.metrics["corruption.mce"].value == pytest.approx(1.0)
    assert second.metrics["corruption.relative_mce"].value == pytest.approx(1.0)
    assert first.metrics["corruption.error"] == second.metrics["corruption.error"]
    assert any(classifier.name in note and "audited on" in note for note in second.notes), "which was used is named"
    manifest = json.loads((tmp_path / "second" / "manifest.json").read_text())
    (kept,) = [row for row in manifest["checks"] if row["check"] == "corruption"]
    assert kept["reference"]["mean_errors"] == dict(check.reference.mean_errors), "figures, not the folder they were in"
    with pytest.raises(InputError, match="has no error for fog"):
        CommonCorruptions(kinds=("fog",), severities=(1, 2), reference=str(tmp_path / "first"))
    with pytest.raises(InputError, match=r"was measured at severities \[1.0, 2.5\], this check at \[1.0\]"):
        CommonCorruptions(kinds=("contrast",), severities=(1,), reference=str(tmp_path / "first"))
    with pytest.raises(InputError, match="was measured at parity False, this check at True"):
        CommonCorruptions(**options, parity=True, reference=str(tmp_path / "first"))
    other = audit(classifier, images.select(range(100)), checks=[check])
    assert any("was measured on other images" in note for note in other.notes)
    assert not any("was measured on other images" in note for note in second.notes)
    part = CommonCorruptions(**{**options, "kinds": ("contrast",)}, reference=str(tmp_path / "first"))
    notes = audit(classifier, images, checks=[part]).notes
    assert any("leave out brightness" in note and "not the benchmark's mCE" in note for note in notes)


def test_folders_that_hold_no_reference(problem, tmp_path: Path) -> None:
    classifier, images, _ = problem
    audit(classifier, images, out=tmp_path / "clean", checks=["clean"])
    with pytest.raises(InputError, match="measured no corruption; run it with the check corruption"):
        CommonCorruptions(reference=str(tmp_path / "clean"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty is no run directory of a finished audit"):
        CommonCorruptions(reference=str(tmp_path / "empty"))
    for content in ("{", "[]", '{"metrics": {"a": 1}}', '{"metrics": {}, "data": {"name": "x"}}'):
        (tmp_path / "empty" / "report.json").write_text(content)
        with pytest.raises(InputError, match="is no run directory of a finished audit"):
            CommonCorruptions(reference=str(tmp_path / "empty"))


# -- parameters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "check",
    [
        CommonCorruptions(),
        CommonCorruptions(reference="alexnet/imagenet-c", strict=True),
        CommonCorruptions(benchmark="bloodmnist", kinds=("bubble", "pixelate"), severities=(0.5, 2), parity=True),
        CommonCorruptions(kinds=KINDS, severities=SEVERITIES, reference=REFERENCE),
    ],
    ids=["default", "stored", "blood", "measured"],
)
def test_a_record_makes_the_check_again(check: CommonCorruptions) -> None:
    record = json.loads(canonical_json(check.record()))
    again = resolve_checks([record])[1]
    assert again == check
    assert again.record() == check.record()


def test_kinds_of_another_benchmark_are_refused() -> None:
    for parameters, message in (
        ({"benchmark": "imagenet-c", "kinds": ["bubble"]}, "unknown corruption of imagenet-c 'bubble'"),
        ({"kinds": ["bubbles"]}, "unknown corruption of sized 'bubbles'; did you mean 'bubble'"),
        ({"benchmark": "bloodmnist", "kinds": ["pixelate", "fog"]}, "unknown corruption of bloodmnist 'fog'"),
        ({"benchmark": "blood"}, "benchmark"),
        ({"kinds": ["fog", "fog"]}, "each only once"),
    ):
        with pytest.raises(InputError, match=message):
            resolve_checks([{"check": "corruption", **parameters}])
    with pytest.raises(UnknownNameError, match="did you mean 'corruption'"):
        resolve_checks([{"check": "corruptions"}])


def test_all_that_the_benchmark_averages_at_five_severities_by_default() -> None:
    check = CommonCorruptions(benchmark="imagenet-c")
    assert check.chosen == benchmark("imagenet-c").main
    assert len(check.chosen) == 15
    assert check.cost() == 1.25 * 75
    classifier, images, labels = small_problem(count=3, size=12)
    ids = ("a", "b", "c")
    batch = Batch(classifier, ids, (None,) * 3, images, labels, classifier(images), Randomness(0).for_examples(ids))
    measured = check.measure(batch)
    assert set(measured.settings) == {f"{kind}.{severity}" for kind in check.chosen for severity in range(6)}
    assert len(measured) == 3 * 15 * 6
    names = {f"corruption.{kind}.{severity}.accuracy" for kind in check.chosen for severity in range(1, 6)}
    clean = Evidence.of(ids, setting="clean", model=classifier.name, label=labels.tolist(), prediction=labels.tolist())
    assert names <= set(conclusion(check, measured, clean, list("abcde")).metrics)
    assert len(CommonCorruptions(benchmark="dermamnist").chosen) == 15


def test_a_medical_benchmark_on_coloured_images(problem) -> None:
    classifier, images, labels = problem
    kinds = ("bubble", "saturate")
    check = CommonCorruptions(benchmark="bloodmnist", kinds=kinds, severities=(1, 5), reference=None)
    report = audit(classifier, images, checks=[check])
    batch = torch.stack([classifier.prepare(example.image) for example in images])
    rng = Randomness(0).for_examples(images.ids)
    recalls = []
    for severity in (1, 5):
        shift = Corruption(benchmark="bloodmnist", kind="saturate")
        changed = shift.shift(batch, severity, rng=rng.child("saturate"))
        right = classifier(changed).argmax(1) == labels
        assert report.metrics[f"corruption.saturate.{severity}.accuracy"].value == pytest.approx(
            float(right.double().mean())
        )
        recalls.append([float(right[labels == label].double().mean()) for label in range(5)])
    error = report.metrics["corruption.saturate.error"]
    assert error.value == pytest.approx(1 - np.mean(recalls))
    assert error.low <= error.value <= error.high
    assert {name.split(".")[1] for name in report.metrics if name.endswith(".accuracy")} == {"accuracy", *kinds}
    assert any("bloodmnist" in note for note in report.notes)
