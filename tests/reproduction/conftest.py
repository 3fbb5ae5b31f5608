"""A small internal system whose truth is known: a coin."""

import sys

import pytest

from snellen.core import system as system_module

TOML = """
number = 99
title = "A system that measures a coin"
acronym = "COIN"
source = "nobody, nowhere"
area = "scans"
command = "snellen scan coin"
summary = "Tells how often a coin falls on heads."
experiment = "tests.experiments.coin:run"

[[claims]]
id = "99.a"
statement = "Heads come up more often than the control"
source = "table 1"
metric = "heads"
baseline = "fair"
direction = ">"
threshold = 0.05
controls = ["shuffled"]

[[claims]]
id = "99.b"
statement = "Heads come up in nearly every throw"
source = "table 2"
metric = "heads"
direction = ">"
threshold = 0.9
scales = ["small"]
"""


@pytest.fixture
def coin(tmp_path, monkeypatch):
    module = tmp_path / "coin_experiment.py"
    module.write_text(
        "import os\n"
        "from pathlib import Path\n"
        "def run(scale, seed, progress):\n"
        "    with Path(__file__).with_name('calls').open('a') as calls:\n"
        "        calls.write(f'{seed} ')\n"
        "    1 / (seed - int(os.environ.get('COIN_CRASHES_AT', -1)))\n"
        "    return {'heads': 0.7 + 0.01 * seed, 'fair': 0.5 + 0.002 * seed, 'shuffled': 0.5}\n"
        "run.stand_ins = {'small': ['a simulated coin for a real one']}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "coin_experiment", raising=False)
    folder = tmp_path / "systems"
    folder.mkdir()
    path = folder / "99.toml"
    path.write_text(TOML.replace("tests.experiments.coin:run", "coin_experiment:run"))
    monkeypatch.setattr(system_module, "FOLDERS", [*system_module.FOLDERS, folder])
    return path


@pytest.fixture
def calls(tmp_path):
    """The seeds that were run, in order."""
    path = tmp_path / "calls"
    return lambda: [int(seed) for seed in path.read_text().split()] if path.exists() else []
