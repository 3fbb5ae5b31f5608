"""Classifiers that never give several of their classes: one finding names them, ranked by what they lose together."""

from dataclasses import replace

import numpy as np
import pytest

import snellen
from snellen.auditing.checks.clean import Clean
from snellen.auditing.unanswered_classes import UnansweredClasses
from snellen.checks.per_image import PerImage
from snellen.core.evidence import Evidence
from tests.auditing.readings import findings
from tests.verbs.ill_classifiers import blind_to, classifier_of, garments, overconfident

NAMES = [f"class {number}" for number in range(10)]


def found(labels, predictions):
    ids = [f"{number:05d}" for number in range(len(labels))]
    rows = Evidence.of(
        ids, setting="clean", model="m", label=labels.tolist(), prediction=predictions.tolist(), value=[0.9] * len(ids)
    )
    return findings(Clean(), rows, rows, NAMES)


def answers(never=(), images=400, accuracy=0.9, seed=0):
    """Labels, and decisions that are right with this accuracy and never one of these classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, images)
    others = np.setdiff1d(np.arange(10), never)
    right = (rng.random(images) < accuracy) & ~np.isin(labels, never)
    return labels, np.where(right, labels, rng.choice(others, images))


@pytest.mark.parametrize("never", [(3, 7), (5, 6, 7, 8, 9)])
def test_they_are_named_together_and_first(never):
    labels, predictions = answers(never)
    first, *others = found(labels, predictions)
    assert first.kind == "unanswered_classes"
    assert first.title.startswith(f"The classifier never answers {len(never)} of 10 classes: class {never[0]}, class ")
    dead = np.isin(labels, never)
    assert first.facts["images"] == dead.sum()
    assert first.facts["classes"] == len(never)
    assert [first.facts[f"class_{place}"] for place in range(1, len(never) + 1)] == [NAMES[one] for one in never]
    assert f"class_{len(never) + 1}" not in first.facts
    # Of the gap, not of the raw error: what the other classes lose as well does not count.
    gap = 1.0 - (predictions != labels)[~dead].mean()
    assert 0.75 * gap * dead.mean() < first.harm < gap * dead.mean()
    assert {one.subject for one in others if one.kind == "worst_class"} == {NAMES[one] for one in never}


def test_a_title_names_four_of_many():
    title = found(*answers((2, 3, 4, 5, 6, 7)))[0].title
    assert title.endswith("6 of 10 classes: class 2, class 3, class 4, class 5 and 2 more")


def test_one_class_alone_is_a_finding_of_its_own():
    assert [one.key for one in found(*answers((3,)))] == ["worst_class:class 3"]


def test_two_classes_that_are_rarely_right_are_answered():
    labels, predictions = answers((3, 7))
    for label in (3, 7):
        predictions[np.flatnonzero(labels == label)[0]] = label
    assert {one.kind for one in found(labels, predictions)} == {"worst_class"}


def test_nothing_is_said_of_classes_with_few_images_and_of_one_answer_for_all():
    labels, predictions = answers()
    few = np.isin(labels, (3, 7))
    kept = ~few | np.isin(np.arange(len(labels)), [*np.flatnonzero(labels == 3)[:2], *np.flatnonzero(labels == 7)[:2]])
    predictions[few] = 0
    assert not [one for one in found(labels[kept], predictions[kept]) if one.kind == "unanswered_classes"]
    (only,) = [one for one in found(labels, np.zeros_like(labels)) if one.kind in ("accuracy", "unanswered_classes")]
    assert only.title.startswith("The classifier answers class 0 for every image")


def test_classes_whose_errors_cost_nothing_are_not_reported():
    labels, predictions = answers((3, 7))
    known = PerImage(tuple(map(str, range(len(labels)))), labels, predictions)
    assert UnansweredClasses.of(known).labels == (3, 7)
    costs = np.ones((10, 10)) - np.eye(10)
    assert UnansweredClasses.of(replace(known, costs=costs)).labels == (3, 7)
    costs[[3, 7]] = 0.0
    assert UnansweredClasses.of(replace(known, costs=costs)) is None


def test_poor_classifiers_that_give_every_class_equally_often_are_not_accused():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 10, 60)
        predictions = np.where(rng.random(60) < 0.3, labels, rng.integers(0, 10, 60))
        assert not [one for one in found(labels, predictions) if one.kind == "unanswered_classes"]


def test_it_stands_before_overconfidence_and_says_what_helps():
    ill = classifier_of(blind_to(5, 6, 7, 8, 9, by=100.0))
    report = snellen.audit(ill, garments()["audited"], checks=["clean", "calibration"])
    kinds = [one.kind for one in report.findings]
    assert kinds[0] == "unanswered_classes"
    assert report.findings[0].level == "severe"
    assert "calibration" in kinds[1:], "its confidence is wrong as well, and that is said later"
    assert "compare the class names and the last layer" in report.findings[0].treatments[0]
    sure = snellen.audit(classifier_of(overconfident()), garments()["audited"], checks=["clean", "calibration"])
    assert "unanswered_classes" not in {one.kind for one in sure.findings}
