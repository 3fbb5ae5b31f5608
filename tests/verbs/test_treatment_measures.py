"""A slice is named by its images: on others, the slice that loses most there stands for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

import snellen
from snellen.auditing.checks import resolve_checks
from snellen.auditing.compare.finding_differences import compare_quantities
from snellen.auditing.compare.pairing import pair_runs
from snellen.auditing.compare.run_record import RunRecord
from snellen.core.classifier import Classifier
from snellen.core.finding import Finding
from snellen.core.images import ImageSet
from snellen.verbs import treatment_trials
from snellen.verbs.treatment_measures import borne, harm_of, left_of, level_beside, measured
from snellen.verbs.treatment_proof import ProvingImages, proven
from snellen.verbs.treatment_trials import judged
from tests.verbs.ill_classifiers import SEEN, classifier_of, garments, healthy

CHECKS = ["clean", "slices"]

#: Mean of the pixels from which an image is bright: a quarter of them.
BRIGHT = 0.4


class WrongOfBrightImages(nn.Module):
    """The bundled network, which gives another class where an image is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.network = healthy()

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) → (n, 10)."""
        scores = self.network(images)
        brightest = self.bright(images)[:, None]
        return torch.where(brightest, scores.roll(1, 1), scores)

    def bright(self, images: Tensor) -> Tensor:
        """Which images are bright, bool (n,)."""
        return images.mean((1, 2, 3)) > self.threshold

    @property
    def threshold(self) -> float:
        """In the units of the normalised images."""
        mean, std = classifier_of(self.network).normalization
        return (BRIGHT - mean[0]) / std[0]


def audited(classifier: Classifier, images: ImageSet, folder: Path) -> RunRecord:
    snellen.audit(classifier, images, checks=CHECKS, out=folder)
    return RunRecord.read(folder)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunRecord]:
    """Audits of the ill classifier and of the healthy one, on other images than those that found the slice."""
    place = tmp_path_factory.mktemp("slices")
    ill, well, sets = classifier_of(WrongOfBrightImages()), classifier_of(healthy()), garments()
    return {
        "found": audited(ill, sets["audited"], place / "found"),
        "before": audited(ill, sets["train"], place / "before"),
        "after": audited(well, sets["train"], place / "after"),
    }


def test_validation_images_show_whether_a_slice_of_other_images_is_mended(records):
    slices = [one for one in records["found"].report.findings if one.kind == "slice"]
    assert slices
    assert not {one.key for one in slices} & {one.key for one in records["before"].report.findings}
    quantities, mended = judged(slices, records["before"], records["after"])
    assert all(first > 0.3 and second < 0.25 * first for first, second in quantities.values())
    assert mended == {one.key for one in slices}
    quantities, mended = judged(slices, records["before"], records["before"])
    assert all(first == second for first, second in quantities.values())
    assert not mended


def test_what_validation_images_do_not_show_before_is_not_called_mended(records):
    slices = [one for one in records["found"].report.findings if one.kind == "slice"]
    _, mended = judged(slices, records["after"], records["after"])
    assert not mended


@pytest.mark.parametrize(
    ("kind", "left", "level", "mended"),
    [
        ("worst_class", 0.02, None, True),
        ("worst_class", 0.02, "note", True),
        ("worst_class", 0.02, "mild", False),
        ("worst_class", 0.03, None, False),
        ("corruption", 0.45, None, True),
        ("corruption", 0.55, None, False),
        ("label_noise", 0.2, "moderate", True),
        ("drift", 0.3, None, False),
    ],
)
def test_nothing_more_is_tried_where_no_more_than_a_note_is_left(records, monkeypatch, kind, left, level, mended):
    usual = 0.1 if kind == "corruption" else 0.0
    finding = Finding(kind=kind, subject="a", harm=0.2, usual=usual, title="planted")
    change = SimpleNamespace(first=1.0, second=left)
    monkeypatch.setattr(treatment_trials, "measured", lambda *_args, **_options: {finding.key: change})
    monkeypatch.setattr(treatment_trials, "level_of", lambda _finding, _record: level)
    assert (finding.key in judged([finding], records["before"], records["after"])[1]) is mended


def test_what_wrong_labels_did_is_measured_by_the_error(records):
    finding = Finding(kind="label_noise", harm=0.2, title="Labels look wrong")
    quantities, _ = judged([finding], records["before"], records["after"])
    errors = tuple(1 - records[name].report.metrics["clean.accuracy"].value for name in ("before", "after"))
    assert quantities["label_noise"] == pytest.approx(errors)
    assert errors[1] < errors[0]


def test_a_slice_is_proven_on_the_half_that_did_not_find_it(records, tmp_path):
    finding = next(one for one in records["found"].report.findings if one.kind == "slice")
    images = ProvingImages.of(garments()["audited"], None, [], preparation=SEEN)
    ill, well = classifier_of(WrongOfBrightImages()), classifier_of(healthy())
    given = [finding], {finding.key: "healing"}, images, {}, resolve_checks(CHECKS), tmp_path
    proof = proven(ill, well, *given, seed=0)
    (outcome,) = proof.outcomes
    assert (outcome.outcome, outcome.treatment) == ("mended", "healing")
    assert outcome.high is not None
    assert outcome.high < -0.1


def test_another_slice_stands_for_one_that_was_found_and_is_no_rest_of_one_that_is_treated(records):
    finding = next(one for one in records["found"].report.findings if one.kind == "slice")
    other = finding.model_copy(update={"subject": "of other images"})
    assert harm_of(other, records["found"]) is not None
    assert left_of(other, records["found"]) is None
    assert left_of(finding, records["found"]) == finding


def test_of_what_is_treated_although_it_is_usual_all_harm_counts():
    def fog(harm, usual=0.3):
        return Finding(kind="corruption", subject="fog", harm=harm, usual=usual, title="fog")

    assert level_beside(fog(0.5), fog(0.32)) == "mild", "beyond the usual"
    assert level_beside(fog(0.5), fog(0.1)) == "note"
    assert level_beside(fog(0.25), fog(0.1)) == "moderate", "it was no more than usual before"
    assert level_beside(fog(0.25), fog(0.004)) == "note"
    assert level_beside(fog(0.5), None) is None
    assert (borne(fog(0.5)), borne(fog(0.25))) == (0.3, 0.0)


def test_wrong_labels_do_not_count_as_errors_of_the_classifier(records):
    before, after = records["before"], records["after"]
    finding = Finding(kind="label_noise", harm=0.2, title="Labels look wrong")
    known = before.images
    suspects = [one for one, right in zip(known.ids, known.correct, strict=True) if not right][:30]
    listed = replace(before, lists={**before.lists, "label_noise": [{"id": one} for one in suspects]})
    found = measured(listed, after, [finding], resamples=50)["label_noise"]
    errors = int((~known.correct).sum())
    assert found.first == pytest.approx((errors - 30) / (len(known) - 30))
    assert found.first < measured(before, after, [finding], resamples=50)["label_noise"].first


def test_shifted_images_are_judged_by_the_error_on_them(tmp_path):
    sets, runs = garments(), []
    for name, network in (("before", WrongOfBrightImages()), ("after", healthy())):
        snellen.audit(
            classifier_of(network),
            sets["audited"],
            checks=["clean", "drift"],
            train=sets["train"].select(range(200)),
            out=tmp_path / name,
        )
        runs.append(RunRecord.read(tmp_path / name))
    finding = Finding(kind="drift", subject="features", harm=0.0, title="Images differ from those of the training")
    assert "drift:features" in compare_quantities(pair_runs(*runs), resamples=50), "it would be compared by itself"
    found = measured(*runs, [finding], resamples=50)["drift:features"]
    errors = [1 - one.report.metrics["clean.accuracy"].value for one in runs]
    assert [found.first, found.second] == pytest.approx(errors)
