"""Commands in pipes: a reader that stops is no error, and lines are as long as they are."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(tmp_path, arguments, reader):
    """A command piped into a shell's reader: exit code of the command, and what the reader saw."""
    command = f"'{sys.executable}' -c 'from snellen.cli import main; main()' {arguments}"
    script = f"{command} | {reader}; echo ${{PIPESTATUS[0]}}"
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, env=environment, check=True, timeout=600
    )
    return done.stdout.splitlines(), done.stderr


def test_a_reader_that_stops_leaves_the_exit_code_as_it_is(tmp_path):
    lines, errors = run(tmp_path, "systems --json", "head -1")
    assert lines == ["[", "0"]
    assert "Broken" not in errors
    audited = "audit bundled:fashion-cnn bundled:fashion-mnist --checks clean --limit 40 --out run"
    lines, errors = run(tmp_path, f"{audited} --require 'clean.accuracy>=0.999'", "true")
    assert lines == ["3"], errors


def test_what_is_piped_is_not_cut_at_80_columns_and_says_the_limit(tmp_path):
    audited = "audit bundled:fashion-cnn bundled:fashion-mnist --checks clean --limit 40 --out run"
    lines, _ = run(tmp_path, audited, "cat")
    assert lines[0].endswith(": 40 of 2000 images, drawn at random"), lines[0]
    assert lines[1].startswith("preprocessing: ")
    lines, _ = run(tmp_path, "systems", "cat")
    assert max(map(len, lines)) > 120
    assert not any(line.rstrip().endswith("…") for line in lines)
