"""Plain randomized smoothing beside ART: same network, noise, samples and error probability."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Set
from pathlib import Path

import torch
from beside.contest import Contest, Peer
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

import smoothing as plain

import snellen

PEERS = {"adversarial-robustness-toolbox": "art.estimators.certification.randomized_smoothing"}

COUNT, SAMPLES = 8, 1000


def contests(available: Set[str]) -> Iterator[Contest]:
    """Radii of a few images."""
    if not available:
        return
    classifier = snellen.load_classifier("bundled:fashion-cnn")
    some = snellen.load_images("bundled:fashion-mnist").limit(COUNT)
    images = torch.stack([classifier.prepare(some.read(row)) for row in range(COUNT)])
    yield Contest(
        f"certified radii, {SAMPLES:,} samples, {COUNT} images",
        lambda: plain.ours(classifier, images, SAMPLES)[0],
        {"art": Peer("adversarial-robustness-toolbox", lambda: plain.peer(classifier, images, SAMPLES))},
        same_radii,
        repeats=3,
    )


def same_radii(mine: Tensor, theirs: Tensor) -> tuple[bool, str]:
    """Within what the draws of two runs differ by: 0.02 of a radius of up to 0.3."""
    most = float((mine - theirs).abs().max())
    return (
        most <= 0.02,
        f"largest difference of a radius {most:.3f}, means {float(mine.mean()):.3f}, {float(theirs.mean()):.3f}",
    )
