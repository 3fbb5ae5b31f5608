"""Discrimination: equal to scikit-learn, threshold from the tuning images, predictive values by Bayes' rule."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from snellen.auditing.checks.discrimination import Discrimination
from snellen.checks.check import Reading
from snellen.checks.per_image import PerImage
from snellen.core.errors import UnknownNameError
from snellen.core.evidence import Evidence
from snellen.data.references import load_images
from snellen.metrics.auroc import macro_auroc
from tests.auditing.readings import reading


def images(n, classes, seed, name="i", units=None):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    scores = rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    return PerImage(
        ids=tuple(f"{name}{row}" for row in range(n)), labels=labels, predictions=scores.argmax(1), scores=scores,
        unit_ids=tuple(f"{name}{row}" for row in range(n)) if units is None else tuple(map(str, units)), units=units,
        confidence=np.full(n, 0.5),
    )  # fmt: skip


def conclude(known, names, companions=None, **parameters):
    empty = Evidence.merge([])
    base = reading(empty, Evidence.of(["x"], setting="clean", model="m", prediction=[0]), names)
    return Discrimination(**parameters).conclude(
        Reading(evidence=empty, images=known, classifier=base.classifier, companions=companions or {})
    )


def sure(known):
    shifted = np.exp(known.scores - known.scores.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def test_the_area_is_that_of_the_independent_library():
    two, five = images(300, 2, 0), images(300, 5, 1)
    area = conclude(two, ["no", "yes"]).metrics["discrimination.auroc"]
    assert area.value == pytest.approx(roc_auc_score(two.labels, sure(two)[:, 1]), abs=1e-12)
    assert area.low < area.value < area.high
    found = conclude(five, list("abcde"))
    assert found.metrics["discrimination.auroc"].value == pytest.approx(
        roc_auc_score(five.labels, sure(five), multi_class="ovr", average="macro"), abs=1e-12
    )
    assert found.metrics["discrimination.auroc"].value == pytest.approx(macro_auroc(five.labels, sure(five)).value)
    assert set(found.metrics) == {"discrimination.auroc"}
    assert not found.panels


def test_the_threshold_comes_from_the_tuning_images():
    known, tune = images(400, 2, 0), images(400, 2, 5, "t")
    found = conclude(known, ["no", "yes"], {"tune": tune}, specificity=0.9)
    negatives = np.sort(sure(tune)[tune.labels == 0, 1])
    threshold = float(found.notes[0].split("threshold, ")[1].split(",")[0])
    assert (negatives < threshold).mean() >= 0.9
    assert found.metrics["discrimination.sensitivity"].value == pytest.approx(
        (sure(known)[known.labels == 1, 1] >= threshold).mean(), abs=0.01
    )
    assert "on the tuning images" in found.notes[0]
    assert "a little too good" in conclude(known, ["no", "yes"]).notes[0]


def test_scores_that_no_threshold_parts_are_said_so_in_words():
    known = images(60, 2, 0)
    flat = replace(known, scores=np.zeros((60, 2)))
    note = conclude(flat, ["no", "yes"]).notes[0]
    assert "No score reaches a specificity of 95%" in note
    assert "nothing is called positive" in note
    assert "inf" not in note


def test_predictive_values_at_a_stated_prevalence():
    known = images(600, 2, 0)
    found = conclude(known, ["no", "yes"], prevalence=0.01).metrics
    sensitivity, specificity = (found[f"discrimination.{name}"].value for name in ("sensitivity", "specificity"))
    expected = 0.01 * sensitivity / (0.01 * sensitivity + 0.99 * (1 - specificity))
    value = found["discrimination.positive_predictive_value"]
    assert value.value == pytest.approx(expected)
    assert value.low < value.value < value.high
    own = conclude(known, ["no", "yes"]).metrics["discrimination.positive_predictive_value"]
    assert own.value > value.value


def test_the_positive_class_can_be_chosen():
    known = images(200, 2, 0)
    first, last = (conclude(known, ["no", "yes"], positive=name) for name in ("no", "yes"))
    assert first.metrics["discrimination.auroc"] == last.metrics["discrimination.auroc"]
    assert first.notes[0].startswith("The positive class is no")
    assert first.metrics["discrimination.sensitivity"] != last.metrics["discrimination.sensitivity"]


def test_a_misspelled_class_is_refused_before_the_run():
    base = reading(Evidence.merge([]), Evidence.of(["x"], setting="clean", model="m", prediction=[0]), ["no", "yes"])
    pixels, labels = np.zeros((2, 8, 8, 3), dtype=np.uint8), np.array([0, 1])
    given = load_images((pixels, labels))
    assert Discrimination(positive="yes").missing(base.classifier, given, frozenset()) is None
    with pytest.raises(UnknownNameError, match="unknown class 'yess'; did you mean 'yes'"):
        Discrimination(positive="yess").missing(base.classifier, given, frozenset())


def test_what_many_classes_do_not_use_is_told():
    found = conclude(images(100, 3, 0), ["a", "b", "c"], positive="a", prevalence=0.1)
    assert found.notes == ["positive and prevalence not used: there are 3 classes, not two."]
    assert not conclude(images(100, 3, 0), ["a", "b", "c"]).notes


def test_units_widen_the_interval_and_one_unit_gives_none():
    rows = np.arange(400) // 8
    known, base = images(400, 2, 0, units=rows), images(50, 2, 3)
    repeated = PerImage(
        ids=known.ids, labels=base.labels[rows], predictions=base.predictions[rows], scores=base.scores[rows],
        unit_ids=known.unit_ids, units=rows, confidence=known.confidence,
    )  # fmt: skip
    by_unit = conclude(repeated, ["no", "yes"]).metrics["discrimination.auroc"]
    alone = conclude(base, ["no", "yes"]).metrics["discrimination.auroc"]
    assert by_unit.high - by_unit.low == pytest.approx(alone.high - alone.low, abs=0.04)
    one = conclude(images(160, 2, 0, units=np.zeros(160, dtype=int)), ["no", "yes"]).metrics["discrimination.auroc"]
    assert (one.low, one.high) == (0.0, 1.0)


def test_one_class_has_no_area():
    known = images(50, 2, 0)
    assert not conclude(known.select(known.labels == 1), ["no", "yes"]).metrics
