"""An audit that is stopped, by whatever, goes on where it stopped and leaves no process behind."""

import os
import random
import signal
import sys

import pytest

from tests.auditing.interrupted_audits import begin, children_of, finish, shards_of, still_there, wait_for_shards

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The report of an audit that nobody stopped."""
    return finish(tmp_path_factory.mktemp("whole") / "run")


def test_killed_twice_at_random_moments_with_workers_and_finished_without(whole, tmp_path):
    out, moments = tmp_path / "run", sorted(random.Random(7).sample(range(1, 11), 2))
    for shards, processes in zip(moments, (2, 1), strict=True):
        process = begin(out, "--engine", "local", "--processes", str(processes))
        wait_for_shards(process, out, shards)
        workers = children_of(process.pid)
        process.kill()
        process.communicate()
        assert len(workers) == processes
        assert not still_there(workers), "workers see that their input ended"
        assert not (out / "report.json").exists()
    there = shards_of(out)
    stamps = [(out / "shards" / name / "extra.json").stat().st_mtime_ns for name in there]
    assert len(there) >= moments[-1]
    assert finish(out) == whole
    assert [(out / "shards" / name / "extra.json").stat().st_mtime_ns for name in there] == stamps


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_the_workers_and_say_how_to_go_on(whole, tmp_path, number):
    out = tmp_path / "run"
    process = begin(out, "--engine", "local", "--processes", "1")
    wait_for_shards(process, out, 1)
    workers = children_of(process.pid)
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)  # else a fast machine is through before the signal is answered
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 130
    assert f"stopped; {out} is incomplete, and the same command resumes where this stopped" in said
    assert "Traceback" not in said
    assert len(workers) == 1
    assert not still_there(workers, 0)
    assert 1 <= len(shards_of(out)) < 12
    assert finish(out) == whole


def test_parts_and_whole_audits_at_the_same_time_in_one_folder(whole, tmp_path):
    out = tmp_path / "run"
    others = [begin(out), begin(out, "--part", "2/2")]
    wait_for_shards(others[0], out, 1)
    assert finish(out) == whole
    for process in others:
        _, said = process.communicate()
        assert process.returncode == 0, said
    assert len(shards_of(out)) == 12
    assert (out / "report.json").read_bytes() == whole
