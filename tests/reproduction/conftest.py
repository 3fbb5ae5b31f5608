"""A small internal system whose truth is known: a coin."""

import sys
from types import SimpleNamespace

import pytest
from torch import nn

from snellen.core import package
from snellen.core import system as system_module
from snellen.core.system import load_system
from snellen.reproduction import experiment_code

SYSTEM = """
number = 99
title = "A system that measures a coin"
acronym = "COIN"
source = "nobody, nowhere"
area = "scans"
command = "snellen scan coin"
summary = "Tells how often a coin falls on heads."
"""

CLAIMS = """
experiment = "coin_experiment:run"

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

EXPERIMENT = """
import os
from pathlib import Path

def run(scale, seed, progress):
    with Path(__file__).with_name("calls").open("a") as calls:
        calls.write(f"{seed} ")
    1 / (seed - int(os.environ.get("COIN_CRASHES_AT", -1)))
    return {"heads": 0.7 + 0.01 * (seed % 10), "fair": 0.5 + 0.002 * (seed % 10), "shuffled": 0.5}

run.stand_ins = {"small": ["a simulated coin for a real one"]}
"""


class Coin:
    """The coin as files that a test may change.

    Attributes:
        folder: with everything.
        claims: file of the claims.
        module: file of the experiment.
    """

    def __init__(self, folder):
        self.folder = folder
        self.home = folder / "snellen" / "systems" / "coin"
        self.home.mkdir(parents=True)
        (self.home / "system.toml").write_text(SYSTEM)
        self.claims = folder / "claims.toml"
        self.claims.write_text(CLAIMS)
        self.module = folder / "coin_experiment.py"
        self.module.write_text(EXPERIMENT)
        self.code = folder / "snellen" / "reproduction" / "coin"
        self.code.mkdir(parents=True)
        (self.code / "experiment.py").write_text("THROWS = 100\n")

    def load(self):
        return load_system(self.home, self.claims)

    def change(self, old, new, *, path=None):
        path = path or self.claims
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
        sys.modules.pop("coin_experiment", None)

    def calls(self):
        """The seeds that were run, in order."""
        path = self.folder / "calls"
        return [int(seed) for seed in path.read_text().split()] if path.exists() else []


@pytest.fixture
def coin(tmp_path, monkeypatch):
    made = Coin(tmp_path / "coin")
    monkeypatch.syspath_prepend(str(made.folder))
    monkeypatch.delitem(sys.modules, "coin_experiment", raising=False)
    known = system_module.list_systems()
    monkeypatch.setattr(system_module, "list_systems", lambda: [*known, made.load()])
    monkeypatch.setattr(experiment_code, "package", SimpleNamespace(root=lambda: made.folder / "snellen"))
    monkeypatch.setattr(package, "results_folders", lambda: [tmp_path / "results"])
    yield made
    sys.modules.pop("coin_experiment", None)


@pytest.fixture
def results(tmp_path):
    """Where records are written."""
    return tmp_path / "results"


class _Narrow(nn.Linear):
    """Layers of 4,096 become 64 wide."""

    def __init__(self, inputs, outputs):
        super().__init__(*(64 if size == 4096 else size for size in (inputs, outputs)))


@pytest.fixture
def narrow_vgg(monkeypatch):
    """VGG of torchvision without nine tenths of its weights, in two layers that only take time to draw and to copy."""
    vgg = pytest.importorskip("torchvision.models.vgg")
    monkeypatch.setattr(vgg, "nn", SimpleNamespace(**{**vars(nn), "Linear": _Narrow}))


@pytest.fixture
def short_resnet(monkeypatch):
    """ResNet-18 of torchvision without its last stage, three quarters of its weights, behind the layers that matter."""
    models = pytest.importorskip("torchvision.models")
    plain = models.resnet18

    def shorter(*, weights, num_classes):
        network = plain(weights=weights, num_classes=num_classes)
        network.layer4, network.fc = nn.Identity(), nn.Linear(256, num_classes)
        return network

    monkeypatch.setattr(models, "resnet18", shorter)
