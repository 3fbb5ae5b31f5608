"""From suspect labels to a plan of treatment: audits, decisions, the table, and the printed lines run as printed."""

import html
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import snellen
from snellen.cli.app import app
from snellen.desk.desk import Desk
from snellen.desk.run_folder import finding_id
from tests.desk.made_runs import Caller

SHAPES = "size=32&sizes=large&shapes=ring,star,heart,square,triangle,cross"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Audits of a pool with wrong labels, and of other images, whose folder has a name with a blank."""
    folder = tmp_path_factory.mktemp("my runs")
    drawn, rng = snellen.load_images(f"optotypes:scenes?count=240&{SHAPES}&seed=11#train"), np.random.default_rng(0)
    for place in range(len(drawn)):
        example = drawn[place]
        wrong = rng.random() < 0.25
        label = (example.label + 1) % 6 if wrong else example.label
        path = folder / "the pool" / drawn.class_names[label] / f"{place:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        example.image.save(path)
    exam = f"optotypes:scenes?count=300&{SHAPES}&seed=5#test"
    snellen.audit(
        "bundled:scene-cnn", folder / "the pool", checks=["clean", "label_noise"], out=folder / "runs" / "pool"
    )
    snellen.audit("bundled:scene-cnn", exam, checks=["clean"], out=folder / "runs" / "exam")
    return folder


def test_the_printed_lines_run_as_printed(place):
    desk = Desk(place / "runs")
    caller = Caller(desk)
    run = next(one for one in desk.workplace.runs() if one.name == "pool")
    finding = next(one for one in run.findings if one.kind == "label_noise")
    address = f"/runs/{run.id}/review/{finding_id(finding)}"
    for number, item in enumerate(caller.get(f"{address}/items").json()["items"][:6]):
        given = {"item": item["key"], "reviewer": "Ada"}
        given |= {"verdict": "relabel", "label": item["suggested"]} if number % 2 else {"verdict": "drop"}
        assert caller.post(f"{address}/decide", given).status == 200
    shown = caller.post(f"/runs/{run.id}/decided/write", {}).text
    lines = [shlex.split(html.unescape(one)) for one in re.findall(r'<code class="command">(.*?)</code>', shown)]
    assert "3 labels changed, 3 dropped, 0 disputed" in shown
    treat, audit = lines
    assert treat[:3] == ["snellen", "treat", str(place / "runs" / "exam")]
    found = CliRunner().invoke(app, [*treat[1:], "--plan-only"])
    assert found.exit_code == 0, found.output
    assert "last_layer_retraining" in found.output
    assert "237 training images" in found.output, "240 less those that were dropped"
    found = CliRunner().invoke(app, audit[1:])
    assert found.exit_code == 0, found.output
    again = snellen.open_report(audit[-1])
    assert again.metrics["clean.accuracy"].n == 237
    assert again.metrics["clean.accuracy"].value > snellen.open_report(run.path).metrics["clean.accuracy"].value
    desk.close()


def test_the_printed_line_of_a_limited_audit_examines_the_same_images(place):
    pool, runs = place / "the pool", place / "limited"
    first = snellen.audit(
        "bundled:scene-cnn",
        pool,
        checks=["clean", "label_noise", {"check": "duplicates", "examples": 5}],
        limit=90,
        seed=3,
        batch_size=32,
        out=runs / "part",
    )
    desk = Desk(runs / "part")
    caller = Caller(desk)
    (run,) = desk.workplace.runs()
    finding = next(one for one in run.findings if desk.queue(run, one).items)
    item = desk.queue(run, finding).items[0]
    given = {"item": item.key, "reviewer": "Ada", "verdict": "keep"}
    assert caller.post(f"/runs/{run.id}/review/{finding_id(finding)}/decide", given).status == 200
    shown = caller.post(f"/runs/{run.id}/decided/write", {}).text
    assert "150 further images" in shown
    (line,) = re.findall(r'<code class="command">(.*?)</code>', shown)
    words = shlex.split(html.unescape(line))
    found = CliRunner().invoke(app, words[1:])
    assert found.exit_code == 0, found.output
    plans = [json.loads((folder / "manifest.json").read_bytes()) for folder in (runs / "part", Path(words[-1]))]
    for key in ("checks", "seed", "batch_size", "save_images"):
        assert plans[0][key] == plans[1][key], "the second audit has all that the first one had"
    assert words[-1] == str(runs / "part-decided"), "beside the run, which stays as it is"
    again = snellen.open_report(words[-1])
    assert again.metrics["clean.accuracy"].value == first.metrics["clean.accuracy"].value
    desk.close()
    desk = Desk(runs / "part")
    assert {one.name for one in desk.workplace.runs()} == {"part", "part-decided"}
    desk.close()


def test_a_job_writes_a_run_that_the_desk_shows(place):
    desk = Desk(place / "runs")
    caller = Caller(desk)
    given = {"model": "bundled:scene-cnn", "data": f"optotypes:scenes?count=60&{SHAPES}&seed=9#test", "effort": "quick"}
    line = caller.post("/jobs/command", {**given, "out": "by a job"}).json()["line"]
    started = caller.post("/jobs/start", {**given, "out": "by a job"})
    assert started.status == 303
    job = desk.jobs.get(started.headers["location"].rsplit("/", 1)[1])
    assert job.line == line
    assert job._process.wait(120) == 0, job.output()
    now = caller.get(f"/jobs/{job.id}/state").json()
    assert (now["state"], now["code"]) == ("done", 0)
    assert "clean.accuracy" in now["output"]
    assert caller.get(f"/runs/{now['run_id']}").status == 200
    desk.close()
