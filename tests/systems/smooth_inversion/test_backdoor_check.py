"""The check for backdoors: told in a model with a known trigger, not in one without, and only when asked for."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest

from snellen.auditing.audit import audit
from snellen.auditing.checks import default_checks, resolve_checks
from snellen.core.classifier import Classifier
from snellen.core.images import COLUMNS
from snellen.metrics.incomplete_beta import regularised_incomplete_beta
from snellen.metrics.intervals import clopper_pearson
from snellen.models.classifiers import references
from snellen.systems.smooth_inversion import scanning
from snellen.systems.smooth_inversion.check import BackdoorCheck
from tests.systems.smooth_inversion.toy_models import NAMES, classifier, image_set

CHECK = BackdoorCheck(epsilon=0.9, steps=10, refined_steps=25, sources=2, images=60, copies=0)


def reported(report):
    return [finding for finding in report.findings if finding.kind == "backdoor"]


def test_a_planted_trigger_is_found_measured_on_other_images_and_shown(tmp_path):
    report = audit(classifier(), image_set(80), checks=[CHECK], out=tmp_path / "run")
    (finding,) = reported(report)
    facts = finding.facts
    assert finding.subject == "one"
    assert facts["sent"] > 0.9 * facts["images"]
    assert finding.p_value == pytest.approx(
        regularised_incomplete_beta(0.3, facts["sent"], facts["images"] - facts["sent"] + 1)
    )
    assert 0 < finding.harm <= clopper_pearson(facts["sent"], facts["images"], 0.5).low
    assert facts["length_l2"] <= 0.9 + 1e-5
    assert facts["clean_models"] == 0
    assert facts["confirmed_by"] == facts["confirming_images"] == 8
    assert facts["epsilon"] == 0.9
    assert finding.title.endswith("others to one")
    assert len(finding.treatments) == 2
    first, *others = finding.examples
    assert "the change itself" in first.caption
    assert all(example.image and example.after for example in finding.examples)
    assert others
    assert all("becomes one" in example.caption for example in others)
    figure = report.metrics["backdoor.recovered_success"]
    assert figure.low <= figure.value == facts["sent"] / facts["images"] <= figure.high
    (panel,) = [panel for panel in report.panels if panel.check == "backdoor"]
    assert panel.rows[0][0] == "one"
    assert {row[0] for row in panel.rows} == set(NAMES)


@pytest.mark.covers("33.8")
def test_a_model_without_a_trigger_is_reported_in_guarded_words(tmp_path):
    report = audit(classifier(0.0), image_set(80), checks=[CHECK], out=tmp_path / "run")
    assert reported(report) == []
    notes = " ".join(note for note in report.notes if note.startswith("Backdoor"))
    assert "no outlier within budget" in notes
    assert "is clean" not in notes
    page = (tmp_path / "run" / "report.html").read_text()
    assert "no outlier within budget" in page


def test_with_clean_models_the_rank_is_a_fact_and_its_resolution_is_reported(monkeypatch):
    monkeypatch.setattr(references, "load_classifier", lambda *_, **__: classifier(0.0))
    check = CHECK.model_copy(update={"clean": ("a", "b", "c")})
    report = audit(classifier(), image_set(80), checks=[check])
    (finding,) = reported(report)
    assert finding.facts["p_value_among_clean_models"] == pytest.approx(1 / 4)
    assert finding.facts["clean_models"] == 3
    assert finding.p_value < 1e-6
    assert "0.25 at best" in " ".join(report.notes)


def test_what_clean_models_show_as_well_is_not_reported(monkeypatch):
    monkeypatch.setattr(references, "load_classifier", lambda *_, **__: classifier())
    check = CHECK.model_copy(update={"clean": ("a", "b")})
    assert reported(audit(classifier(), image_set(80), checks=[check])) == []


def test_it_runs_only_when_requested_and_skips_what_it_cannot_ask():
    assert "backdoor" not in default_checks()
    assert resolve_checks(["backdoor"])[1].scan().epsilon is None
    asked = Classifier(lambda images: images.flatten(1)[:, :4], class_names=NAMES, preparation=classifier().preparation)
    report = audit(asked, image_set(30), checks=[CHECK])
    (status,) = [one for one in report.checks if one.name == "backdoor"]
    assert status.status == "skipped"
    assert CHECK.cost() > 0


def test_too_few_images_are_a_note_and_no_crash():
    report = audit(classifier(), image_set(12), checks=[CHECK])
    assert reported(report) == []
    assert any("needs 34 images or more" in note for note in report.notes)


def test_a_class_that_copies_of_the_model_have_too_is_no_finding(monkeypatch):
    model = classifier(10.0)  # 2.9 log odds above the other classes
    copies = {"lost": classifier(0.0), "kept": model}
    found = {}
    for name, copy in copies.items():
        monkeypatch.setattr(scanning, "tuned_copies", lambda *_, one=copy, **__: iter([one, one]))
        found[name] = reported(audit(model, image_set(80), checks=[CHECK.model_copy(update={"copies": 2})]))
    (finding,) = found["lost"]
    assert found["kept"] == []
    assert finding.facts["copies"] == 2
    assert finding.facts["rate_in_copies"] < 0.2


def test_the_same_audit_gives_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        audit(classifier(), image_set(60), checks=[CHECK], out=tmp_path / name)
    first, second = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("first", "second"))
    assert first == second


def test_units_count_once():
    images = image_set(80)
    units = pa.array([f"u{row // 2}" for row in range(80)], COLUMNS["unit_id"])
    paired = replace(images, table=images.table.append_column("unit_id", units))
    (finding,) = reported(audit(classifier(), paired, checks=[CHECK]))
    # Of 40 units some are searched on, and half of the others measure.
    assert finding.facts["images"] <= 20
