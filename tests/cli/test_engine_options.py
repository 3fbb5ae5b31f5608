"""Engines, shards and parts on the command line."""

import json
import signal

import pytest

from snellen.cli.engine_options import EngineName, ended_like_ctrl_c
from snellen.runs.engines.choosing import ENGINES

DATA = ("bundled:fashion-cnn", "bundled:fashion-mnist")
AUDIT = ("audit", *DATA, "--limit", "40", "--batch-size", "4", "--checks", "clean")


def test_the_command_line_knows_every_engine():
    assert tuple(EngineName) == ENGINES


def test_parts_and_then_the_whole(run, tmp_path):
    code, out, err = run(*AUDIT, "--shards", "4", "--out", "parts", "--part", "2/2")
    assert (code, err.strip()) == (0, "")
    assert out.startswith("Part 2/2 is done; 2 of 4 shards are there. The same call without a part does what is left")
    assert not (tmp_path / "parts" / "report.json").exists()
    code, out, _ = run(*AUDIT, "--out", "parts")
    assert code == 0
    assert "clean.accuracy" in out
    assert json.loads((tmp_path / "parts" / "manifest.json").read_text())["shards"] == {"audit": 4}
    run(*AUDIT, "--out", "whole")
    assert (tmp_path / "parts" / "report.json").read_bytes() == (tmp_path / "whole" / "report.json").read_bytes()
    code, _, err = run(*AUDIT, "--out", "whole", "--shards", "3")
    assert code == 2
    assert "differs in: shards" in err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--part", "1/2"], "--part needs --out"),
        (["--part", "1/2", "--out", "x", "--fail-on", "severe"], "go with the command without --part"),
        (["--part", "3/2", "--out", "x"], "a part is I/N"),
        (["--engine", "locl"], "'local'"),
        (["--engine", "in_process", "--processes", "2"], "one process"),
        (["--address", "head:6379"], "Ray cluster"),
        (["--engine", "ray", "--address", "local"], "HOST:PORT or auto"),
        (["--shards", "0"], "greater than or equal to 1"),
        (["--threads", "0"], "greater than or equal to 1"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(run, tmp_path, options, told):
    before = sorted(tmp_path.iterdir())
    code, _, err = run(*AUDIT, *options)
    assert code == 2
    assert told in " ".join(err.split())
    assert sorted(tmp_path.iterdir()) == before


def test_sigterm_is_answered_as_ctrl_c_is_and_only_inside():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), ended_like_ctrl_c():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
