"""``snellen search`` as a user calls it: a plan, a search, the audit that it prints, and what goes wrong."""

import json
import shlex
from pathlib import Path

import pytest
from PIL import Image

from snellen import load_images

DATA = "optotypes:scenes?count=24&size=16&shapes=star,ring#train"
COMMAND = (
    "search", "cells", DATA, "--candidates", "4", "--population", "3", "--tournament", "2", "--side", "8", "--channels",
    "4", "--epochs", "1", "--final-epochs", "2", "--probe-images", "4", "--out", "my search",
)  # fmt: skip


def test_a_plan_takes_a_moment_and_writes_nothing(run, tmp_path):
    code, out, err = run(*COMMAND, "--dry-run")
    assert (code, err.strip()) == (0, "")
    assert "4 candidates; the time is without a hit" in out
    assert "time: about" in out
    assert not list(tmp_path.iterdir())


def test_a_search_prints_its_account_and_the_audit_runs_as_printed(run):
    code, out, _ = run(*COMMAND)
    assert code == 0
    assert "candidates" in out
    assert "saved, hashing taken off" in out
    assert "Written: my search/search.json" in out
    (line,) = [line for line in out.splitlines() if line.startswith("Next, ")]
    command = shlex.split(line.partition(": ")[2])
    assert command[-1] == DATA.replace("#train", "#test"), "images that neither trained nor chose"
    assert command[:2] == ["snellen", "audit"]
    code, audited, err = run(*command[1:], "--checks", "clean")
    assert code == 0, err
    assert "report.html" in audited
    code, out, _ = run(*COMMAND, "--json")
    assert code == 0
    assert json.loads(out) == json.loads(Path("my search/search.json").read_bytes())


def test_a_search_audits_its_classifier_where_images_are_given(run):
    """A second call finds search and audit finished, and changes neither; images that are not there end it first."""
    unseen = DATA.replace("#train", "#test")
    code, _, err = run(*COMMAND, "--audit", "nowhere")
    assert code == 2
    assert "nowhere" in err
    assert not Path("my search").exists()
    code, out, err = run(*COMMAND, "--audit", unseen)
    assert code == 0, err
    report = Path("my search/audit/report.json")
    assert f"Report: {report.with_suffix('.html')}" in out
    found = json.loads(report.read_bytes())
    assert (found["model"]["name"], found["data"]["images"]) == ("artifact:classifier", len(load_images(unseen)))
    kept = report.read_bytes(), Path("my search/search.json").read_bytes()
    code, out, err = run(*COMMAND, "--audit", unseen, "--json")
    assert code == 0, err
    assert json.loads(out) == json.loads(kept[1])
    assert "Audit: my search/audit" in err
    assert (report.read_bytes(), Path("my search/search.json").read_bytes()) == kept


def test_an_audit_on_images_that_trained_reports_the_leak(run):
    code, _, err = run(*COMMAND, "--audit", DATA, "--json")
    assert code == 0, err
    findings = json.loads(Path("my search/audit/report.json").read_bytes())["findings"]
    leaked = {one["subject"]: one["facts"]["images"] for one in findings if one["kind"] == "leakage"}
    assert leaked["exact, training"] == len(load_images(DATA))


@pytest.mark.parametrize(
    ("unseen", "fault"),
    [
        ("pictures", "needs images with one label each, and these have none"),
        ("optotypes:scenes?count=6&size=16&shapes=star,heart#test", "none of the classifier's 2 classes: 'heart'"),
    ],
)
def test_images_that_cannot_audit_are_refused_before_the_search(run, unseen, fault):
    Path("pictures").mkdir()
    for number in range(2):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(f"pictures/{number}.png")
    code, _, err = run(*COMMAND, "--audit", unseen)
    assert code == 2
    assert fault in " ".join(err.split())
    assert not Path("my search").exists()


def test_without_a_space_the_help_lists_them(run):
    _, out, err = run("search")
    assert "cells" in out + err
    code, out, _ = run("search", "cells", "--help")
    assert code == 0
    assert "--mantissa-bits" in out


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--tournament", "4"), "a tournament of 4"),
        (("--learning-rate", "0"), "learning_rate"),
        (("--channels", "2"), "among up to 4 vertices; expected at least 4, got 2"),
        (("--stacks", "9"), "one pixel after 4 stacks; got 9"),
        (("--keys", "none", "--capacity", "3"), "capacity: without effect"),
        (("--val", DATA), "an image that trains cannot measure"),
        (("--val", "nowhere"), "nowhere"),
        (("--mantissa-bits", "60"), "--mantissa-bits"),
        (("--keys", "textual"), "textual"),
        (("--val", "optotypes:scenes?count=6&size=16&shapes=star,heart#val"), "other classes"),
    ],
)
def test_what_cannot_be_used_ends_in_one_sentence(run, options, fault):
    code, _, err = run(*COMMAND, *options)
    assert code == 2
    assert fault in " ".join(err.split())
    assert "Traceback" not in err


def test_a_folder_that_holds_something_else_is_refused(run):
    Path("my search").mkdir()
    Path("my search/notes.txt").write_text("mine")
    code, _, err = run(*COMMAND)
    assert code == 2
    assert "my search" in err
    assert Path("my search/notes.txt").read_text() == "mine"
