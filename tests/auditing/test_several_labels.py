"""Audits of models of several labels an image: every check, figures, planted faults and documents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import f1_score, recall_score, roc_auc_score

import snellen
from snellen.auditing.audit import audit
from snellen.auditing.by_label import measure_by_label
from snellen.auditing.checks import CHECKS, build_check
from snellen.auditing.document import _damage, document_of
from snellen.auditing.report import AuditReport
from snellen.auditing.shard_work import make_batch
from snellen.checks.check import CheckFigure
from snellen.checks.label_sets import evidence_of_label
from snellen.core.errors import UnknownNameError
from snellen.core.randomness import Randomness
from snellen.metrics.label_scaling import best_threshold
from tests.auditing.several_labels import NAMES, classifier, drawn, image_set, network

QUICK = [
    "labels",
    "discrimination",
    "calibration",
    "selective",
    "group_gap",
    "slices",
    "label_noise",
    "duplicates",
    "leakage",
    "drift",
    "membership",
    "data_quality",
]

#: Small settings of the checks that measure.
SMALL = [
    {"check": "corruption", "kinds": ["contrast", "gaussian_noise"], "severities": [1, 5]},
    {"check": "adversarial", "threats": ["linf:16/255"], "steps": 3, "most": 60},
    {"check": "masking", "most": 10},
    {"check": "explanations", "examples": 1, "evaluations": 20},
]

#: What does not handle several labels, and a word of the reason.
REFUSED = {
    "clean": "the check labels",
    "bags": "one positive class",
    "background": "the one class",
    "multi_label": "have several",
    "segmentation": "each pixel",
    "attributes": "one class",
    "nuisance": "one class",
    "viewpoint": "one class",
    "motion": "one class",
    "shortcuts": "one class",
    "backdoor": "one class",
    "out_of_distribution": "one class",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("several")


@pytest.fixture(scope="module")
def report(folder: Path) -> AuditReport:
    """All checks at once."""
    others = [name for name in CHECKS if name not in QUICK and name not in {str(one["check"]) for one in SMALL}]
    return audit(
        classifier(),
        image_set(),
        checks=[*QUICK, *SMALL, *(CHECKS[name]() for name in others)],
        train=image_set(120, 1),
        out=folder / "run",
    )


def test_every_check_works_or_says_why_not(report: AuditReport) -> None:
    status = {one.name: one for one in report.checks}
    assert set(status) == set(CHECKS)
    for name, why in REFUSED.items():
        assert status[name].status == "skipped"
        assert str(status[name].reason).startswith("is not for several labels an image: ")
        assert why in str(status[name].reason)
    assert (
        status["certified"].reason
        == "certifies models that were trained under noise, and chest30 does not say that it was"
    )
    assert "needs a detector of edited regions" in str(status["edits"].reason)
    worked = set(CHECKS) - set(REFUSED) - {"certified", "edits"}
    assert {name: status[name].reason for name in worked if status[name].status != "done"} == {}


def test_attacks_are_measured_for_each_label() -> None:
    images, labels, _ = drawn(4, 3)
    several = snellen.load_images((images, labels), class_names=NAMES)
    pixels = torch.from_numpy(images)[:, None].repeat(1, 3, 1, 1)
    batch, _ = make_batch(
        classifier(), several.ids, [None] * 4, pixels, several.known_labels, Randomness(0), originals=several
    )
    assert batch is not None
    found = measure_by_label(build_check("adversarial", {"steps": 1, "threats": ["linf:1/255"]}), batch)
    assert found is not None
    for place in range(3):
        own = evidence_of_label(found, place).where(setting="linf.1").table
        assert own["label"].to_pylist() == labels[:, place].tolist()


def test_figures_of_each_label_are_those_of_scikit_learn(report: AuditReport) -> None:
    images, labels, _ = drawn(240, 7)
    pixels = torch.from_numpy(images).float().div(255)[:, None].repeat(1, 3, 1, 1)
    scores = network(30)(pixels).detach().numpy()
    given = (scores > 0).astype(int)
    for place, name in enumerate(NAMES):
        expected = {
            "auroc": roc_auc_score(labels[:, place], scores[:, place]),
            "sensitivity": recall_score(labels[:, place], given[:, place]),
            "specificity": recall_score(1 - labels[:, place], 1 - given[:, place]),
            "f1": f1_score(labels[:, place], given[:, place]),
            "prevalence": labels[:, place].mean(),
        }
        for figure, value in expected.items():
            found = report.metrics[f"labels.{name}.{figure}"]
            assert found.value == pytest.approx(value, abs=1e-9)
            assert found.low <= value <= found.high
    assert report.metrics["labels.macro_f1"].value == pytest.approx(f1_score(labels, given, average="macro"))
    assert report.metrics["labels.micro_f1"].value == pytest.approx(f1_score(labels, given, average="micro"))
    assert report.metrics["labels.macro_auroc"].value == pytest.approx(roc_auc_score(labels, scores, average="macro"))
    assert report.metrics["labels.exact_match"].value == pytest.approx((labels == given).all(1).mean())
    assert report.metrics["discrimination.mass.auroc"].value == pytest.approx(report.metrics["labels.mass.auroc"].value)


def test_the_planted_hospital_and_the_rare_label_are_found(report: AuditReport) -> None:
    keys = {one.key: one for one in report.findings}
    gap = keys["group_gap:mass present: B"]
    assert gap.title.startswith("mass: of images that show it, group B is right in ")
    assert gap.harm > 0
    assert keys["worst_class:mass"].title.startswith("mass: recall is ")
    assert not any(key.startswith(("group_gap:effusion", "group_gap:edema", "worst_class:e")) for key in keys)


def test_a_rare_label_that_is_lost_under_corruption_is_named(report: AuditReport) -> None:
    titles = [one.title for one in report.findings if one.kind == "corruption"]
    assert any(": Light: contrast costs " in title and " points of recall " in title for title in titles)
    assert not any("breaks down" in title for title in titles), "images of one side have one class"
    assert (
        report.metrics["corruption.effusion.present.contrast.error"].n
        == report.metrics["labels.effusion.sensitivity"].n
    )
    # A recall lost of a label counts for as many images as have it.
    for one in report.findings:
        if one.kind == "corruption" and one.facts["images_where_it_is"] == "present":
            assert one.harm <= report.metrics[f"labels.{one.facts['label']}.prevalence"].value


def test_a_healthy_model_of_random_labels_is_not_accused() -> None:
    """Labels without any relation to the groups or to each other: no gap is found."""
    images, labels, _ = drawn(240, 11)
    rng = np.random.default_rng(0)
    made = snellen.load_images((images, labels), class_names=NAMES)
    made = replace(made, table=made.table.append_column("group", pa.array(rng.choice(["A", "B"], 240))))
    found = audit(classifier(), made, checks=["labels", "group_gap", "data_quality"])
    assert [one.key for one in found.findings if one.kind in ("group_gap", "data_quality", "accuracy")] == []


def test_thresholds_change_decisions_in_every_check_and_unknown_labels_are_refused() -> None:
    low = {"check": "labels", "thresholds": {"mass": 0.05}}
    usual, lower = (
        audit(
            classifier(), image_set(), checks=[first, {"check": "corruption", "kinds": ["contrast"], "severities": [1]}]
        )
        for first in ("labels", low)
    )
    assert lower.metrics["labels.mass.sensitivity"].value > usual.metrics["labels.mass.sensitivity"].value
    assert lower.metrics["labels.mass.auroc"] == usual.metrics["labels.mass.auroc"]
    name = "corruption.mass.present.contrast.error"
    assert lower.metrics[name].value < usual.metrics[name].value
    assert lower.metrics["labels.edema.f1"] == usual.metrics["labels.edema.f1"]
    with pytest.raises(UnknownNameError, match="unknown label 'maas'"):
        audit(classifier(), image_set(), checks=[{"check": "labels", "thresholds": {"maas": 0.1}}])


def test_the_best_threshold_parts_equal_scores_nowhere() -> None:
    labels = np.array([0, 0, 1, 1], dtype=np.int8)
    assert best_threshold(labels, np.array([1.0, 1.0, 1.0, 3.0])) == 2.0
    assert best_threshold(labels, np.zeros(4)) is None
    assert best_threshold(np.zeros(3, dtype=np.int8), np.arange(3.0)) is None


def test_unknown_labels_count_nowhere() -> None:
    images, labels, _ = drawn(120, 5)
    labels[:30, 1] = -1
    found = audit(classifier(), (images, labels), checks="labels,calibration")
    assert found.metrics["labels.edema.prevalence"].n == 90
    assert found.metrics["calibration.edema.ece"].n == 90
    assert found.metrics["labels.mass.prevalence"].n == 120
    assert found.metrics["labels.exact_match"].n == 90
    assert any(note.startswith("30 labels of images are unknown") for note in found.notes)


def test_confidence_with_a_temperature_is_that_of_the_decision_at_another_threshold() -> None:
    """Labels drawn with the probabilities that are scored: calibrated, wherever the threshold lies."""
    rng = np.random.default_rng(0)
    logits = rng.normal(-1.0, 1.0, (800, 2))
    labels = (rng.random((800, 2)) < 1 / (1 + np.exp(-logits))).astype(int)
    images = np.repeat(np.clip(128 + 16 * logits, 0, 255).astype(np.uint8)[:, :, None], 2, axis=2)

    def score(x: torch.Tensor) -> torch.Tensor:
        return (255 * x[:, 0, :, 0] - 128) / 16

    model = snellen.load_classifier(
        score, ["a", "b"], task="multi_label", preparation=snellen.Preprocessing(size=(2, 2))
    )
    low = {"check": "labels", "thresholds": {"a": 0.1}}
    report = audit(model, (images, labels), checks=[low, "calibration"])
    assert report.metrics["labels.a.sensitivity"].value > 0.95
    assert report.metrics["calibration.a.ece"].value < 0.08
    assert report.metrics["calibration.a.ece_with_temperature"].value < 0.08


def test_documents_have_a_row_for_each_label_and_not_a_figure_for_each_kind_of_damage(
    report: AuditReport, tmp_path: Path
) -> None:
    document = document_of(report)
    assert document.labels is not None
    assert [row[0] for row in document.labels.rows] == list(NAMES)
    assert document.damage is not None
    assert [row[0] for row in document.damage.rows] == [
        f"{name}, {side} it" for name in NAMES for side in ("with", "without")
    ]
    figures = {row[0] for row in document.figures.rows}
    kinds = [
        name for name in report.metrics if name.startswith("corruption.mass.present.") and name.endswith("fog.error")
    ]
    assert "corruption.mass.present.error" in figures
    assert not figures & set(kinds)
    error = report.metrics["corruption.mass.present.error"]
    assert document.damage.rows[4][1:5] == (
        f"{error.n}",
        f"{report.metrics['corruption.mass.present.clean_error'].value:.1%}",
        f"{error.value:.1%}",
        f"{error.low:.1%} – {error.high:.1%}",
    )
    text = report.to_markdown()
    assert text.index("## Labels") < text.index("## Labels under damage") < text.index("## Findings")
    pytest.importorskip("reportlab", reason="reportlab is not installed")
    assert report.to_pdf(tmp_path / "labels.pdf").read_bytes().startswith(b"%PDF-")


def test_names_of_labels_may_have_dots_in_tables_of_damage() -> None:
    def share(value: float) -> CheckFigure:
        return CheckFigure(value=value, low=0.0, high=1.0, n=9)

    start = "corruption.a.present.b.present"
    figures = {
        f"{start}.clean_error": 0.1,
        f"{start}.error": 0.3,
        f"{start}.fog.error": 0.2,
        f"{start}.snow.error": 0.4,
    }
    table = _damage({name: share(value) for name, value in figures.items()}, ["a.present.b"])
    assert table is not None
    assert table.rows == (("a.present.b, with it", "9", "10.0%", "30.0%", "0.0% – 100.0%", "snow 40.0%"),)
    assert _damage({}, ["a"]) is None
