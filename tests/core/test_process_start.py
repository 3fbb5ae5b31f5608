"""A process of ours searches for garbage less often while it starts, and as usual afterwards."""

import gc
import subprocess
import sys
from textwrap import dedent

import pytest

from snellen.cli.progress import TerminalProgress, loading
from snellen.core.errors import InputError
from snellen.core.process_start import begin_start, end_start


@pytest.fixture(autouse=True)
def as_before():
    before = gc.get_threshold()
    yield
    end_start()
    gc.set_threshold(*before)


def test_python_searches_less_often_until_the_start_has_ended():
    usual = gc.get_threshold()
    begin_start()
    assert gc.get_threshold()[0] > 100 * usual[0]
    assert gc.get_threshold()[1:] == usual[1:]
    begin_start()
    end_start()
    assert gc.get_threshold() == usual


def test_a_process_of_somebody_else_is_left_as_it_is():
    usual = gc.get_threshold()
    with loading("nothing"), TerminalProgress():
        pass
    assert gc.get_threshold() == usual


@pytest.mark.parametrize("watched", [lambda: loading("nothing"), TerminalProgress], ids=["loading", "progress"])
def test_a_command_has_started_once_it_has_loaded_or_shows_progress(watched):
    usual = gc.get_threshold()
    begin_start()
    with watched():
        pass
    assert gc.get_threshold() == usual


def test_a_start_that_fails_ends_as_well():
    usual = gc.get_threshold()
    begin_start()
    with pytest.raises(InputError), loading("nothing"):
        raise InputError("no such model")
    assert gc.get_threshold() == usual


def test_the_command_line_begins_so_and_importing_the_package_does_not():
    program = """
        import gc
        usual = gc.get_threshold()
        from snellen.cli import app
        import snellen.runs.engines.worker
        imported = gc.get_threshold()
        app.app = lambda: print(imported == usual, gc.get_threshold() == usual)
        app.main()
        print(gc.get_threshold() == usual)
    """
    done = subprocess.run([sys.executable, "-c", dedent(program)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "True"], done.stderr
