"""FGSM and PGD beside a plain loop and torchattacks: same model, images, budget and steps, one run.

Three figures for each: the ratio of wall time to the peers', wall time over the sum of the bare network calls that were
needed, and network calls an image. Runs of the contenders alternate, and medians are compared, so that a busy machine
slows all of them alike. Usage: python benchmarks/attacks.py [--images 256] [--repeats 7] [--model bundled:fashion-cnn]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import snellen
from snellen.attacks.fgsm import FGSM
from snellen.attacks.pgd import PGD
from snellen.classifier import Classifier


class AsModule(nn.Module):
    """What torchattacks takes: normalisation inside, as in ours, and a parameter that tells the device."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.module, self.normalise = classifier.module, classifier.normalise

    def forward(self, images: Tensor) -> Tensor:
        return self.module(self.normalise(images))


def plain_fgsm(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """The formula."""
    x = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x)
    return (images + epsilon * gradient.sign()).clamp(0, 1)


def plain_pgd(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, size: float, steps: int) -> Tensor:
    """PGD as a reader of the paper would type it."""
    x = (images + torch.empty_like(images).uniform_(-epsilon, epsilon)).clamp(0, 1)
    for _ in range(steps):
        x = x.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x)
        x = x.detach() + size * gradient.sign()
        x = torch.max(torch.min(x, images + epsilon), images - epsilon).clamp(0, 1)
    return x.detach()


def attacked_and_judged(model: nn.Module, attack: Callable[[], Tensor], labels: Tensor) -> Tensor:
    """A user needs the success mask; peers leave that pass to the user, so it is part of their time here."""
    adversarial = attack()
    with torch.no_grad():
        return model(adversarial).argmax(1) != labels


def bare_calls(model: nn.Module, images: Tensor, labels: Tensor, forwards: int, gradients: int) -> float:
    """Seconds that the network alone takes for so many forward passes and gradients, counted in images."""
    x = images.clone().requires_grad_(True)
    started = time.perf_counter()
    with torch.no_grad():
        model(images)
    forward = (time.perf_counter() - started) / len(images)
    started = time.perf_counter()
    torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x)
    gradient = (time.perf_counter() - started) / len(images)
    return max(forwards - gradients, 0) * forward + gradients * gradient


def main() -> None:
    """Print one table for each attack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="bundled:fashion-cnn")
    parser.add_argument("--data", default="bundled:fashion-mnist")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--grey-levels", type=float, default=8.0, help="epsilon, out of 255")
    options = parser.parse_args()
    classifier = snellen.load_classifier(options.model)
    chosen = snellen.load_images(options.data).limit(options.images)
    images = torch.stack([classifier.prepare(example.image) for example in chosen])
    model = AsModule(classifier).eval()
    with torch.no_grad():
        labels = model(images).argmax(1)  # every image starts unbroken: no contender saves work on wrong ones
    epsilon = options.grey_levels / 255
    size = epsilon / 4
    fgsm, pgd = FGSM(epsilon=epsilon), PGD(epsilon=epsilon, step_size=size, steps=options.steps)
    contenders: dict[str, dict[str, Callable[[], Tensor]]] = {
        "FGSM": {
            "snellen": lambda: fgsm.attack(classifier, images, labels).success,
            "plain loop": lambda: attacked_and_judged(
                model, lambda: plain_fgsm(model, images, labels, epsilon), labels
            ),
        },
        f"PGD-{options.steps}": {
            "snellen": lambda: pgd.attack(classifier, images, labels).success,
            "plain loop": lambda: attacked_and_judged(
                model, lambda: plain_pgd(model, images, labels, epsilon, size, options.steps), labels
            ),
        },
    }
    try:
        import torchattacks
    except ImportError:
        print("torchattacks is not installed: compared with the plain loop alone")
    else:
        theirs = torchattacks.PGD(model, eps=epsilon, alpha=size, steps=options.steps)
        contenders["FGSM"]["torchattacks"] = lambda: attacked_and_judged(
            model, lambda: torchattacks.FGSM(model, eps=epsilon)(images, labels), labels
        )
        contenders[f"PGD-{options.steps}"]["torchattacks"] = lambda: attacked_and_judged(
            model, lambda: theirs(images, labels), labels
        )
    print(f"{options.model}, {len(images)} images {tuple(images.shape[1:])}, epsilon {options.grey_levels:g}/255")
    for name, runners in contenders.items():
        seconds: dict[str, list[float]] = {who: [] for who in runners}
        broken: dict[str, int] = {}
        bare: list[float] = []
        for runner in runners.values():
            runner()  # warm up
        order = list(runners.items())
        for repeat in range(options.repeats):
            first = repeat % len(order)  # nobody always runs first, or after the same neighbour
            for who, runner in order[first:] + order[:first]:
                with classifier.counting() as spent:
                    started = time.perf_counter()
                    broken[who] = int(runner().sum())
                    seconds[who].append(time.perf_counter() - started)
                    if who == "snellen":
                        used = spent()
                        bare.append(bare_calls(model, images, labels, used.queries, used.gradients))
        ours = statistics.median(seconds["snellen"])
        print(f"\n{name}")
        for who in runners:
            ratio = statistics.median(seconds[who]) / ours
            print(f"  {who:<14} broken {broken[who]:>4} of {len(images)}   wall / ours {ratio:5.2f}")
        print(
            f"  ours: wall / bare network calls {ours / statistics.median(bare):.2f}, "
            f"{used.queries / len(images):.1f} queries and {used.gradients / len(images):.1f} gradients an image"
        )


if __name__ == "__main__":
    main()
