"""Accuracy and copies of a folder of images, from the shell to the report, beside CheckMAITE: whole processes.

The import of packages is part of it. Ours is ``snellen audit``, theirs a script as its documents show it
(``checkmaite_job.py``), in the environment that CHECKMAITE_PYTHON names.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import torch
from beside.contest import Contest, Peer, skipped
from PIL import Image
from torch import Tensor, nn

import snellen
from snellen.core.classifier import Classifier

PEERS: dict[str, str] = {}

IMAGES, COPIES = 500, 10


class Whole(nn.Module):
    """A network with its normalisation."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        assert classifier.module is not None
        self.network, self.normalise = classifier.module, classifier.normalise

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.network(self.normalise(images))
        return scores


def contests(available: Set[str]) -> Iterator[Contest | dict[str, Any]]:
    """One, if there is an environment of the peer."""
    interpreter = os.environ.get("CHECKMAITE_PYTHON")
    if interpreter is None:
        yield skipped("checkmaite", "needs an environment of its own, and CHECKMAITE_PYTHON names none")
        return
    with tempfile.TemporaryDirectory() as made:
        folder, model = Path(made) / "images", Path(made) / "model.pt"
        names = write(folder, model)
        script = [interpreter, "-W", "ignore", str(Path(__file__).with_name("checkmaite_job.py"))]
        theirs = [*script, str(model), str(folder), ",".join(names)]
        version = json.loads(output(theirs, alone=True))["version"]
        yield Contest(
            f"accuracy and copies of {IMAGES + COPIES} files, a process from start to end",
            lambda: audited(folder, Path(made)),
            {"checkmaite": Peer("checkmaite", lambda: json.loads(output(theirs, alone=True)), version=version)},
            same_figures,
            repeats=3,
            clock=children,
        )


def write(folder: Path, model: Path) -> list[str]:
    """Write thumbnails in folders of classes, some of them twice, and the traced network; gives the classes."""
    classifier, some = snellen.load_classifier("bundled:fashion-cnn"), snellen.load_images("bundled:fashion-mnist")
    names = [name.replace("/", "-") for name in classifier.class_names]
    for row in range(IMAGES):
        pixels = (classifier.prepare(some.read(row)) * 255).round().byte().permute(1, 2, 0).numpy()
        place = folder / names[int(some.labels[row])]
        place.mkdir(parents=True, exist_ok=True)
        for ending in ("", "-copy")[: 2 if row < COPIES else 1]:
            Image.fromarray(pixels).save(place / f"{row:04}{ending}.png")
    torch.jit.trace(Whole(classifier).eval(), torch.rand(4, 3, 28, 28)).save(str(model))
    return names


def audited(folder: Path, made: Path) -> dict[str, float]:
    """Audit the folder, and read the report."""
    out = tempfile.mkdtemp(dir=made)
    start = "from snellen.cli import main; main()"
    command = [sys.executable, "-W", "ignore", "-c", start, "audit", "bundled:fashion-cnn", str(folder)]
    output([*command, "--checks", "clean,duplicates", "--processes", "1", "--out", f"{out}/run"])
    report = json.loads(Path(out, "run", "report.json").read_text(encoding="utf-8"))
    facts = [one["facts"] for one in report["findings"] if one["kind"] == "duplicate" and one["subject"] == "exact"]
    return {"accuracy": report["metrics"]["clean.accuracy"]["value"], "copies": facts[0]["groups"] if facts else 0}


def output(command: list[str], *, alone: bool = False) -> str:
    """The last line that a process prints; ``alone``: without the paths of this process."""
    environment = {name: value for name, value in os.environ.items() if not (alone and name == "PYTHONPATH")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or "no message").rpartition("\n")[2])
    return done.stdout.strip().rpartition("\n")[2]


def children() -> float:
    """Seconds of the processor of all processes that were started here and have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def same_figures(mine: dict[str, float], theirs: dict[str, float]) -> tuple[bool, str]:
    """Equal accuracies and numbers of groups."""
    equal = abs(mine["accuracy"] - theirs["accuracy"]) < 1e-6 and mine["copies"] == theirs["copies"]
    words = [f"accuracy {one['accuracy']:.4f}, {one['copies']} groups" for one in (mine, theirs)]
    return equal, words[0] if equal else f"{words[0]}; theirs {words[1]}"
