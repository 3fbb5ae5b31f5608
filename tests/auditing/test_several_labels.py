"""Audits of models of several labels an image: every check, planted faults, comparison and gates."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from sklearn.metrics import f1_score, recall_score, roc_auc_score
from typer.testing import CliRunner

import snellen
from snellen.auditing.audit import audit
from snellen.auditing.by_label import figure_names_by_label, measure_by_label
from snellen.auditing.checks import CHECKS, build_check
from snellen.auditing.compare.compare import compare
from snellen.auditing.compare.gate import gate
from snellen.auditing.compare.requirement import check_names, parse_requirement
from snellen.auditing.document import _damage, document_of
from snellen.auditing.label_hypotheses import best_threshold
from snellen.auditing.report import AuditReport
from snellen.auditing.shard_work import make_batch
from snellen.checks.check import Measured
from snellen.checks.label_sets import evidence_of_label
from snellen.cli.app import app
from snellen.cli.gate_options import GateOptions, check_gate_names
from snellen.core.errors import InputError, ModelError, UnknownNameError
from snellen.core.randomness import Randomness
from tests.auditing.several_labels import NAMES, SIDE, classifier, drawn, image_set, network

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
        classifier(), image_set(), checks=[*QUICK, *SMALL, *others], train=image_set(120, 1), out=folder / "run"
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
    worked = set(CHECKS) - set(REFUSED) - {"certified"}
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


def test_compare_and_gate_go_label_by_label(folder: Path, report: AuditReport) -> None:
    checks = ["labels", "discrimination", "calibration", "group_gap", SMALL[0]]
    first = audit(classifier(), image_set(), checks=checks, out=folder / "first")
    second = audit(classifier(3), image_set(), checks=checks, out=folder / "second")
    found = compare(folder / "first", folder / "second")
    figures = {one.name: one for one in found.figures}
    assert found.paired
    assert figures["labels.macro_auroc"].verdict in ("worse", "unclear", "same")
    assert figures["labels.edema.f1"].verdict == "worse"
    assert figures["labels.edema.sensitivity"].reason is not None
    assert figures["calibration.edema.brier"].verdict == "worse"
    assert figures["corruption.edema.present.contrast.error"].paired
    assert set(first.metrics) | set(second.metrics) <= set(figures)
    assert {one.verdict for one in compare(folder / "first", folder / "first").figures} <= {"same", "not compared"}
    keys = {one.key: one for one in found.findings}
    assert keys["group_gap:mass present: B"].verdict in ("better", "mended", "unclear", "same")
    judged = gate(
        second, [parse_requirement("labels.edema.sensitivity>=0.99"), parse_requirement("findings.note<=1000")], found
    )
    assert [one.met for one in judged.judgements] == [False, True]
    assert judged.comparison is not None
    assert judged.comparison.losses


def test_margins_are_judged_label_by_label_and_image_by_image(tmp_path: Path) -> None:
    for epochs in (30, 3):
        audit(classifier(epochs), image_set(), checks=["labels"], out=tmp_path / str(epochs))
    margins = {"": 0.01, "labels.edema.f1": 0.01, "class.edema.accuracy": 0.1}
    found = compare(tmp_path / "30", tmp_path / "3", not_worse_than=margins).not_worse
    assert [one.name for one in found] == ["labels.right_decisions", "labels.edema.f1", "class.edema.accuracy"]
    assert [one.verdict for one in found] == ["not met"] * 3
    assert all(one.paired for one in found)
    same = compare(tmp_path / "30", tmp_path / "30", not_worse_than=["1pt", "labels.exact_match=5pt"]).not_worse
    assert [one.verdict for one in same] == ["undecided", "met"], "120 patients"


def test_requirements_name_labels_that_are_there() -> None:
    running = [build_check("labels", {}), build_check("corruption", {}), build_check("duplicates", {})]
    for name in ("labels.mass.f1", "labels.macro_f1", "corruption.mass.present.fog.error"):
        check_names([parse_requirement(f"{name}>=0.1")], running, "multilabel", NAMES)
    with pytest.raises(InputError, match=r"did you mean 'labels\.mass\.f1'"):
        check_names([parse_requirement("labels.maas.f1>=0.1")], running, "multilabel", NAMES)
    margins = GateOptions(margins={"labels.maas.f1": 0.01})
    check_gate_names(margins, running, "multilabel")
    with pytest.raises(InputError, match=r"did you mean 'labels\.mass\.f1'"):
        check_gate_names(margins, running, "multilabel", NAMES)
    named = figure_names_by_label(running[1], NAMES)
    assert named is not None
    assert not any(one.endswith(".3.accuracy") for one in named)


def test_images_of_one_class_are_refused_with_how_to_say_several() -> None:
    images, labels, _ = drawn(30, 5)
    model = snellen.load_classifier(
        network(30), NAMES, task="multi_label", preparation=snellen.Preparation(size=(SIDE, SIDE))
    )
    with pytest.raises(InputError, match="needs several labels for each image"):
        audit(model, snellen.load_images((images, labels[:, 0]), class_names=NAMES))
    with pytest.raises(InputError, match="--task multi_label"):
        audit(
            snellen.load_classifier(network(30), NAMES, preparation=snellen.Preparation(size=(SIDE, SIDE))),
            snellen.load_images((images, labels), class_names=NAMES),
        )


def test_a_sigmoid_is_found_and_said(report: AuditReport) -> None:
    size = snellen.Preparation(size=(SIDE, SIDE))
    sigmoid = torch.nn.Sequential(network(30), torch.nn.Sigmoid())
    found = snellen.load_classifier(sigmoid, NAMES, task="multi_label", preparation=size)
    assert (found.task, found.output) == ("multilabel", "log-probabilities")
    assert found.notes == ("the model ends in a sigmoid: outputs are probabilities, one for each label",)
    assert "logits, one for each label" in classifier().notes[-1]
    callable_ = snellen.load_classifier(lambda x: sigmoid(x), NAMES, task="multi_label", preparation=size)
    assert "taken as sigmoid probabilities" in callable_.notes[-1]
    again = audit(found, image_set(), checks="labels")
    for name in ("labels.macro_auroc", "labels.macro_f1", "labels.mass.sensitivity"):
        assert again.metrics[name].value == pytest.approx(report.metrics[name].value, abs=1e-6)


def test_the_command_line_reads_names_and_columns_and_writes_what_it_found(tmp_path: Path) -> None:
    images, labels, hospitals = drawn(60, 7)
    (tmp_path / "img").mkdir()
    rows, columns = ["file,findings,hospital"], [f"file,hospital,{','.join(NAMES)}"]
    for row, (pixels, own) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(pixels).save(tmp_path / "img" / f"{row}.png")
        named = "|".join(name for name, has in zip(NAMES, own, strict=True) if has) or "No Finding"
        rows.append(f"img/{row}.png,{named},{hospitals[row]}")
        columns.append(f"img/{row}.png,{hospitals[row]},{','.join(map(str, own))}")
    (tmp_path / "names.csv").write_text("\n".join(rows))
    (tmp_path / "columns.csv").write_text("\n".join(columns))
    by_name = snellen.load_images(tmp_path / "names.csv", columns={"image": "file", "labels": "findings"})
    by_column = snellen.load_images(tmp_path / "columns.csv", columns={"image": "file", "labels": ",".join(NAMES)})
    listed = snellen.load_images(tmp_path / "columns.csv", columns={"image": "file", "labels": NAMES})
    assert listed.fingerprint() == by_column.fingerprint()
    assert by_name.class_names == tuple(sorted(NAMES))
    assert by_column.class_names == listed.class_names == NAMES
    order = [by_name.class_names.index(name) for name in NAMES]
    assert (by_name.label_sets[:, order] == labels).all()
    assert (by_column.label_sets == labels).all()
    report = audit(classifier(), by_name, effort="quick", out=tmp_path / "run")
    assert report.metrics == audit(classifier(), by_column, effort="quick").metrics
    shown = CliRunner().invoke(app, ["report", str(tmp_path / "run")])
    assert shown.exit_code == 0
    assert "Labels" in (tmp_path / "run" / "report.html").read_text()
    mistakes = json.loads((tmp_path / "run" / "lists" / "labels.json").read_text())
    assert set(mistakes[0]) == {"id", "missed", "given_wrongly"}


def test_confidence_with_a_temperature_is_that_of_the_decision_at_another_threshold() -> None:
    """Labels drawn with the probabilities that are scored: calibrated, wherever the threshold lies."""
    rng = np.random.default_rng(0)
    logits = rng.normal(-1.0, 1.0, (800, 2))
    labels = (rng.random((800, 2)) < 1 / (1 + np.exp(-logits))).astype(int)
    images = np.repeat(np.clip(128 + 16 * logits, 0, 255).astype(np.uint8)[:, :, None], 2, axis=2)

    def score(x: torch.Tensor) -> torch.Tensor:
        return (255 * x[:, 0, :, 0] - 128) / 16

    model = snellen.load_classifier(score, ["a", "b"], task="multi_label", preparation=snellen.Preparation(size=(2, 2)))
    low = {"check": "labels", "thresholds": {"a": 0.1}}
    report = audit(model, (images, labels), checks=[low, "calibration"])
    assert report.metrics["labels.a.sensitivity"].value > 0.95
    assert report.metrics["calibration.a.ece"].value < 0.08
    assert report.metrics["calibration.a.ece_with_temperature"].value < 0.08


def test_what_cannot_be_is_refused_in_words() -> None:
    images, labels, _ = drawn(12, 5)
    size = snellen.Preparation(size=(SIDE, SIDE))
    with pytest.raises(ModelError, match=r"leave \[0, 1\] on probe images"):
        snellen.load_classifier(network(30), NAMES, task="multi_label", output="probabilities", preparation=size)
    with pytest.raises(InputError, match="one class for each image"):
        audit(predictions=labels, labels=labels)
    unknown = labels.astype(float)
    unknown[2, 1] = np.nan
    with pytest.raises(InputError, match=r"nan=-1\)\); got nan for image 2"):
        snellen.load_images((images, unknown), class_names=NAMES)
    assert snellen.load_images((images, np.nan_to_num(unknown, nan=-1)), class_names=NAMES).label_sets[2, 1] == -1


def test_lists_say_what_is_unknown_and_names_may_be_numbers(tmp_path: Path) -> None:
    (tmp_path / "lists.csv").write_text('path,labels\na.png,"[0, -1]"\nb.png,"[1, null]"\n')
    assert snellen.load_images(tmp_path / "lists.csv").label_sets.tolist() == [[0, -1], [1, -1]]
    (tmp_path / "numbers.csv").write_text("path,labels\na.png,0|2\nb.png,1\n")
    numbers = snellen.load_images(tmp_path / "numbers.csv")
    assert (numbers.class_names, numbers.label_sets.tolist()) == (("0", "1", "2"), [[1, 0, 1], [0, 1, 0]])


def test_lists_of_a_label_are_compared_with_those_of_the_same_label(tmp_path: Path) -> None:
    for name, epochs in (("first", 30), ("second", 3)):
        audit(classifier(epochs), image_set(300), checks=["labels", "slices"], out=tmp_path / name)
    found = {one.key: one.verdict for one in compare(tmp_path / "first", tmp_path / "second").findings}
    assert [verdict for key, verdict in found.items() if key.startswith("slice:effusion: ")] == ["new"]


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
    def share(value: float) -> Measured:
        return Measured(value=value, low=0.0, high=1.0, n=9)

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
