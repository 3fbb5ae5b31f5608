"""Discrimination: equal to scikit-learn, threshold from the validation images, predictive values by Bayes' rule."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from snellen.auditing.checks.discrimination import Discrimination
from snellen.checks.check import CheckInput
from snellen.checks.per_image import PerImage
from snellen.core.errors import InputError, UnknownNameError
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
        CheckInput(evidence=empty, images=known, classifier=base.classifier, companions=companions or {})
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
    known, val = images(400, 2, 0), images(400, 2, 5, "t")
    found = conclude(known, ["no", "yes"], {"val": val}, specificity=0.9)
    negatives = np.sort(sure(val)[val.labels == 0, 1])
    threshold = float(found.notes[0].split("threshold, ")[1].split(",")[0])
    assert (negatives < threshold).mean() >= 0.9
    assert found.metrics["discrimination.sensitivity"].value == pytest.approx(
        (sure(known)[known.labels == 1, 1] >= threshold).mean(), abs=0.01
    )
    assert "on the validation images" in found.notes[0]


@pytest.mark.parametrize("chosen", [{"specificity": 0.9}, {"specificity": 0.995}, {"sensitivity": 0.97}])
def test_the_threshold_in_the_note_decides_alike_where_scores_are_equal_to_it(chosen):
    """Scores of few values, as trees and votes give them: the threshold is one of them."""
    known, val = (replace(one, scores=np.round(one.scores)) for one in (images(400, 2, 0), images(400, 2, 5, "t")))
    found = conclude(known, ["no", "yes"], {"val": val}, **chosen)
    threshold = float(found.notes[0].split("threshold, ")[1].split(",")[0])
    assert (sure(known)[:, 1] == threshold).any()
    assert conclude(known, ["no", "yes"], threshold=threshold).metrics == found.metrics
    assert f" of {100 * next(iter(chosen.values())):g}% on the validation images" in found.notes[0]


def test_no_share_is_rounded_to_nothing_or_all_in_words():
    known = images(400, 2, 0)
    note = conclude(known, ["no", "yes"], threshold=0.99999, prevalence=0.0001).notes[0]
    assert "threshold, 0.99999, is stated" in note
    assert "at a prevalence of 0.01%." in note


def test_no_threshold_is_chosen_on_the_audited_images():
    """Without validation images the decisions are the model's own, and so they are for any wanted specificity."""
    known = images(400, 2, 0)
    found = conclude(known, ["no", "yes"])
    assert "the model's own, since there are no validation images" in found.notes[0]
    expected = recall_score(known.labels, known.predictions), recall_score(1 - known.labels, 1 - known.predictions)
    figures = [found.metrics[f"discrimination.{name}"].value for name in ("sensitivity", "specificity")]
    assert figures == pytest.approx(expected, abs=1e-12)
    one_class = images(100, 2, 5, "t")
    one_class = one_class.select(one_class.labels == 0)
    assert "the validation images are of one class" in conclude(known, ["no", "yes"], {"val": one_class}).notes[0]


def test_a_threshold_can_be_stated_or_chosen_for_a_sensitivity():
    known, val = images(400, 2, 0), images(500, 2, 5, "t")
    stated = conclude(known, ["no", "yes"], threshold=0.3)
    called = sure(known)[:, 1] >= 0.3
    assert stated.metrics["discrimination.sensitivity"].value == pytest.approx(recall_score(known.labels, called))
    assert stated.metrics["discrimination.positive_predictive_value"].value == pytest.approx(
        precision_score(known.labels, called)
    )
    assert stated.metrics["discrimination.negative_predictive_value"].value == pytest.approx(
        precision_score(1 - known.labels, ~called)
    )
    assert "0.3, is stated" in stated.notes[0]
    found = conclude(known, ["no", "yes"], {"val": val}, sensitivity=0.97)
    threshold = float(found.notes[0].split("threshold, ")[1].split(",")[0])
    assert (sure(val)[val.labels == 1, 1] >= threshold).mean() == pytest.approx(0.97, abs=0.01)
    assert "sensitivity of 97% on the validation images" in found.notes[0]


@pytest.mark.parametrize(
    ("parameters", "names", "message"),
    [
        ({"sensitivity": 0.9}, "ab", "none is chosen on the audited images: give --val DATA"),
        ({"specificity": 0.8}, "ab", "none is chosen on the audited images: give --val DATA"),
        ({"threshold": 0.3, "sensitivity": 0.9}, "ab", "a sensitivity and a threshold are given.*give one of them"),
        ({"threshold": 0.3, "specificity": 0.9}, "ab", "a specificity and a threshold are given.*give one of them"),
        ({"sensitivity": 0.9, "specificity": 0.9}, "ab", "a sensitivity and a specificity are given"),
        ({"prevalence": 0.1}, "abc", "has 3 classes: name it, --set discrimination.positive=c"),
    ],
)
def test_what_would_do_nothing_is_refused_before_the_run(parameters, names, message):
    base = reading(Evidence.merge([]), Evidence.of(["x"], setting="clean", model="m", prediction=[0]), list(names))
    given = load_images((np.zeros((2, 8, 8, 3), dtype=np.uint8), np.array([0, 1])))
    with pytest.raises(InputError, match=message):
        Discrimination(**parameters).missing(base.classifier, given, frozenset())


def test_one_class_of_many_beside_all_others():
    known = images(400, 3, 0)
    found = conclude(known, ["a", "b", "c"], positive="b", threshold=0.4).metrics
    positive, called = known.labels == 1, sure(known)[:, 1] >= 0.4
    assert found["discrimination.sensitivity"].value == pytest.approx(recall_score(positive, called))
    assert found["discrimination.positive_predictive_value"].value == pytest.approx(precision_score(positive, called))


def test_the_net_benefit_is_that_of_the_counts_and_the_decision_curve_meets_its_ends():
    known = images(500, 2, 0)
    found = conclude(known, ["no", "yes"], threshold=0.25, threshold_probability=0.25)
    positive, called = known.labels == 1, sure(known)[:, 1] >= 0.25
    expected = (positive & called).mean() - (~positive & called).mean() / 3
    figure = found.metrics["discrimination.net_benefit"]
    assert figure.value == pytest.approx(expected)
    assert figure.low < expected < figure.high
    curve = next(panel for panel in found.panels if panel.title == "Decision curve")
    model, every, none = curve.lines
    near = min(model.points, key=lambda point: abs(point.x - 0.25))
    assert near.y == pytest.approx(expected, abs=0.02)
    assert {point.y for point in none.points} == {0.0}
    assert every.points[0].y == pytest.approx(positive.mean() - (~positive).mean() * 0.02 / 0.98)
    assert all(point.low <= point.y <= point.high for point in model.points)
    assert "discrimination.net_benefit" not in conclude(known, ["no", "yes"]).metrics


def test_costs_give_the_threshold_probability():
    known = replace(images(500, 2, 0), costs=np.array([[0, 0.1], [1, 0]]))
    found = conclude(known, ["no", "yes"])
    assert "threshold probability of 0.0909: a missed positive is as bad as 10 false alarms" in found.notes[0]


@pytest.mark.parametrize(("units", "size"), [(250, 1), (100, 4)])
def test_intervals_at_a_threshold_of_other_images_cover(units, size):
    """Sensitivity, specificity, and predictive values at another prevalence, of units that are alike."""
    names, covered = ("sensitivity", "specificity", "positive_predictive_value", "negative_predictive_value"), []
    truth = (0.8, 0.9, 0.1 * 0.8 / (0.1 * 0.8 + 0.9 * 0.1), 0.9 * 0.9 / (0.9 * 0.9 + 0.1 * 0.2))
    for seed in range(120):
        rng = np.random.default_rng(seed)
        codes = np.repeat(np.arange(units), size)
        labels = (rng.random(units) < 0.4).astype(int)[codes]
        share = np.where(labels == 1, 0.8, 0.9)
        if size > 1:
            each = rng.beta(0.8 * 3, 0.2 * 3, units)[codes], rng.beta(0.9 * 3, 0.1 * 3, units)[codes]
            share = np.where(labels == 1, *each)
        called = np.where(rng.random(len(codes)) < share, labels, 1 - labels)
        known = PerImage(
            ids=tuple(map(str, range(len(codes)))), labels=labels, predictions=called,
            scores=np.eye(2)[called] * 2.0, unit_ids=tuple(map(str, codes)), units=None if size == 1 else codes,
        )  # fmt: skip
        found = conclude(known, ["no", "yes"], threshold=0.5, prevalence=0.1).metrics
        figures = [found[f"discrimination.{name}"] for name in names]
        covered.append([one.low <= true <= one.high for one, true in zip(figures, truth, strict=True)])
    shares = np.mean(covered, axis=0)
    assert (shares >= 0.9).all(), shares
    assert (shares < 1).all(), shares


def test_scores_that_no_threshold_parts_are_said_so_in_words():
    known, val = images(60, 2, 0), images(60, 2, 5, "t")
    flat = replace(val, scores=np.zeros((60, 2)))
    note = conclude(known, ["no", "yes"], {"val": flat}).notes[0]
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


def test_images_of_units_count_as_fewer_decisions_in_predictive_values_at_a_stated_prevalence():
    """Every image eight times says no more than once."""
    base = images(120, 2, 0)
    eightfold = base.select(np.repeat(np.arange(120), 8))
    eightfold = replace(eightfold, units=np.repeat(np.arange(120), 8))
    once, often = (conclude(one, ["no", "yes"], prevalence=0.1).metrics for one in (base, eightfold))
    for name in ("positive_predictive_value", "negative_predictive_value"):
        one, other = once[f"discrimination.{name}"], often[f"discrimination.{name}"]
        assert one.value == pytest.approx(other.value)
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.01)


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


def test_many_classes_have_an_area_alone_unless_one_is_named():
    found = conclude(images(100, 3, 0), ["a", "b", "c"])
    assert set(found.metrics) == {"discrimination.auroc"}
    assert not found.notes


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
