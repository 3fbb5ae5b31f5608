"""A process of ours searches for garbage less often while it starts, and as usual afterwards."""

import gc
import subprocess
import sys

import pytest

from snellen.cli.progress import TerminalProgress, loading
from snellen.core import process_start
from snellen.core.process_start import begin_start, end_start


@pytest.fixture(autouse=True)
def as_before():
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_what_was_imported_is_searched_no_more_and_the_rest_as_usual():
    usual = gc.get_threshold()
    begin_start()
    assert gc.get_threshold()[0] > 100 * usual[0]
    assert gc.get_threshold()[1:] == usual[1:]
    end_start()
    assert gc.get_threshold() == usual
    assert gc.get_freeze_count() > 10_000


def test_a_process_of_somebody_else_is_left_as_it_is():
    usual = gc.get_threshold()
    with loading("nothing"), TerminalProgress():
        pass
    assert (gc.get_threshold(), gc.get_freeze_count()) == (usual, 0)


@pytest.mark.parametrize("watched", [lambda: loading("nothing"), TerminalProgress], ids=["loading", "progress"])
def test_a_command_has_started_once_it_has_loaded_or_shows_progress(watched):
    begin_start()
    with watched():
        pass
    assert gc.get_freeze_count()
    assert gc.get_threshold() == process_start._USUAL


def test_the_command_line_begins_so_and_importing_the_package_does_not():
    asked = "import gc; before = gc.get_threshold(); {}; print(gc.get_threshold() == before)"
    imported = asked.format("import snellen.cli.app, snellen.runs.engines.worker")
    begun = asked.format(
        "import sys, atexit; sys.argv = ['snellen', '--version']; from snellen.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n0"
    )
    for program, unchanged in ((imported, "True"), (begun, "False")):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.split()[-1] == unchanged, done.stderr
