"""Budgets, pictures, pseudonyms and full disks as a user meets them on the command line."""

import errno
import json
import os
import stat

import numpy as np
import pytest
import typer
from PIL import Image

from snellen.auditing import budgeting
from snellen.auditing.budgeting import Rates
from snellen.core.run import Run
from tests.auditing.kept_files import mentions, pictures

NAMES = ("Doe, Jane", "Roe", "Rosengarten")


@pytest.fixture
def clinic(tmp_path):
    """Two classes of images whose names are those of people, one of them damaged."""
    rng = np.random.default_rng(0)
    for number in range(12):
        place = tmp_path / "Rosengarten" / ("Bag", "Trouser")[number % 2] / f"Doe, Jane {number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (28, 28), dtype=np.uint8)).save(place)
    (tmp_path / "Rosengarten" / "Bag" / "Roe.png").write_bytes(b"no image")
    return tmp_path / "Rosengarten"


def flat(text):
    return " ".join(text.replace("│", " ").split())


def test_an_audit_that_may_be_shown_to_others(run, clinic, tmp_path):
    options = (
        "--no-images",
        "--pseudonyms",
        "names.json",
        "--checks",
        "clean,duplicates,label_noise",
        "--allow-rejected",
    )
    code, out, err = run("audit", "bundled:fashion-cnn", clinic, *options, "--out", "run")
    assert code == 0
    assert pictures(tmp_path / "run") == []
    assert mentions(tmp_path / "run", NAMES) == {}
    assert not [name for name in NAMES if name in out + err], "what is printed may be passed on, too"
    assert stat.S_IMODE((tmp_path / "names.json").stat().st_mode) == 0o600
    assert len(json.loads((tmp_path / "names.json").read_text())["names"]) == 13 + 1, "images, and the set"
    before = (tmp_path / "run" / "report.json").read_bytes()
    assert run("audit", "bundled:fashion-cnn", clinic, *options, "--out", "run")[0] == 0
    assert (tmp_path / "run" / "report.json").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--budget", "5"), "'5' is no time; write a number with its unit: 90s, 5m or 2h"),
        (("--budget", "0s"), "a budget must be a time above zero"),
        (("--budget", "5m", "--part", "1/2"), "give a limit instead"),
        (("--pseudonyms", "run/names.json"), "name a file of pseudonyms outside of it"),
        (("--pseudonyms", "missing/names.json"), "cannot write to missing/names.json: No such file or directory"),
        (("--pseudonyms", "Rosengarten"), "cannot be read: it is no regular file"),
        (("--pseudonyms", "Rosengarten/Bag/Roe.png"), "is no file of pseudonyms"),
    ],
)
def test_what_cannot_be_is_one_clear_message_and_writes_nothing(run, clinic, tmp_path, options, message):
    before = sorted(tmp_path.rglob("*"))
    code, _, err = run("audit", "bundled:fashion-cnn", clinic, "--checks", "clean", "--out", "run", *options)
    assert code == 2
    assert message in flat(err)
    assert "Traceback" not in err
    assert "resumes where this stopped" not in err, "nothing has begun"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_budget_is_reported_with_what_it_left_out(run, tmp_path, monkeypatch):
    # Of a machine on which a pass takes a millisecond, whatever this one is.
    monkeypatch.setattr(budgeting, "measure_rates", lambda *_, **__: Rates(each=0.001, forward=0.001))
    options = ("--checks", "clean,corruption,adversarial", "--limit", "1000", "--budget", "60s", "--out", "run")
    code, out, _ = run("audit", *options)
    assert code == 0
    chosen = json.loads((tmp_path / "run" / "manifest.json").read_text())["budget"]
    assert chosen["left_out"].keys() == {"corruption"}
    assert "check corruption skipped: is left out: over the budget of 60 s, estimated 88 s" in flat(out)
    before = (tmp_path / "run" / "report.json").read_bytes()
    assert run("audit", *options)[0] == 0
    assert (tmp_path / "run" / "report.json").read_bytes() == before
    code, _, err = run("audit", *options[:4], "--budget", "50s", "--out", "run")
    assert code == 2
    assert "differs in: budget" in flat(err)


@pytest.mark.parametrize(
    "command",
    [
        ("audit", "bundled:fashion-cnn", "Rosengarten", "--checks", "clean", "--allow-rejected"),
        ("attack", "fgsm", "bundled:fashion-cnn", "Rosengarten", "--no-images", "--allow-rejected"),
        (
            "shift",
            "corruption",
            "Rosengarten",
            "--kind",
            "contrast",
            "--severity",
            "1",
            "--no-contact-sheet",
            "--allow-rejected",
        ),
    ],
)
def test_a_full_disk_is_reported_with_the_way_to_go_on(run, clinic, tmp_path, monkeypatch, command):
    real = Run.write_shard

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Run, "write_shard", full)
    code, _, err = run(*command)
    assert code == 2
    assert "No space left on device" in err
    assert "Traceback" not in err
    folder = f"snellen-{command[0]}-1"
    begun = (tmp_path / folder).exists()  # an audit; a first shard that fails leaves nothing of the others
    assert begun == (command[0] == "audit")
    assert (f"the same command with --out {folder} resumes where this stopped" in flat(err)) == begun
    monkeypatch.setattr(Run, "write_shard", real)
    assert run(*command, "--out", folder)[0] == 0
    assert (tmp_path / folder / {"audit": "report.json"}.get(command[0], f"{command[0]}.json")).is_file()


@pytest.mark.parametrize(
    ("command", "written"),
    [
        (("attack", "fgsm", "bundled:fashion-cnn", "Rosengarten"), "attack.json"),
        (("shift", "corruption", "Rosengarten", "--kind", "contrast", "--severity", "1"), "shift.json"),
    ],
)
def test_attacks_and_shifts_under_pseudonyms(run, clinic, tmp_path, command, written):
    code, out, _ = run(*command, "--allow-rejected", "--pseudonyms", "names.json", "--out", "made")
    assert code == 0
    assert (tmp_path / "made" / written).is_file()
    assert mentions(tmp_path / "made", NAMES) == {}
    assert not [name for name in NAMES if name in out]


def test_a_full_disk_behind_the_output_is_reported_too(run, monkeypatch):
    echo = typer.echo

    def full(message=None, *arguments, err=False, **options):
        if not err:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        echo(message, *arguments, err=True, **options)

    monkeypatch.setattr(typer, "echo", full)
    code, _, err = run("systems", "--json")
    assert code == 2
    assert "cannot write to the output: No space left on device" in flat(err)
    assert "Traceback" not in err
    assert "fault in Snellen" not in err


@pytest.mark.parametrize(
    ("place", "message"),
    [("Rosengarten/Bag/Roe.png", "is a file, not a folder"), ("n" * 300, "cannot write to")],
)
def test_a_place_that_can_be_no_folder_is_reported(run, clinic, place, message):
    code, _, err = run("audit", "bundled:fashion-cnn", clinic, "--checks", "clean", "--out", place)
    assert code == 2
    assert message in flat(err)
    assert "Traceback" not in err
    assert "resumes where this stopped" not in err
