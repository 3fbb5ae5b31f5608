"""The commands sample-size, requirements and monitor, margins and the ledger: as a user gives them."""

import csv
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import snellen
from snellen.cli.monitor import monitor
from snellen.cli.sample_size import sample_size

QUICK = ("audit", "--limit", "60", "--checks", "clean,calibration")


@pytest.fixture
def audited(run):
    assert run(*QUICK, "--out", "first run")[0] == 0
    assert run(*QUICK, "--seed", "1", "--out", "other")[0] == 0


def test_options_stand_for_parameters():
    parameters = set(inspect.signature(snellen.sample_size).parameters)
    assert set(inspect.signature(sample_size).parameters) - {"as_json"} == parameters
    options = inspect.signature(monitor).parameters
    for name, one in inspect.signature(snellen.monitor).parameters.items():
        spelled = {"images": "data", "dates": "date", "columns": "column"}.get(name, name)
        if name not in ("classifier", "progress"):
            assert spelled in options, name
            if one.default is not inspect.Parameter.empty:
                assert options[spelled].default == one.default


def test_sample_size(run, audited):
    code, out, _ = run("sample-size", "--accuracy", "0.92", "--require", "clean.accuracy>=0.9", "--width", "4pt")
    assert code == 0
    assert "gate clean.accuracy>=0.9 passes in 90% of audits: 2,239 images" in out
    code, out, _ = run("sample-size", "first run", "--difference", "5pt", "--not-worse-than", "2pt", "--json")
    plan = json.loads(out)
    assert (code, plan["images"], len(plan["goals"]), len(plan["shows"])) == (0, 60, 4, 5)
    paired, apart = (one["images"] for one in plan["goals"][:2])
    assert 0.8 * apart < paired < 1.2 * apart, "models that err independently gain nothing from the same images"
    assert not any(one["enough"] for one in plan["goals"])
    code, out, _ = run("sample-size", "first run", "--baseline", "first run", "--difference", "5pt", "--json")
    assert json.loads(out)["goals"][0]["images"] < paired, "models that agree need fewer images"
    code, out, _ = run("sample-size", "first run", "--require", "calibration.ece<=0.5")
    assert code == 0
    for wrong, message in (
        (("--width", "4pt"), "no accuracy to plan from"),
        (("--accuracy", "0.9"), "nothing to plan"),
        (("--accuracy", "0.9", "--width", "4%"), "expected points such as 1pt"),
        (("--accuracy", "0.9", "--width", "4pt", "--unit-size", "8"), "units of 8 images need their correlation"),
        (("--accuracy", "0.9", "--width", "4pt", "--icc", "0.3"), "name their size"),
        (("--accuracy", "1.5", "--width", "4pt"), "lies strictly between 0 and 1, got 1.5"),
        (("--accuracy", "0.8", "--require", "clean.accuracy>=0.9"), "however many images"),
        (("--accuracy", "0.8", "--require", "calibration.ece<=0.1"), "without a run only clean.accuracy"),
        (("--accuracy", "0.8", "--require", "findings.severe<=0"), "only gates on the interval of a figure"),
        (("first run", "--baseline", "other", "--difference", "1pt"), "other images than the run"),
        (("--accuracy", "0.9", "--difference", "5pt", "--disagreement", "0.01"), "disagree on at least as many images"),
        (("nowhere", "--width", "4pt"), "no such folder"),
    ):
        code, _, err = run("sample-size", *wrong)
        assert code == 2, wrong
        assert message in " ".join(err.split()), wrong


def test_a_gate_is_planned_from_the_end_that_it_rests_on_and_from_no_interval_without_width(run, audited, tmp_path):
    place = tmp_path / "first run" / "report.json"
    report = json.loads(place.read_bytes())

    def measured(low, high):
        report["metrics"]["calibration.ece"] |= {"value": 0.1, "low": low, "high": high}
        place.write_text(json.dumps(report), encoding="utf-8")

    for low, high, relation in ((0.08, 0.13, "<=0.16"), (0.07, 0.12, ">=0.04")):
        measured(low, high)
        code, out, _ = run("sample-size", "first run", "--require", f"calibration.ece{relation}", "--json")
        # The end lies half the room to the bound away, 1.96 standard errors of 60 images; 3.24 are needed.
        assert (code, json.loads(out)["goals"][0]["images"]) == (0, 42)
    measured(0.1, 0.1)
    code, _, err = run("sample-size", "first run", "--require", "calibration.ece<=0.5")
    assert (code, "ends at the value itself, 0.1000" in " ".join(err.split())) == (2, True)


def test_requirements(run, audited, tmp_path):
    (tmp_path / "requirements.toml").write_text(
        '[[requirement]]\nid = "R1"\ntext = "Mostly right"\nmetric = "clean.accuracy >= 0.5"\n'
        '[[requirement]]\nid = "R2"\ntext = "Sure"\nmetric = "drift.auroc <= 0.7"\n',
        encoding="utf-8",
    )
    code, out, _ = run("requirements", "requirements.toml", "first run", "other", "--out", "table")
    assert code == 0
    assert "R1 Mostly right" in out
    assert "not measured" in out
    command = next(line.strip() for line in out.splitlines() if line.strip().startswith("snellen audit"))
    assert command.endswith("--checks clean,calibration,drift --train TRAIN --limit 60 --seed 0 --out 'first run-more'")
    assert {one.name for one in (tmp_path / "table").iterdir()} >= {
        "requirements.html",
        "requirements.md",
        "requirements.json",
    }
    assert run("requirements", "requirements.toml", "first run", "--fail-unless-met")[0] == 3
    code, out, _ = run("requirements", "requirements.toml", "first run", "--json")
    assert json.loads(out)["rows"][0]["cells"][0]["verdict"] == "met"
    code, _, err = run("requirements", "nowhere.toml", "first run")
    assert (code, "nowhere.toml cannot be read" in err) == (2, True)


def test_not_worse_than(run, audited):
    code, out, _ = run(
        *QUICK, "--out", "again", "--baseline", "first run", "--not-worse-than", "20pt", "--junit", "x.xml"
    )
    assert code == 0
    assert "met      clean.accuracy less than 0.2 worse than the baseline: the loss is +0.0000" in out
    code, out, _ = run(*QUICK, "--out", "again", "--baseline", "first run", "--not-worse-than", "0.1pt")
    assert code == 3
    assert "not met  clean.accuracy less than 0.001 worse" in out
    assert run("compare", "first run", "again", "--not-worse-than", "20pt")[0] == 0
    assert run("compare", "first run", "again", "--not-worse-than", "0.1pt")[0] == 3
    code, out, _ = run("compare", "first run", "again", "--not-worse-than", "class.Ankle boot.accuracy=90pt")
    assert "class.Ankle boot.accuracy less than 0.9 worse" in out
    for wrong, message in (
        (("--not-worse-than", "1pt"), "name its run directory with --baseline"),
        (("--baseline", "first run", "--not-worse-than", "1%"), "expected points such as 1pt"),
        (("--baseline", "first run", "--not-worse-than", "drift.auroc=1pt"), "no better side"),
        (("--baseline", "first run", "--not-worse-than", "clean.acuracy=1pt"), "no better side"),
        (("--baseline", "first run", "--not-worse-than", "selective.aurc=1pt"), "does not run in this audit"),
        (
            ("--baseline", "first run", "--not-worse-than", "class.Ankle bot.accuracy=1pt"),
            "'class.Ankle boot.accuracy'",
        ),
    ):
        code, _, err = run(*QUICK, "--out", "never", *wrong)
        assert code == 2, wrong
        assert not Path("never").exists(), "refused before the audit"
        assert message in " ".join(err.split()), (wrong, err)


def test_a_file_holds_margin_and_ledger(run, audited, tmp_path):
    (tmp_path / "audit.toml").write_text(
        'model = "bundled:fashion-cnn"\ndata = "bundled:fashion-mnist"\nlimit = 60\nchecks = ["clean", "calibration"]\n'
        'out = "again"\n[gate]\nbaseline = "first run"\nnot_worse_than = ["0.1pt"]\nledger = "."\n',
        encoding="utf-8",
    )
    code, out, _ = run("audit", "audit.toml")
    assert code == 3
    assert "Ledger: the first audit of these images." in out
    assert [json.loads(row)["kind"] for row in (tmp_path / "test-sets.jsonl").read_text().splitlines()] == [
        "audit",
        "gate",
    ]
    assert snellen.audit(str(tmp_path / "audit.toml"), out=tmp_path / "python").data["ledger"]["gates"] == 0


def test_monitor(run, tmp_path):
    assert run("audit", "--limit", "300", "--checks", "clean,data_quality", "--out", "run")[0] == 0
    rng = np.random.default_rng(0)
    (tmp_path / "new").mkdir()
    images = snellen.load_images("bundled:fashion-mnist").limit(80, 5)
    with (tmp_path / "new" / "table.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "taken"])
        for index in range(80):
            images.read(index).save(tmp_path / "new" / f"{index}.png")
            table.writerow([f"{index}.png", f"2026-0{1 + index // 40}-10"])
    given = ("monitor", "run", "new/table.csv", "--column", "image=path", "--date", "taken", "--every", "month")
    code, out, _ = run(*given, "--out", "watched", "--fail-below", "0.5")
    assert code == 0
    lines = [line for line in out.splitlines() if line.startswith("2026-02-10: images 40, verdict ")]
    assert len(lines) == 1
    assert "area of drift 0." in lines[0]
    assert (tmp_path / "watched" / "monitoring.html").is_file()
    assert run(*given, "--fail-below", "0.999")[0] == 3
    assert run(*given, "--fail-below", "90")[0] == 2, "a share, and not percent"
    code, out, _ = run(*given, "--json")
    assert len(json.loads(out)["windows"]) == 2
    for beside, message in ((("--column", "unit=x"), "columns came"), (("--table", "t.csv"), "--table t.csv came")):
        code, _, err = run("monitor", "run", "watched/audit", *beside)
        assert (code, f"{message} with a run directory" in " ".join(err.split())) == (2, True), err
    Image.fromarray(rng.integers(0, 255, (28, 28), dtype=np.uint8)).save(tmp_path / "new" / "0.png")
    code, _, err = run("monitor", "run", "new/table.csv", "--column", "image=path", "--date", "day")
    assert code == 2
    assert "no column 'day' with dates" in err
