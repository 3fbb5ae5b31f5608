"""Attacks beside torchattacks, foolbox, ART and pyautoattack, on the bundled classifier: same model, budget and steps.

Success is judged here, on the images that came back: another class, and within epsilon.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Set
from pathlib import Path

import torch
from beside.contest import Contest, Peer
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "attacks"))

import ours
import peers
from problems import Problem, problem
from settings import Settings

EPSILON = 4 / 255

#: Attack → what it is called here, images, rounds.
SINGLE = {
    "fgsm": ("FGSM", 32, 5),
    "pgd": ("PGD, 10 steps", 32, 5),
    "apgd-ce": ("Auto-PGD on cross-entropy, 100 steps", 32, 3),
    "fab-t": ("targeted FAB, 9 classes, 20 steps", 8, 3),
    "square": ("Square, 500 queries", 16, 3),
    "cw-l2": ("Carlini-Wagner L2, 5 searches of 40 steps", 8, 3),
}

PEERS = peers.PACKAGES


def contests(available: Set[str]) -> Iterator[Contest]:
    """One for each attack."""
    logging.disable(logging.WARNING)
    for name, (title, count, repeats) in SINGLE.items():
        given = Settings(epsilon=EPSILON, cw_steps=40, auto_steps=20 if name == "fab-t" else 100, queries=500)
        at = problem("fashion", count)
        method = ours.methods(given)[name]["snellen"]
        others = {
            label: Peer(package, looked(at, attack, package))
            for package in sorted(available)
            if not (package == "pyautoattack" and name in ("fab-t", "square"))  # its steps and queries are fixed
            for label, attack in peers.attacks_of(package, name, given, at).items()
            if "abort" not in label
        }
        verdict = broken(at, None if name == "cw-l2" else EPSILON)
        yield Contest(f"{title}, {count} images", attacked(method, at), others, verdict, repeats)


def looked(at: Problem, attack: Callable[[], Tensor], package: str) -> Callable[[], Tensor]:
    """The attack, and the pass that shows which images it broke: ours and foolbox's know that already."""
    if package == "foolbox":
        return attack

    def attack_and_look() -> Tensor:
        images = attack()
        with torch.no_grad():
            at.model(images).argmax(1)
        return images

    return attack_and_look


def attacked(method: object, at: Problem) -> Callable[[], Tensor]:
    """Our attack, as a call."""
    return lambda: method.attack(at.classifier, at.images, at.labels).images  # type: ignore[attr-defined]


def broken(at: Problem, epsilon: float | None) -> Callable[[Tensor, Tensor], tuple[bool, str]]:
    """Compare which images are broken: equal up to one, since starts are drawn at random."""

    def judged(images: Tensor) -> Tensor:
        with torch.no_grad():
            other = at.model(images).argmax(1) != at.labels
        distance = (images - at.images).flatten(1).abs().amax(1)
        return other if epsilon is None else other & (distance <= epsilon * (1 + 1e-4) + 1e-6)

    def verdict(mine: Tensor, theirs: Tensor) -> tuple[bool, str]:
        first, second = judged(mine), judged(theirs)
        differing = int((first ^ second).sum())
        words = f"{int(first.sum())} broken, theirs {int(second.sum())}"
        if not differing:
            words = f"the same {int(first.sum())} broken"
        return differing <= 1, words

    return verdict
