"""The page of requirements, and pages of runs of other verbs."""

import json
import re
import shlex
from html import unescape
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from snellen.cli.app import app
from snellen.desk.desk import Desk
from snellen.desk.record_pages import READERS, summary_of
from snellen.desk.requirements_pages import figure_address, latest
from snellen.desk.run_folder import RECORDS
from tests.desk.made_runs import EVIL, Caller

WRITTEN = """
title = "What a reader must do"
[[requirement]]
id = "R1"
text = "Recognises <x-evil>half of the images."
metric = "clean.accuracy >= 0.9"
[[requirement]]
id = "R2"
text = "Has no severe finding."
metric = "findings.severe <= 0"
[[requirement]]
id = "R3"
text = "Is calibrated."
metric = "calibration.ece <= 0.1"
"""


def test_requirements_are_judged_and_lead_to_the_run_and_the_figure(place, caller, first):
    (place.parent / "requirements.toml").write_text(WRITTEN)
    found = caller.get("/requirements")
    assert found.status == 200
    assert "&lt;x-evil" in found.text
    assert "<x-evil" not in found.text
    cells = re.findall(r'<td class="([a-z-]+)" data-model', found.text)
    assert len(cells) == 6, "two models by three requirements; of the unfinished run none"
    assert cells[:2] == ["not-met", "not-met"]
    assert f'href="/runs/{first.id}/report#figure-1"' in found.text
    assert f'href="/runs/{first.id}"' in found.text
    assert 'id="figure-1"' in caller.get(f"/runs/{first.id}/report").text
    line = shlex.split(unescape(re.search(r'<p class="line"><code class="command">(.*?)</code>', found.text)[1]))
    shown = CliRunner().invoke(app, line[1:])
    assert shown.exit_code == 0, shown.output
    assert "not met" in shown.output
    only = caller.get("/requirements", f"run={first.id}")
    assert len(re.findall(r'<td class="[a-z-]+" data-model', only.text)) == 3


def test_without_requirements_the_page_says_where_to_write_them(caller, place):
    found = caller.get("/requirements")
    assert "[[requirement]]" in found.text
    assert str(place) in found.text


@pytest.mark.parametrize(
    "content", ["[[requirement]]", "x", '[[requirement]]\nid="R"\ntext="t"\nmetric="clean.acuracy >= 1"']
)
def test_a_file_that_is_wrong_is_an_error_in_words(caller, place, content):
    (place / "my requirements.toml").write_text(content)
    found = caller.get("/requirements")
    assert found.status == 200
    assert 'class="refused words"' in found.text


def test_files_elsewhere_are_no_requirements(caller, place, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "requirements.toml").write_text(WRITTEN)
    (place / "requirements.toml").symlink_to(tmp_path / "secret" / "requirements.toml")
    assert "What a reader" not in caller.get("/requirements").text
    assert caller.desk.workplace.requirements() == []


def test_a_figure_that_is_not_there_leads_to_the_report(first):
    assert figure_address(first, "clean.accuracy.value >= 0.5") == f"/runs/{first.id}/report#figure-1"
    assert figure_address(first, "acuity.fog >= 2") == f"/runs/{first.id}/report"
    assert figure_address(first, "findings.mild <= 2") == f"/runs/{first.id}"


@pytest.mark.parametrize("kind", RECORDS)
def test_the_record_of_another_verb_has_a_page(place, kind):
    folder = place / f"of {kind}"
    folder.mkdir()
    record = {"plan": {"model": {"name": EVIL}}, "settings": {"a": {"verdict": EVIL}}, "files": ["x.png"], "count": 3}
    (folder / RECORDS[kind].file).write_text(json.dumps(RECORDS[kind].stamped(record)))
    desk = Desk(place)
    run = next(one for one in desk.workplace.runs() if one.path == folder)
    assert (run.kind, run.status) == (kind, "finished")
    caller = Caller(desk)
    assert f"/runs/{run.id}" in caller.get("/").text
    found = caller.get(f"/runs/{run.id}")
    assert found.status == 200
    assert "<code>count</code></th><td>3</td>" in found.text
    assert "<x-evil" not in found.text
    (folder / RECORDS[kind].file).write_text("[")
    desk.workplace._looked = 0
    assert caller.get("/").status == 200
    assert caller.get(f"/runs/{run.id}").status == 400
    desk.close()


def test_an_attack_is_shown_as_the_terminal_shows_it(tmp_path):
    import snellen

    scenes = "optotypes:scenes?count=8&size=32&sizes=large&shapes=ring,star,heart,square,triangle,cross&seed=3#test"
    made = snellen.attack("bundled:scene-cnn", scenes, "fgsm", out=tmp_path / "runs" / "attacked")
    desk = Desk(tmp_path / "runs")
    (run,) = desk.workplace.runs()
    assert run.kind == "attack"
    assert summary_of(run).heading == made.summary().heading
    shown = Caller(desk).get(f"/runs/{run.id}").text
    assert "robust_accuracy" in shown
    desk.close()


@pytest.mark.parametrize("fault", [IndexError, ZeroDivisionError, OverflowError, FileNotFoundError])
def test_a_record_that_its_reader_cannot_read_is_shown_whole(place, monkeypatch, fault):
    from snellen.verbs.attacked_set import AttackedSet

    def fails(self):
        raise fault

    (place / "attacked").mkdir()
    (place / "attacked" / "attack.json").write_text(json.dumps(RECORDS["attack"].stamped({"count": 3})))
    monkeypatch.setattr(AttackedSet, "model_validate", lambda values: AttackedSet.model_construct())
    monkeypatch.setattr(AttackedSet, "summary", fails)
    desk = Desk(place)
    run = next(one for one in desk.workplace.runs() if one.kind == "attack")
    assert summary_of(run) is None
    assert "<code>count</code></th><td>3</td>" in Caller(desk).get(f"/runs/{run.id}").text
    desk.close()


def test_of_one_classifier_on_the_same_images_the_latest_audit_is_judged():
    def audit(name, identity, images):
        return SimpleNamespace(id=name, identity=identity, fingerprint=images)

    runs = [audit("new", "m", "x"), audit("old", "m", "x"), audit("other", "m", "y"), audit("a", "", "x")]
    assert [one.id for one in latest([*runs, audit("b", "", "x")])] == ["new", "other", "a", "b"]


def test_a_long_record_says_how_many_rows_stand_in_the_file(place):
    (place / "labelled").mkdir()
    fields = {f"field {number}": number for number in range(1_200)}
    (place / "labelled" / "label.json").write_text(json.dumps(RECORDS["labels"].stamped(fields)))
    desk = Desk(place)
    run = next(one for one in desk.workplace.runs() if one.kind == "labels")
    shown = Caller(desk).get(f"/runs/{run.id}").text
    assert shown.count('<th scope="row">') == 1_000
    assert f"{len(run.record) - 1_000} further rows" in shown
    desk.close()


def test_verdicts_are_judged_anew_when_a_report_is_written_anew(place, caller, first):
    (place / "requirements.toml").write_text(WRITTEN)

    def verdicts():
        shown = caller.get("/requirements", f"run={first.id}").text
        return re.findall(r'<td class="([a-z-]+)" data-model', shown)

    assert verdicts()[0] == "not-met"
    report = json.loads((place / "first" / "report.json").read_bytes())
    report["metrics"]["clean.accuracy"] |= {"value": 0.97, "low": 0.95, "high": 0.99}
    (place / "first" / "report.json").write_text(json.dumps(report))
    caller.desk.workplace._looked = 0
    assert verdicts()[0] == "met"


def test_readers_are_those_of_the_records(monkeypatch):
    import importlib

    for kind, target in READERS.items():
        module, _, name = target.partition(":")
        assert getattr(importlib.import_module(module), name).file == RECORDS[kind].file


def test_a_training_does_not_hide_the_audit_in_it(place):
    (place / "trained").mkdir()
    (place / "first").rename(place / "trained" / "audit")
    (place / "trained" / "card.json").write_text(json.dumps(RECORDS["training"].stamped({"name": "x"})))
    desk = Desk(place)
    assert {(one.name, one.kind) for one in desk.workplace.runs()} >= {
        ("trained", "training"),
        ("trained/audit", "audit"),
    }
    desk.close()
