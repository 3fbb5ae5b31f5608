"""Engines in this process and in several: results, errors, deaths, and that nothing is left behind."""

import os
import select
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from snellen.core.errors import InputError, ModelError, WorkerError
from snellen.runs.engines.engine import InProcess
from snellen.runs.engines.local import Local

pytestmark = pytest.mark.timeout(60)

ENGINES = [InProcess(), Local(1), Local(3)]


def jobs(*contents):
    return list(enumerate(contents))


def children():
    """Processes that this one started and that are not gone."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        # A thread may end between being listed and being read; it has no children then.
        with suppress(FileNotFoundError, ProcessLookupError):
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return found


def wait_for(pid):
    """Wait until a process is gone, whoever started it."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 60)[0], f"process {pid} is still there"
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_job_has_its_result(engine):
    contents = [f"job {n}".encode() for n in range(20)]
    found = dict(engine.run("piecework:shouting", {"mark": "!", "alone": isinstance(engine, Local)}, jobs(*contents)))
    assert found == {n: content.upper() + b"!" for n, content in enumerate(contents)}
    assert not children()


@pytest.mark.parametrize("engine", ENGINES)
def test_without_jobs_there_are_no_results(engine):
    assert list(engine.run("piecework:shouting", {"mark": "!"}, [])) == []


def test_large_jobs_and_results_do_not_block():
    content = os.urandom(3_000_000)
    results = dict(Local(2).run("piecework:large", {}, jobs(content, content[:-1], b"", content)))
    assert results == {0: content * 2, 1: content[:-1] * 2, 2: b"", 3: content * 2}


def test_each_process_is_started_once_and_knows_where_it_is():
    told = [content.decode().split() for _, content in Local(2).run("piecework:placed", {}, jobs(*[b""] * 40))]
    assert 1 <= len({pid for pid, _, _ in told}) <= 2
    assert {folder for _, folder, _ in told} == {os.getcwd()}
    assert {policy for _, _, policy in told} == {"PASSIVE"}
    assert str(os.getpid()) not in {pid for pid, _, _ in told}


def test_ctrl_c_in_a_terminal_is_for_who_started_the_workers_alone():
    ((_, told),) = Local(1).run("piecework:interrupted", {}, jobs(b""))
    group, ignored = told.decode().split()
    assert (int(group) != os.getpgrp(), ignored) == (True, "True")


def test_a_module_in_the_current_folder_is_not_taken_for_one_of_ours(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('not the json that was meant')")
    (tmp_path / "snellen").mkdir()
    (tmp_path / "snellen" / "__init__.py").write_text("raise SystemExit('nor this')")
    monkeypatch.chdir(tmp_path)
    assert list(Local(1).run("piecework:shouting", {"mark": "?"}, jobs(b"a"))) == [(0, b"A?")]


def test_jobs_are_requested_one_by_one():
    """No more of them than workers and results that wait: a set of a million images is not in memory at once."""
    asked = []

    def many():
        for number in range(1000):
            asked.append(number)
            yield number, b"a"

    with closing(Local(2).run("piecework:shouting", {"mark": ""}, many())) as results:
        next(results)
        assert len(asked) < 20
    assert not children()


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_an_error_of_ours_is_raised_as_what_it_is_and_any_other_with_its_place(engine):
    with pytest.raises(ModelError, match=r"^scores are wrong$"):
        list(engine.run("piecework:failing", {}, jobs(b"a", b"ours")))
    with pytest.raises(WorkerError, match=r"worker \d \(process \d+\) failed(?s:.*)piecework.py(?s:.*)not ours"):
        list(engine.run("piecework:failing", {}, jobs(b"other", b"a")))
    assert not children()


def test_what_cannot_be_opened_is_reported_at_once():
    with pytest.raises(ModelError, match="no such model"):
        list(Local(2).run("piecework:unopenable", {}, jobs(b"a", b"b")))
    with pytest.raises(WorkerError, match="ended before it could begin: exit status 7"):
        list(Local(2).run("piecework:unopenable", {"end": True}, jobs(b"a", b"b")))
    with pytest.raises(WorkerError, match="No module named 'no_such_module'"):
        list(Local(1).run("no_such_module:work", {}, jobs(b"a")))


def test_an_error_of_whoever_makes_the_jobs_is_raised():
    def broken():
        yield 0, b"a"
        raise KeyError("no more")

    with pytest.raises(KeyError, match="no more"):
        list(Local(2).run("piecework:shouting", {"mark": ""}, broken()))
    assert not children()


def test_a_worker_that_dies_is_replaced_once_for_each_job(tmp_path):
    contents = jobs(b"a", b"die", b"b", b"die again", b"c")
    setup = {"folder": str(tmp_path), "times": 1}
    assert sorted(Local(1).run("piecework:dying", setup, contents)) == contents
    assert sorted(path.name for path in tmp_path.iterdir()) == ["die again-0", "die-0"]


def test_a_job_that_kills_two_workers_ends_the_run_and_is_named(tmp_path):
    told = r"worker \d \(process \d+\) ended twice in piece 3 of the work: signal 9 .*memory is short.*the last words"
    with pytest.raises(WorkerError, match=told):
        list(Local(2).run("piecework:dying", {"folder": str(tmp_path), "times": 3}, jobs(b"a", b"b", b"die")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["die-0", "die-1"]
    assert not children()


def test_who_stops_early_leaves_no_process_behind(tmp_path):
    """Also while all workers are busy with what never ends."""
    with closing(Local(2).run("piecework:hanging", {"folder": str(tmp_path)}, jobs(b"a", b"b", b"c"))) as results:
        assert next(results) == (0, b"a")
        while len(list(tmp_path.glob("began-*"))) < 2:
            pass
        assert len(children()) == 2
    assert not children()


def test_a_coordinator_that_is_killed_leaves_no_process_behind(tmp_path):
    code = (
        "from snellen.runs.engines.local import Local\n"
        f"list(Local(2).run('piecework:hanging', {{'folder': {str(tmp_path)!r}}}, [(0, b'b'), (1, b'c')]))"
    )
    coordinator = subprocess.Popen([sys.executable, "-c", code])
    pids: list[int] = []
    while len(pids) < 2:
        assert coordinator.poll() is None
        pids = [int(path.name.removeprefix("began-")) for path in tmp_path.glob("began-*")]
    coordinator.kill()
    coordinator.wait()
    for pid in pids:
        wait_for(pid)


def test_no_process_is_an_error():
    with pytest.raises(InputError, match="at least 1 process, got 0"):
        Local(0)
