"""The standard ensemble and its four parts beside AutoAttack as others package it: same model, images and parameters.

Figures for each part alone, on all images, and for the ensemble: images that stand, queries (rows of forward passes),
gradients (rows of backward passes), seconds. A module around the network counts the calls of all contenders alike.
Usage: python benchmarks/standard_ensemble.py [--images 200] [--grey-levels 4] [--norm linf] [--parts apgd-ce,fab-t]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import snellen
from snellen.attacks.ensemble import StandardEnsemble
from snellen.classifier import Classifier

PARTS = ("apgd-ce", "apgd-t", "fab-t", "square", "standard")


class Counting(nn.Module):
    """The network with its normalisation, counting rows that go forward and come back."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.inner, self.normalise = classifier.module, classifier.normalise
        self.forwards = self.backwards = 0

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += len(images)
        normalised = self.normalise(images).view_as(images)
        if normalised.requires_grad:
            normalised.register_hook(self._back)
        return self.inner(normalised)

    def _back(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def ours(model: Counting, part: str, norm: str, epsilon: float, images: Tensor, labels: Tensor) -> Tensor:
    """Adversarial images by Snellen."""
    classifier = Classifier(model, class_names=[str(number) for number in range(10)])
    ensemble = StandardEnsemble(norm=norm, epsilon=epsilon)
    attack = ensemble if part == "standard" else ensemble.stages()[part]
    return attack.attack(classifier, images, labels).images


def by_pyautoattack(model: Counting, part: str, norm: str, epsilon: float, images: Tensor, labels: Tensor) -> Tensor:
    """Adversarial images by pyautoattack, a package of the authors' code."""
    from pyautoattack import AutoAttack

    attack = AutoAttack(model, norm={"linf": "Linf", "l2": "L2"}[norm], eps=epsilon, seed=0, version="standard")
    if part != "standard":
        attack.attacks_to_run = [part]
    return attack.run_standard_evaluation(images, labels, batch_size=len(images))[0]


def by_torchattacks(model: Counting, part: str, norm: str, epsilon: float, images: Tensor, labels: Tensor) -> Tensor:
    """Adversarial images by torchattacks."""
    import torchattacks

    common = {"norm": {"linf": "Linf", "l2": "L2"}[norm], "eps": epsilon, "seed": 0}
    model.device = torch.device("cpu")
    attack = {
        "apgd-ce": lambda: torchattacks.APGD(model, loss="ce", steps=100, n_restarts=1, **common),
        "apgd-t": lambda: torchattacks.APGDT(model, steps=100, n_restarts=1, n_classes=10, **common),
        "fab-t": lambda: torchattacks.FAB(model, steps=100, n_restarts=1, n_classes=10, multi_targeted=True, **common),
        "square": lambda: torchattacks.Square(model, n_queries=5000, n_restarts=1, **common),
        "standard": lambda: torchattacks.AutoAttack(model, n_classes=10, version="standard", **common),
    }[part]()
    return attack(images, labels)


def main() -> None:
    """Print one table for each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="bundled:fashion-cnn")
    parser.add_argument("--data", default="bundled:fashion-mnist")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--norm", choices=["linf", "l2"], default="linf")
    parser.add_argument("--grey-levels", type=float, default=4.0, help="epsilon, out of 255")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--skip", default="", help="contenders to leave out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    classifier = snellen.load_classifier(options.model)
    chosen = snellen.load_images(options.data).limit(options.images)
    images = torch.stack([classifier.prepare(example.image) for example in chosen])
    with torch.no_grad():
        labels = classifier(images).argmax(1)  # every image starts unbroken
    epsilon = options.grey_levels / 255
    contenders: dict[str, Callable[..., Tensor]] = {
        "snellen": ours,
        "pyautoattack": by_pyautoattack,
        "torchattacks": by_torchattacks,
    }
    print(f"{options.model}, {len(images)} images, {options.norm}, epsilon {options.grey_levels:g}/255", flush=True)
    for part in options.parts.split(","):
        print(part)
        standing: dict[str, Tensor] = {}
        for who, attack in contenders.items():
            if who in options.skip.split(","):
                continue
            model = Counting(classifier).eval()
            started = time.perf_counter()
            try:
                adversarial = attack(model, part, options.norm, epsilon, images.clone(), labels.clone())
            except ImportError:
                print(f"  {who:<13} is not installed")
                continue
            seconds = time.perf_counter() - started
            change = (adversarial - images).flatten(1)
            length = torch.linalg.vector_norm(change, torch.inf if options.norm == "linf" else 2, dim=1)
            with torch.no_grad():
                broken = (classifier(adversarial).argmax(1) != labels) & (length <= epsilon * (1 + 1e-4))
            standing[who] = ~broken
            calls = (model.forwards + model.backwards) / len(images)
            print(
                f"  {who:<13} standing {int((~broken).sum()):>4}   queries {model.forwards / len(images):8.1f}   "
                f"gradients {model.backwards / len(images):7.1f}   calls {calls:8.1f}   seconds {seconds:6.1f}",
                flush=True,
            )
        if "snellen" in standing:
            for who, theirs in standing.items():
                if who != "snellen":
                    only_ours, only_theirs = standing["snellen"] & ~theirs, ~standing["snellen"] & theirs
                    print(f"  standing only here {int(only_ours.sum())}, only with {who} {int(only_theirs.sum())}")


if __name__ == "__main__":
    main()
