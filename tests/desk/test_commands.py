"""Command lines made of forms."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snellen.core.errors import InputError
from snellen.desk.commands import audit_command, treat_command
from snellen.desk.desk import Desk
from snellen.desk.jobs import Jobs
from snellen.desk.work_pages import COMPARED
from tests.desk.made_runs import Caller


def test_an_audit_is_what_the_form_says(tmp_path):
    form = {"model": ["onnx:my model.onnx"], "data": [" photos "], "effort": ["quick"], "budget": ["90s"], "out": ["x"]}
    words, out = audit_command(form, tmp_path)
    assert words == [
        "snellen", "audit", "onnx:my model.onnx", "photos", "--effort", "quick", "--budget", "90s", "--out",
        str(tmp_path / "x"),
    ]  # fmt: skip
    assert out == tmp_path / "x"
    (tmp_path / "audit").mkdir()
    assert audit_command({"model": ["m"], "data": ["d"]}, tmp_path)[1] == tmp_path / "audit-2"
    assert audit_command({"model": ["m"], "data": ["d"]}, tmp_path, dry=True) == (
        ["snellen", "audit", "m", "d", "--dry-run"],
        None,
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", ""), ("data", ""), ("model", "--out=/tmp/x"), ("data", "-h"), ("train", "--allow-remote=evil.com"),
        ("effort", "all"), ("budget", "1h; rm"), ("budget", "-1"),
        ("budget", "90"), ("budget", "0s"), ("out", "../elsewhere"), ("out", "/tmp/x"),
        ("out", ".hidden"), ("out", "a\\b"), ("model", "a\nb"), ("model", "x" * 2001), ("data", "\x1b[31m"),
    ],
)  # fmt: skip
def test_what_is_no_value_of_its_field_is_refused(tmp_path, field, value):
    form = {"model": ["m"], "data": ["d"], field: [value]}
    with pytest.raises(InputError, match=r"field|effort|budget|out|name"):
        audit_command(form, tmp_path)


def test_findings_are_those_of_the_run(first, tmp_path):
    (tmp_path / "t.csv").write_text("id,label,given\na,b,c\n")
    words, _ = treat_command({"finding": ["label_noise", "duplicate:near"], "table": ["t.csv"]}, first, tmp_path)
    assert words[3:11] == [
        "--table", "t.csv", "--column", "image=id", "--column", "label=label", "--finding", "label_noise",
    ]  # fmt: skip
    with pytest.raises(InputError, match="no finding"):
        treat_command({"finding": ["--out=x"]}, first, tmp_path)


def test_a_table_is_read_by_the_columns_that_it_has(first, tmp_path):
    def columns(head):
        (tmp_path / "t.csv").write_text(f"{head}\na,b\n")
        words, _ = treat_command({"table": ["t.csv"]}, first, tmp_path)
        return [words[place + 1] for place, one in enumerate(words) if one == "--column"]

    assert columns("id,labels,given") == ["image=id", "labels=labels"]
    assert columns("id,label,given,unit,group") == ["image=id", "label=label", "unit=unit", "group=group"]
    for head in ("path,label", "id,given", ""):
        with pytest.raises(InputError, match="no table that the desk wrote"):
            columns(head)
    for name in ("elsewhere.csv", ".", "a" * 300):
        with pytest.raises(InputError, match="is no file"):
            treat_command({"table": [name]}, first, tmp_path)


@pytest.mark.parametrize("words", [["rm", "-r"], ["snellen"], ["snellen", "ui"], ["snellen", "--version"], []])
def test_no_other_command_is_started(tmp_path, words):
    with pytest.raises(InputError, match="alone"):
        Jobs(tmp_path, tmp_path).start(words, None)


class Running:
    """A process that neither ends nor does anything."""

    stdin = None

    def poll(self):
        return None


def test_two_jobs_run_at_once_and_never_two_into_one_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("snellen.desk.jobs._started", lambda *_given: Running())
    jobs, words = Jobs(tmp_path, tmp_path), ["snellen", "audit", "m", "d"]
    first = jobs.start(words, tmp_path / "a")
    with pytest.raises(InputError, match="already writes"):
        jobs.start(words, tmp_path / "a")
    jobs.start(words, tmp_path / "b")
    with pytest.raises(InputError, match="2 jobs run already"):
        jobs.start(words, tmp_path / "c")
    first._process.poll = lambda: 0
    assert jobs.start(words, tmp_path / "a").state == "running"


def test_what_is_made_of_a_run_by_itself_is_written_beside_it(place):
    desk = Desk(place / "first")
    caller = Caller(desk)
    (run,) = desk.workplace.runs()
    line = caller.post("/jobs/command", {"run": run.id, "train": "pool"}).json()["line"]
    assert line.endswith(f"--out {place / 'first-treated'}")
    (place / "first-treated").mkdir()
    (place / "first-treated" / "treating.json").write_text("{}")
    desk.close()
    desk = Desk(place / "first")
    assert {one.name for one in desk.workplace.runs()} == {"first", "first-treated"}
    desk.close()


def test_images_without_a_label_are_neither_right_nor_wrong_in_a_comparison(place):
    for name in ("first", "second"):
        file = place / name / "evidence" / "clean.parquet"
        table = pq.read_table(file)
        labels = pa.array([-1] * len(table), table["label"].type)
        pq.write_table(table.set_column(table.column_names.index("label"), "label", labels), file)
    desk = Desk(place)
    caller = Caller(desk)
    ids = {run.name: run.id for run in desk.workplace.runs()}
    asked = f"first={ids['first']}&second={ids['second']}"
    totals = {one: caller.get("/compare/rows", f"{asked}&which={one}").json()["total"] for one in COMPARED}
    assert (totals["lost"], totals["won"], totals["wrong"]) == (0, 0, 0)
    assert totals[""] == 24
    desk.close()


def test_the_address_of_a_comparison_holds_which_images_are_shown(caller, desk):
    ids = {run.name: run.id for run in desk.workplace.runs()}
    asked = f"first={ids['first']}&second={ids['second']}"
    assert '<option value="won" selected>' in caller.get("/compare", f"{asked}&which=won").text
    assert " selected>" not in caller.get("/compare", f"{asked}&which=%3Cx-evil%3E").text.split('name="which"')[1]


@pytest.mark.parametrize("second", ["these", "other images"])
def test_a_comparison_of_other_images_by_the_same_names_says_so(place, second):
    for name, contents in (("first", "these"), ("second", second)):
        file = place / name / "manifest.json"
        file.write_text(json.dumps({**json.loads(file.read_bytes()), "contents": {"audit": contents}}))
    desk = Desk(place)
    ids = {run.name: run.id for run in desk.workplace.runs()}
    shown = Caller(desk).get("/compare", f"first={ids['first']}&second={ids['second']}").text
    assert ("different sets" in shown) == (second != "these")
    desk.close()


def test_the_list_calls_a_usual_loss_usual_and_the_worst_level_first(place):
    file = place / "first" / "report.json"
    report = json.loads(file.read_bytes())
    usual = {"kind": "corruption", "subject": "fog", "harm": 0.4, "usual": 0.5, "title": "Fog", "level": "note"}
    file.write_text(json.dumps({**report, "findings": [usual, *report["findings"]]}))
    (place / "second" / "report.json").unlink()
    desk = Desk(place)
    badges = re.findall(r'<b>(\d+)</b> <span class="badge \w+">(\w+)</span>', Caller(desk).get("/").text)
    assert ("1", "usual") in badges
    levels = [level for _, level in badges if level != "usual"]
    order = ["severe", "moderate", "mild", "note"]
    assert len(levels) > 1
    assert levels == sorted(levels, key=order.index)
    desk.close()
