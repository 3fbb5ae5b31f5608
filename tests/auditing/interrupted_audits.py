"""An audit in a process of its own, to be stopped: for tests, and for scripts/measure_survival.py."""

import os
import select
import subprocess
import sys
import time
from pathlib import Path

from snellen.cli import main

#: A small audit that takes some seconds after everything is loaded.
COMMAND = (
    "audit", "bundled:fashion-cnn", "bundled:fashion-mnist", "--limit", "96", "--batch-size", "4", "--shards", "12",
    "--checks", "clean,calibration,corruption,adversarial", "--set", 'corruption.kinds=["brightness","fog"]',
    "--set", "corruption.severities=[1]", "--set", "adversarial.steps=5",
)  # fmt: skip


#: As from a terminal: who runs the tests in the background has told all children to ignore Ctrl-C.
_BEGIN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from snellen.cli import main; main()"


def begin(out, *options):
    """Start the command; everything that it prints is kept."""
    command = [sys.executable, "-c", _BEGIN, *words(out, *options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def words(out, *options):
    """Of the command, after ``snellen``."""
    return [*COMMAND, "--out", str(out), "--threads", "1", *options]


def finish(out):
    """Run the command to its end in this process, where everything is imported, and give the report's bytes."""
    before, sys.argv = sys.argv, ["snellen", *words(out)]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
    finally:
        sys.argv = before
    return (Path(out) / "report.json").read_bytes()


def shards_of(out):
    """Shards that are there."""
    folder = Path(out) / "shards"
    return sorted(path.name for path in folder.iterdir() if path.name.isdigit()) if folder.is_dir() else []


def wait_for_shards(process, out, count):
    """Wait until so many shards are there."""
    while len(shards_of(out)) < count:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)  # nobody tells of a folder that appears; looking all the time would slow the audit down


def children_of(pid):
    """Processes that a process started, and theirs."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children_of(child)]
    return found


def still_there(pids, seconds=60):
    """Those of these processes that are still there after some time; whoever is their parent now."""
    left = []
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        if not select.select([descriptor], [], [], seconds)[0]:
            left.append(pid)
        os.close(descriptor)
    return left
