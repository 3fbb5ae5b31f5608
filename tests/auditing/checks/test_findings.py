"""What the checks call a finding: harm by hand, and how often healthy models are accused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from snellen.auditing.audit import audit
from snellen.auditing.checks.adversarial import Adversarial
from snellen.auditing.checks.calibration import Calibration, calibration_error, calibration_test
from snellen.auditing.checks.clean import Clean
from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.auditing.threat import Threat
from snellen.checks.check import Batch, CheckInput
from snellen.checks.hypothesis import confirmed
from snellen.checks.per_image import SCORES, PerImage, array_column
from snellen.core.errors import InputError, ModelError
from snellen.core.evidence import Evidence
from snellen.core.randomness import Randomness
from snellen.data.references import load_images
from snellen.methods.attacks.fgsm import FGSM
from snellen.metrics.calibration import ProbabilityScores
from snellen.metrics.intervals import mean_interval, newcombe_difference, wilson
from snellen.models.classifiers.references import load_classifier
from snellen.testing.conformance import small_problem
from tests.auditing.readings import by_kind, conclusion, findings


def clean_rows(labels, predictions, confidence=None):
    ids = [f"{i:05d}" for i in range(len(labels))]
    return Evidence.of(
        ids, setting="clean", model="m", label=labels, prediction=predictions, value=confidence or [0.9] * len(labels)
    )


def corrupted_rows(labels, before, after):
    """Brightness at severity 1: predictions before and after."""
    ids = [f"{i:05d}" for i in range(len(labels))]
    return Evidence.merge(
        Evidence.of(ids, setting=f"brightness.{s}", model="m", label=labels, prediction=p, value=[0.9] * len(labels))
        for s, p in ((0, before), (1, after))
    )


ONE_KIND = CommonCorruptions(kinds=("brightness",), severities=(1,))


def test_worst_class_is_the_one_that_loses_most_images():
    # One image of class a, wrong; half of class b, wrong; class c is fine.
    labels = [0] + [1] * 500 + [2] * 500
    predictions = [2] + [1] * 250 + [2] * 250 + [2] * 500
    rows = clean_rows(labels, predictions)
    finding = by_kind(Clean(), rows, rows, ["a", "b", "c"])["worst_class"]
    # One of four hypotheses is refused (guessing is one): its one-sided bound holds with 1 − 0.05 / 4.
    low, _ = newcombe_difference(250, 500, 1, 501, 1 - 2 * 0.05 / 4)
    assert finding.facts["class"] == "b"
    assert finding.harm == pytest.approx(low * 500 / 1001)
    assert 0.2 < finding.harm < 0.25
    assert finding.facts["mostly_taken_for"] == "c"
    assert finding.facts["times"] == 250


@pytest.mark.parametrize(("images", "classes"), [(100, 100), (1000, 100), (20, 10), (300, 3)])
def test_healthy_models_are_seldom_accused_of_a_worst_class(images, classes):
    rng = np.random.default_rng(0)
    accused = 0
    for _ in range(100):
        labels = rng.integers(0, classes, images)
        predictions = np.where(rng.random(images) < 0.9, labels, (labels + 1) % classes)
        rows = clean_rows(labels.tolist(), predictions.tolist())
        accused += "worst_class" in by_kind(Clean(), rows, rows, [str(c) for c in range(classes)])
    assert accused <= 9, "5 % of 100 are 5, with a standard error of 2.2"


def test_harm_of_a_corruption_is_the_lower_bound_of_the_mean_drop():
    labels = [0, 1] * 100
    before, after = [0, 1] * 100, [0, 1] * 70 + [1, 0] * 30
    rows, clean = corrupted_rows(labels, before, after), clean_rows(labels, before)
    finding = by_kind(ONE_KIND, rows, clean, ["a", "b"])["corruption"]
    drops = [0.0] * 140 + [1.0] * 60 + [1.0, -1.0]
    assert finding.facts["mean_drop"] == pytest.approx(0.3)
    assert finding.harm == pytest.approx(mean_interval(drops, 0.9).low), "one-sided at 95 %"
    assert finding.facts["mean_drop_low"] == pytest.approx(mean_interval(drops, 0.95).low)
    assert 0.2 < finding.harm < 0.3


def test_two_images_prove_nothing():
    rows, clean = corrupted_rows([0, 1], [0, 1], [1, 0]), clean_rows([0, 1], [0, 1])
    assert not findings(ONE_KIND, rows, clean, ["a", "b"])


@pytest.mark.parametrize("images", [2, 5, 30, 300])
def test_corruptions_without_effect_are_seldom_findings(images):
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(200):
        labels = np.zeros(images, dtype=int)
        before, after = ((rng.random(images) < 0.3).astype(int) for _ in range(2))
        rows = corrupted_rows(labels.tolist(), before.tolist(), after.tolist())
        found += bool(findings(ONE_KIND, rows, clean_rows(labels.tolist(), before.tolist()), ["a", "b"]))
    assert found <= 16, "5 % of 200 are 10, with a standard error of 3.1"


def test_a_classifier_that_guesses_is_reported_as_such():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 1000).tolist()
    guesses = rng.integers(0, 10, 1000).tolist()
    rows = clean_rows(labels, guesses, [0.1] * 1000)
    finding = by_kind(Clean(), rows, rows, [str(c) for c in range(10)])["accuracy"]
    wrong = sum(a != b for a, b in zip(labels, guesses, strict=True))
    assert wilson(wrong, 1000).low - 0.02 < finding.harm < wrong / 1000
    assert finding.level == "severe"
    assert "hardly above guessing (10.0%)" in finding.title
    always = clean_rows([0] * 950 + [1] * 50, [0] * 1000)
    told = by_kind(Clean(), always, always, ["a", "b"])["accuracy"]
    assert told.facts["balanced_accuracy"] == pytest.approx(0.5)
    assert told.facts["mostly_answered"] == "a"
    blind = clean_rows([1] * 100, [0] * 100)
    assert by_kind(Clean(), blind, blind, ["a", "b"])["accuracy"].harm > 0.9, "one class in the data, and always wrong"
    good = clean_rows(labels, labels)
    assert "accuracy" not in by_kind(Clean(), good, good, [str(c) for c in range(10)])


def scored_rows(labels, confidence):
    """Two classes, of which the model always prefers the first, with this confidence."""
    confidence = np.minimum(confidence, 1 - 1e-9)
    scores = np.stack([np.log(confidence), np.log1p(-confidence)], 1).astype(np.float32)
    return Evidence.of(
        [f"{i:05d}" for i in range(len(labels))], setting="clean", model="m", label=labels,
        prediction=[0] * len(labels), value=confidence.tolist(), extra={SCORES: array_column(scores)},
    )  # fmt: skip


def simulated(n, temperature, seed):
    """Confidences and outcomes of a model whose true calibration error is known when the temperature is 1: zero."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, 5, generator=generator) * 1.5
    truth = logits.softmax(1).amax(1)
    correct = (torch.rand(n, generator=generator) < truth).double()
    return (logits / temperature).softmax(1).amax(1).double().numpy(), correct.numpy() > 0, truth.numpy()


def test_the_interval_of_the_calibration_error_covers():
    missed_calibrated, missed_off = 0, 0
    for seed in range(100):
        confidence, correct, _ = simulated(500, 1.0, seed)
        missed_calibrated += calibration_error(confidence, correct, bins=15, resamples=60).p_value <= 0.025
        confidence, correct, truth = simulated(500, 0.6, seed)
        error = calibration_error(confidence, correct, bins=15, resamples=60)
        edges = np.minimum((confidence * 15).astype(int), 14)
        true = sum(abs((confidence - truth)[edges == b].sum()) for b in range(15)) / 500
        missed_off += not error.lower(0.975) <= true <= error.high
    assert missed_calibrated <= 7
    assert missed_off <= 10


@pytest.mark.parametrize(("temperature", "found"), [(1.0, False), (0.25, True), (4.0, True)])
def test_calibration_is_a_finding_only_beyond_what_a_calibrated_model_shows(temperature, found):
    confidence, correct, _ = simulated(400, temperature, 0)
    rows = scored_rows([int(not right) for right in correct], confidence)
    assert ("calibration" in by_kind(Calibration(), rows, rows, ["a", "b"])) == found
    few = scored_rows([0, 1], np.array([0.6, 0.9]))
    ece = conclusion(Calibration(), few, few, ["a", "b"]).metrics["calibration.ece"]
    assert (ece.low, ece.high) == (0.0, 1.0), "two images bound nothing"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: CommonCorruptions(severities=(0,)),
        lambda: CommonCorruptions(severities=(7,)),
        lambda: CommonCorruptions(severities=(1, 1)),
        lambda: CommonCorruptions(kinds=("contrast", "contrast")),
        lambda: Adversarial(threats=(Threat(norm="linf", size=8), Threat(norm="linf", size=8.0))),
        lambda: Threat(norm="linf", size=0),
    ],
)
def test_parameters_that_would_count_twice_or_not_at_all(wrong):
    with pytest.raises((InputError, ValidationError)):
        wrong()


def test_zero_gradients_are_reported_instead_of_read_as_robustness():
    classifier, images, labels = small_problem(count=40, size=12)
    module = classifier.module
    saturated = load_classifier(
        nn.Sequential(module, Times(1e4), nn.Softmax(1)), list("abcde"), preparation=classifier.preparation, name="sat"
    )
    pixels = (images * 255).round().byte()
    labels = classifier(pixels / 255).argmax(1)
    images = load_images((pixels.permute(0, 2, 3, 1).numpy(), labels.numpy()))
    check = Adversarial(threats=(Threat(norm="linf", size=2),), steps=3)
    masked, open_ = (audit(model, images, checks=[check]) for model in (saturated, classifier))
    told = {finding.kind: finding for finding in masked.findings}["gradient_masking"]
    assert told.facts["zero_gradient_share"] > 0.5
    assert "says nothing about these images" in told.title
    assert open_.metrics["adversarial.linf.2.accuracy"].value < masked.metrics["adversarial.linf.2.accuracy"].value
    assert "gradient_masking" not in {finding.kind for finding in open_.findings}


class Times(nn.Module):
    """Scores made so large that softmax rounds to exactly one."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, scores):
        return scores * self.factor


def adversarial_rows(fgsm_status, pgd_status):
    """Ten images that are right; FGSM breaks none, and PGD meets what the arguments say."""
    ids = [f"{i:05d}" for i in range(10)]

    def rows(setting, status):
        return Evidence.of(
            ids, setting=setting, model="m", label=[0] * 10, status=status,
            prediction=[0 if s == "ok" else None for s in status], value=[0.0] * 10, reason="not found",
        )  # fmt: skip

    return Evidence.merge(
        [rows("linf.8.fgsm", fgsm_status), rows("linf.8.pgd", pgd_status), rows("linf.8", pgd_status)]
    )


def test_images_that_pgd_could_not_judge_count_in_neither_accuracy():
    check = Adversarial(threats=(Threat(norm="linf", size=8),))
    clean = clean_rows([0] * 10, [0] * 10)
    figures = conclusion(check, adversarial_rows(["ok"] * 10, ["failed"] * 6 + ["ok"] * 4), clean, ["a", "b"]).metrics
    assert {name: (m.value, m.n) for name, m in figures.items()} == {
        "adversarial.linf.8.accuracy": (1.0, 4),
        "adversarial.linf.8.fgsm.accuracy": (1.0, 4),
    }


def test_an_image_that_pgd_breaks_counts_although_fgsm_met_nan(monkeypatch):
    classifier, images, labels = small_problem(count=12, size=12)
    batch = Batch(
        classifier, tuple(map(str, range(12))), (None,) * 12, images, labels, classifier(images), Randomness(0).bind(12)
    )
    check = Adversarial(threats=(Threat(norm="linf", size=8),), steps=10)
    attacks = check.attacks(check.threats[0])

    class Blind(FGSM):
        def attack(self, classifier, images, labels, *, criterion=None, rng=None):
            raise ModelError("not finite anywhere")

    monkeypatch.setattr(Adversarial, "attacks", lambda *_: {"fgsm": Blind(), "pgd": attacks["pgd"]})
    rows = check.measure(batch).where(setting="linf.8").table.to_pylist()
    broken = [row for row in rows if row["reason"] == "found by pgd"]
    assert broken
    assert {row["status"] for row in broken} == {"ok"}
    assert all(row["prediction"] != row["label"] for row in broken)
    failed = [row for row in rows if row["status"] == "failed"]
    assert all(row["prediction"] is None and row["value"] is None for row in failed)


def test_a_decision_that_a_corruption_prevents_is_a_lost_one():
    labels = [0, 1] * 100
    rows = corrupted_rows(labels, labels, labels)
    nowhere = Evidence.of(
        [f"{i:05d}" for i in range(200)], setting="brightness.1", model="m", label=labels, status="failed", reason="nan"
    )
    rows = Evidence.merge([rows.where(setting="brightness.0"), nowhere])
    finding = by_kind(ONE_KIND, rows, clean_rows(labels, labels), ["a", "b"])["corruption"]
    assert finding.facts["mean_drop"] == 1.0
    assert finding.level == "severe"


def test_a_calibration_error_of_zero_is_not_certain():
    error = calibration_error(np.full(40, 0.99), np.ones(40, dtype=bool), bins=15, resamples=50)
    assert error.value == pytest.approx(0.01)
    assert error.high > 0.07, "40 of 40 right allow an accuracy of 91 %"


def test_the_calibration_test_holds_its_level_and_does_not_see_the_order():
    rng, told, by_unit = np.random.default_rng(0), 0, 0
    units = np.repeat(np.arange(60), 8)
    for _ in range(300):
        sure = np.round(rng.beta(6, 1, 480), 2)
        told += calibration_test(sure, rng.random(480) < sure)[0] < 0.05
        shared = np.repeat(np.round(rng.beta(6, 1, 60), 2), 8)
        by_unit += calibration_test(shared, np.repeat(rng.random(60), 8) < shared, units)[0] < 0.05
    assert told <= 27, "5 % of 300 are 15, with a standard error of 3.8"
    assert by_unit <= 27
    sure, correct, order = np.repeat([0.6, 0.9], 200), rng.random(400) < 0.8, rng.permutation(400)
    assert calibration_test(sure[order], correct[order]) == pytest.approx(calibration_test(sure, correct))


def test_proper_scores_are_those_of_the_metrics():
    rng = np.random.default_rng(0)
    confidence, labels = rng.uniform(0.5, 1, 60), rng.integers(0, 2, 60)
    rows = scored_rows(labels.tolist(), confidence)
    found = conclusion(Calibration(), rows, rows, ["a", "b"]).metrics
    expected = ProbabilityScores.of(np.stack([confidence, 1 - confidence], 1), labels)
    assert found["calibration.brier"].value == pytest.approx(expected.brier, abs=1e-6)
    assert found["calibration.nll"].value == pytest.approx(expected.negative_log_likelihood, abs=1e-6)


@pytest.mark.parametrize(
    ("images", "classes", "share", "accuracy"), [(200, 2, 0.9, 0.92), (10, 2, 0.5, 0.9), (30, 2, 0.5, 0.75)]
)
def test_healthy_models_on_few_or_uneven_images_are_not_said_to_guess(images, classes, share, accuracy):
    rng, told = np.random.default_rng(0), 0
    for _ in range(100):
        labels = (rng.random(images) > share).astype(int)
        predictions = np.where(rng.random(images) < accuracy, labels, 1 - labels)
        rows = clean_rows(labels.tolist(), predictions.tolist())
        told += "accuracy" in by_kind(Clean(), rows, rows, ["a", "b"])
    assert told <= 2


def test_a_declared_threat_makes_fragility_harm():
    ids = [f"{i:05d}" for i in range(100)]
    labels, after = [0] * 100, [1] * 40 + [0] * 60
    reasons = ["found by pgd"] * 40 + ["not found"] * 60
    rows = Evidence.of(
        ids, setting="linf.8", model="m", label=labels, prediction=after, value=[0.01] * 100, reason=reasons
    )
    threat, clean = Threat(norm="linf", size=8), clean_rows(labels, labels)
    told = by_kind(Adversarial(threats=(), declared=(threat,)), rows, clean, ["a", "b"])["adversarial"]
    drops = [1.0] * 40 + [0.0] * 60 + [1.0, -1.0]
    assert told.harm == pytest.approx(mean_interval(drops, 0.9).low)
    assert told.p_value < 1e-6
    assert "a threat that was declared" in told.title
    undeclared = by_kind(Adversarial(threats=(threat,)), rows, clean, ["a", "b"])["adversarial"]
    assert (undeclared.harm, undeclared.p_value) == (0.0, None)


def test_accuracies_count_units():
    labels, predictions = [0, 1] * 100, [0, 1] * 80 + [1, 0] * 20
    ids = [f"{i:05d}" for i in range(200)]
    alone, by_unit = (
        conclusion(
            Clean(),
            *[Evidence.of(ids, setting="clean", model="m", label=labels, prediction=predictions, unit_ids=units)] * 2,
            ["a", "b"],
        ).metrics
        for units in (None, [f"patient {i // 20}" for i in range(200)])
    )
    for name in ("clean.accuracy", "clean.balanced_accuracy"):
        assert by_unit[name].value == alone[name].value
        assert by_unit[name].high - by_unit[name].low > 2 * (alone[name].high - alone[name].low)


@pytest.mark.parametrize(("points", "level"), [(0.04, "mild"), (0.12, "moderate"), (0.3, "severe")])
def test_the_harm_of_calibration_is_the_share_of_decisions_that_confidence_promises_too_much(points, level):
    """Of 4,000 decisions that are stated with 95 %, so many points fewer are right."""
    rng = np.random.default_rng(0)
    count = 4000
    labels = rng.integers(0, 2, count)
    right = rng.random(count) < 0.95 - points
    said = np.where(right, labels, 1 - labels)
    scores = np.log(np.where(np.eye(2)[said] == 1, 0.95, 0.05))
    ids = tuple(map(str, range(count)))
    known = PerImage(ids, labels, said, confidence=np.full(count, 0.95), unit_ids=ids, scores=scores)
    classifier = SimpleNamespace(class_names=("a", "b"))
    found = Calibration().conclude(CheckInput(evidence=Evidence.merge([]), images=known, classifier=classifier))
    (finding,) = confirmed(found.hypotheses)
    assert finding.level == level
    assert finding.harm <= finding.facts["overconfident"] == pytest.approx(points, abs=0.02)
    assert finding.facts["underconfident"] == 0
    assert finding.facts["ece_with_temperature"] < 0.02
