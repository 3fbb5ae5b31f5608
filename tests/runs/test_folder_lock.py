"""Two calls that write into one folder: the second is told so, and the first is left alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from snellen.core.errors import RunConflictError
from snellen.runs.folder_lock import only_writer
from snellen.runs.unfinished import UNFINISHED, opened


def test_a_second_call_is_refused_and_takes_nothing_away(tmp_path):
    folder, plan = tmp_path / "out", {"seed": 0}
    with opened(folder, plan) as run:
        with (
            pytest.raises(RunConflictError, match=r"another call is writing into .*out at this moment"),
            opened(folder, plan),
        ):
            pytest.fail("two calls write into one folder")
        run.write_shard(0, {}, {"rows": []})
    assert (folder / UNFINISHED).is_dir()
    with opened(folder, plan) as again:
        assert again.done(0)


def test_a_killed_call_holds_nothing_and_nothing_is_left_in_the_folder(tmp_path):
    holding = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from snellen.runs.folder_lock import only_writer\n"
        "with only_writer(Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", holding, str(tmp_path / "out")], check=False)
    assert done.returncode == -9
    with only_writer(tmp_path / "out"):
        assert list((tmp_path / "out").iterdir()) == []
