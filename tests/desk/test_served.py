"""A desk in its own process: many clients at once, a kill in the middle of a review, jobs that end with it."""

import http.client
import os
import signal
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from snellen.desk.queues import queue_of
from snellen.desk.run_folder import finding_id
from snellen.desk.workplace import Workplace
from tests.desk.made_runs import write_images, write_run
from tests.desk.served import served

pytestmark = [pytest.mark.usefixtures("socket_enabled"), pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture
def queue(place):
    """Address of a queue and its items."""
    run = next(one for one in Workplace(place).runs() if one.name == "first")
    finding = run.findings[0]
    return f"/runs/{run.id}/review/{finding_id(finding)}", [one.key for one in queue_of(run, finding, None).items]


def kept(place):
    base = sqlite3.connect(place / "snellen-desk" / "decisions.sqlite")
    rows = base.execute("SELECT reviewer, item, verdict, number FROM entries").fetchall()
    assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    base.close()
    return rows


def test_it_listens_to_this_machine_alone_and_says_where_its_files_are(place):
    with served(place) as desk:
        assert desk.link.startswith("http://127.0.0.1:")
        assert len(desk.token) >= 43
        assert str(place / "snellen-desk" / "thumbnails") in desk.printed
        if (loaded := Path(f"/proc/{desk.process.pid}/maps")).exists():
            assert "libtorch" not in loaded.read_text(), "it starts without what takes seconds to load"
        found = (
            [
                line.split()[1]
                for line in open("/proc/net/tcp").read().splitlines()[1:]  # noqa: SIM115
                if line.split()[3] == "0A" and int(line.split()[1].rpartition(":")[2], 16) == desk.port
            ]
            if os.path.exists("/proc/net/tcp")
            else ["0100007F:"]
        )
        assert all(one.startswith("0100007F:") for one in found)
        assert found


def test_a_hundred_clients_at_once_lose_nothing(place, queue):
    address, items = queue
    failed, numbers = [], []

    def client(number):
        try:
            own = http.client.HTTPConnection("127.0.0.1", desk.port, timeout=600)
            for verdict in ("keep", "drop"):
                item = items[number % len(items)]
                given = {"item": item, "reviewer": f"r{number}", "verdict": verdict}
                answer = desk.ask("POST", f"{address}/decide", given, own)
                assert answer["status"] == 200
                numbers.append(answer["number"])
                assert desk.ask("GET", f"{address}/items?reviewer=r{number}", None, own)["decided"] == {
                    item: [verdict, None]
                }
            own.close()
        except BaseException as error:
            failed.append(error)

    with served(place) as desk:
        threads = [threading.Thread(target=client, args=(number,)) for number in range(100)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert failed == []
    assert len(set(numbers)) == len(kept(place)) == 200


def test_a_desk_that_is_killed_loses_no_decision_that_it_answered_for(place, queue):
    address, items = queue
    answered: dict[int, tuple[str, str, str]] = {}

    def client(name):
        own = http.client.HTTPConnection("127.0.0.1", desk.port, timeout=600)
        place = 0
        while True:
            given = {"item": items[place % len(items)], "reviewer": name, "verdict": ("keep", "drop")[place % 2]}
            try:
                found = desk.ask("POST", f"{address}/decide", given, own)
            except (OSError, http.client.HTTPException):
                return
            answered[found["number"]] = (name, given["item"], given["verdict"])
            place += 1

    for turn in range(2):
        with served(place) as desk:
            before = len(answered)
            threads = [threading.Thread(target=client, args=(f"t{turn}-{number}",)) for number in range(6)]
            for one in threads:
                one.start()
            until = time.monotonic() + 60
            while len(answered) < before + 40 and time.monotonic() < until:
                time.sleep(0.005)
            os.kill(desk.process.pid, signal.SIGKILL)
            for one in threads:
                one.join()
    found = {number: (name, item, verdict) for name, item, verdict, number in kept(place)}
    assert len(answered) >= 80
    assert {number: found.get(number) for number in answered} == answered
    assert len(found) <= len(answered) + 12, "at most one unanswered decision of each client of each turn"


@pytest.mark.skipif(os.name != "posix", reason="looks into /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_jobs_end_with_the_desk_however_it_ends(place, end):
    write_images(place.parent / "many", 6)
    with served(place) as desk:
        given = {"model": ["bundled:scene-cnn"], "data": ["optotypes:scenes?count=4000&size=32#test"], "only": [""]}
        assert desk.ask("POST", "/jobs/start", given)["status"] == 303
        until = time.monotonic() + 60
        while not (children := _children(desk.process.pid)) and time.monotonic() < until:
            time.sleep(0.02)
        assert len(children) == 1
        os.kill(desk.process.pid, end)
        desk.process.wait(30)
        while any(map(_alive, children)) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(map(_alive, children))


def _children(parent):
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as stat:
                if int(stat.read().rpartition(")")[2].split()[1]) == parent:
                    found.append(int(name))
        except OSError:
            continue
    return found


def _alive(process):
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_port_that_is_taken_and_a_folder_that_is_none_are_errors(place, tmp_path):
    with served(place) as desk, pytest.raises(AssertionError, match="port"), served(place, "--port", str(desk.port)):
        pass
    with pytest.raises(AssertionError, match="is no folder"), served(tmp_path / "nowhere"):
        pass


def test_another_place_for_its_files(place, tmp_path):
    with served(place, "--store", str(tmp_path / "my desk")) as desk:
        assert desk.ask("GET", "/jobs")["status"] == 200
    assert (tmp_path / "my desk" / "decisions.sqlite").is_file()
    assert not (place / "snellen-desk").exists()


def test_a_run_by_itself_keeps_its_folder_as_it_is(place):
    before = sorted(one.name for one in (place / "first").iterdir())
    with served(place / "first") as desk:
        assert desk.ask("GET", "/")["status"] == 200
    assert sorted(one.name for one in (place / "first").iterdir()) == before
    assert (place / "snellen-desk" / "decisions.sqlite").is_file(), (
        "that of the folder around it: decisions are found again"
    )


def test_write_run_is_what_a_desk_reads(tmp_path):
    names = write_images(tmp_path / "p", 9)
    write_run(tmp_path / "r" / "one", names)
    (run,) = Workplace(tmp_path / "r").runs()
    assert (run.kind, run.status, len(run.findings)) == ("audit", "finished", 6)
