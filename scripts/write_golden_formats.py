"""Write one small file of each format that Snellen writes, for the tests that read them again.

    python scripts/write_golden_formats.py FOLDER

Run it when the version of a format rises, before the change, and commit the folder as tests/formats/NAME. Later
versions must read it.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

import snellen
from snellen.core.artifact import Artifact, Card, Lineage
from snellen.methods.generation.sample import Sample
from snellen.verbs.generate import generate
from snellen.verbs.requests import load_requests

#: What is kept. A comparison of audits needs the clean evidence.
FILES = (
    *(f"{verb}/{verb}.json" for verb in ("attack", "certify", "explain", "generate", "scan", "shift")),
    "audit/inputs.json",
    "audit/report.json",
    "audit/manifest.json",
    "audit/evidence/clean.parquet",
    "treat/treatment.json",
)

#: A certificate of a few votes.
QUICK_CERTIFICATE = {"method": "smoothing", "sigma": 0.25, "samples": 200, "selection": 20}

#: A scan that finds nothing, for it hardly looks.
QUICK_SCAN = {"method": "backdoor", "samples": 1, "steps": 1, "refined_samples": 1, "refined_steps": 1, "images": 100}

#: Images of which one class is hard.
SCENES = "optotypes:scenes?count=300&size=32&sizes=large&shapes=ring,star,heart,square,triangle,cross&seed=5"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every verb on a few images, and keep the records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="new folder")
    folder: Path = parser.parse_args(arguments).folder
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        write_records(work)
        for file in FILES:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(work / file, folder / file)
    write_artifact(folder / "artifact")


def write_records(work: Path) -> None:
    """Run an audit and every verb that writes a record."""
    classifier = snellen.load_classifier("bundled:fashion-cnn")
    every = snellen.load_images("bundled:fashion-mnist")
    images = every.limit(6)
    snellen.audit(classifier, images, checks=["clean"], out=work / "audit")
    snellen.attack(classifier, images, "fgsm", save_images=False, out=work / "attack")
    snellen.certify(classifier, images, QUICK_CERTIFICATE, out=work / "certify")
    snellen.explain(classifier, images, "gradient", out=work / "explain")
    snellen.shift(images, {"method": "corruption", "kind": "contrast"}, severities=(1.0,), out=work / "shift")
    snellen.scan(classifier, every, QUICK_SCAN, limit=100, out=work / "scan")
    sample, requests = Sample(generator="bundled:scene-diffusion", steps=2), load_requests("classes:star", ("star",))
    generate(sample, requests, out=work / "generate", sheet=False)
    worst = snellen.audit("bundled:scene-cnn", f"{SCENES}#test", checks=["clean"], out=work / "worst")
    ways = {"findings": "worst_class:star", "treatments": ["last_layer_retraining"]}
    snellen.treat(worst, f"{SCENES}#train", **ways, out=work / "treat")


def write_artifact(folder: Path) -> None:
    """Write a linear layer of four weights and its card."""
    card = Card(
        name="linear",
        kind="classifier",
        architecture={"name": "linear", "width": 4},
        class_names=("left", "right"),
        metrics={"val.accuracy": 0.5},
        lineage=Lineage(recipe={"method": "supervised", "epochs": 1}, data="f00d", seed=7, code_version="0.1.0"),
    )
    Artifact({"weight": torch.ones(2, 2)}, card).save(folder)


if __name__ == "__main__":
    main()
