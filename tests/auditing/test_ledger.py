"""The ledger of a test set: what it counts, what it holds, and that a damaged one is refused."""

import json

import numpy as np
import pytest

import snellen
from snellen.auditing.ledger import SKETCH, LedgerLine, ledger_file, ledger_words, read_ledger, shared_images
from snellen.core.errors import InputError


@pytest.fixture(scope="module")
def pixels():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8), np.arange(60) % 2


def model(shift):
    """A model of two classes as predictions, so that the audit takes a moment."""
    return lambda count: np.roll(np.eye(2)[np.arange(count) % 2] * 0.8 + 0.1, shift, axis=1)


def audit(pixels, ledger, count=60, start=0, shift=0, **more):
    images, labels = pixels
    given = snellen.load_images((images[start : start + count], labels[start : start + count].astype(np.int64)))
    return snellen.audit(
        predictions=model(shift)(count), images=given, class_names=["a", "b"], checks=["clean"], ledger=ledger, **more
    )


def looks(report):
    return report.data["ledger"]


def test_audits_and_models_are_counted_and_the_same_audit_once(pixels, tmp_path):
    first = audit(pixels, tmp_path)
    assert looks(first) == {"audits": 0, "models": 1, "gates": 0, "overlapping": 0, "shared": 0.0}
    second = audit(pixels, tmp_path, shift=1)
    assert looks(second) == {"audits": 1, "models": 2, "gates": 0, "overlapping": 0, "shared": 0.0}
    assert looks(audit(pixels, tmp_path)) == looks(first), "the same audit again is no other look"
    assert len(read_ledger(tmp_path / "test-sets.jsonl")) == 2


def test_gates_are_counted(pixels, tmp_path):
    report = audit(pixels, tmp_path)
    report.ledger.enter_gate(["clean.accuracy>=0.9"], passed=True)
    report.ledger.enter_gate(["clean.accuracy>=0.9"], passed=True)
    report.ledger.enter_gate(["clean.accuracy>=0.95"], passed=False)
    assert [line.passed for line in read_ledger(tmp_path / "test-sets.jsonl")] == [None, True, False]
    assert looks(audit(pixels, tmp_path, shift=1))["gates"] == 2


def test_a_set_that_shares_images_is_recognised(pixels, tmp_path):
    audit(pixels, tmp_path, count=40)
    found = looks(audit(pixels, tmp_path, count=40, start=20))
    assert (found["audits"], found["overlapping"], found["shared"]) == (0, 1, 0.5)
    assert looks(audit(pixels, tmp_path / "other", count=20, start=40))["overlapping"] == 0


def test_predictions_without_images_name_no_test_set(tmp_path):
    scores, labels = np.eye(2)[np.arange(30) % 2], np.arange(30) % 2
    with pytest.raises(InputError, match="knows a test set by its images, and predictions came alone"):
        snellen.audit(predictions=scores, labels=labels, class_names=["a", "b"], checks=["clean"], ledger=tmp_path)
    assert not list(tmp_path.iterdir())


def test_overlaps_of_large_sets_are_estimated():
    rng = np.random.default_rng(1)
    names = [f"{value:016x}" for value in rng.integers(0, 2**62, 12_000)]

    def line(part):
        return LedgerLine(
            kind="audit", images=len(part), set="0" * 64, look="0" * 64, sketch=tuple(sorted(part)[:SKETCH])
        )

    assert shared_images(line(names[:6000]), line(names[3000:])) == pytest.approx(0.5, abs=0.1)
    assert shared_images(line(names[:6000]), line(names[6000:])) == 0
    assert shared_images(line(names[:2000]), line(names)) == pytest.approx(1.0, abs=0.15)


def test_every_form_of_the_report_shows_it_and_the_file_holds_no_names(pixels, tmp_path):
    audit(pixels, tmp_path / "looks.jsonl")
    report = audit(pixels, tmp_path / "looks.jsonl", shift=1, out=tmp_path / "run")
    words = ledger_words(looks(report))
    assert words.startswith("Ledger: audit 2 of these images; 2 models with this one, 0 gates before.")
    assert "looks better on them than it is" in words
    assert words in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert words in report.to_markdown()
    assert json.loads((tmp_path / "run" / "report.json").read_bytes())["data"]["ledger"]["audits"] == 1
    rows = [json.loads(row) for row in (tmp_path / "looks.jsonl").read_text(encoding="utf-8").splitlines()]
    known = {"kind", "images", "set", "sketch", "model", "look", "date", "schema_version", "written_by"}
    assert {key for row in rows for key in row} <= known


def test_without_a_ledger_nothing_is_written_or_shown(pixels, tmp_path):
    report = audit(pixels, None, out=tmp_path / "run")
    assert "ledger" not in report.data
    assert not list(tmp_path.glob("*.jsonl"))


@pytest.mark.parametrize(
    "text", ["{", "[1]", '{"kind": "audit"}', '{"kind":"audit","images":0,"set":"","look":""}', "\x00", "[" * 5000]
)
def test_a_damaged_ledger_is_refused_before_the_audit(pixels, tmp_path, text):
    (tmp_path / "looks.jsonl").write_text(text + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"looks\.jsonl, line 1"):
        audit(pixels, tmp_path / "looks.jsonl")


def test_a_ledger_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert ledger_file(tmp_path / "file") == tmp_path / "file" / "test-sets.jsonl"
    with pytest.raises(InputError, match="cannot be read"):
        read_ledger(ledger_file(tmp_path / "file"))
