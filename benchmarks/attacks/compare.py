"""Attacks of Snellen beside those of other packages: same model, images, budget and iterations, in one run.

Success is judged here, on the images that came back: another class, and within epsilon where there is one. Columns:
images broken, median distance of those, median ratio of distances to the first contender's where both broke an image,
rows of forward and backward passes an image, time over the first contender's, time over the bare network calls for as
many rows. Ours also tell which images are broken; for all others the pass that asks it is part of the rows and the
time. The contenders take turns in every repeat, each followed by bare calls, and medians of ratios are shown.
Usage: python benchmarks/attacks/compare.py [--problem fashion] [--attacks fgsm,pgd,cw-l2] [--images 128]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import ours
import peers
import torch
import torch.nn.functional as F
from problems import Problem, problem
from settings import Settings
from torch import Tensor

ATTACKS = ("fgsm", "pgd", "cw-l2", "cw-l2-one-weight", "apgd-ce", "apgd-t", "fab-t", "square", "standard")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass
class Contender:
    """One contender."""

    attack: Callable[[], Tensor]
    seconds: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    forwards: float = 0.0
    backwards: float = 0.0
    broken: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    distance: Tensor = field(default_factory=lambda: torch.zeros(0))


def contenders(name: str, given: Settings, at: Problem, skipped: set[str]) -> dict[str, Contender]:
    """All that can run, ours first."""
    found: dict[str, Contender] = {}
    for label, method in ours.methods(given)[name].items():
        found[label] = Contender(lambda m=method: m.attack(at.classifier, at.images, at.labels).images)  # type: ignore
    if name in ("fgsm", "pgd"):
        found["plain loop"] = Contender(judged(at, lambda: ours.plain_loop(name, given, at)))  # type: ignore
    for package, module in peers.installed().items():
        if module is not None and package not in skipped:
            offered = peers.attacks_of(package, name, given, at)
            found |= {label: Contender(judged(at, attack)) for label, attack in offered.items()}
    return {label: one for label, one in found.items() if label not in skipped}


def judged(at: Problem, attack: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The attack and the look at what came back, which its user needs."""

    def attack_and_look() -> Tensor:
        adversarial = attack()
        with torch.no_grad():
            at.model(adversarial).argmax(1)
        return adversarial

    return attack_and_look


def bare_seconds(at: Problem, clock: Callable[[], float], forwards: float, backwards: float, times: int) -> float:
    """What the network alone takes for so many rows forward and back, measured ``times`` times over all images."""
    images = at.images.clone().requires_grad_(True)
    started = clock()
    with torch.no_grad():
        for _ in range(times):
            at.model(at.images)
    forward = (clock() - started) / times
    started = clock()
    for _ in range(times):
        torch.autograd.grad(F.cross_entropy(at.model(images), at.labels, reduction="sum"), images)
    gradient = (clock() - started) / times
    rows = len(at.images)
    return (max(forwards - backwards, 0) * forward + backwards * gradient) / rows


def measure(one: Contender, at: Problem, clock: Callable[[], float], epsilon: float | None, bare_times: int) -> None:
    """Run once, judge, and run bare calls beside it."""
    model = at.model
    model.forwards = model.backwards = 0
    torch.manual_seed(0)
    started = clock()
    adversarial = one.attack()
    one.seconds.append(clock() - started)
    forwards, backwards = model.forwards, model.backwards
    one.bare.append(bare_seconds(at, clock, forwards, backwards, bare_times))
    one.forwards, one.backwards = forwards / len(at.images), backwards / len(at.images)
    change = (adversarial.detach() - at.images).flatten(1)
    one.distance = torch.linalg.vector_norm(change, 2 if epsilon is None else torch.inf, dim=1)
    with torch.no_grad():
        one.broken = model(adversarial).argmax(1) != at.labels
    if epsilon is not None:
        one.broken &= one.distance <= epsilon * (1 + 1e-4) + 1e-6


def row(label: str, one: Contender, first: Contender) -> str:
    """One line of the table."""
    both = one.broken & first.broken
    ratio = statistics.median(mine / theirs for mine, theirs in zip(one.seconds, first.seconds, strict=True))
    over = statistics.median(mine / bare for mine, bare in zip(one.seconds, one.bare, strict=True))
    typical = float(one.distance[one.broken].median()) if one.broken.any() else 0.0
    farther = float((one.distance[both] / first.distance[both].clamp(min=1e-12)).median()) if both.any() else 1.0
    return (
        f"  {label:<24}{int(one.broken.sum()):>7}{typical:>10.5f}{farther:>10.4f}"
        f"{one.forwards:>10.1f}{one.backwards:>10.1f}{one.forwards + one.backwards:>10.1f}{ratio:>8.2f}{over:>8.2f}"
    )


def main() -> None:
    """Print one table for each attack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problem", default="fashion", choices=["fashion", "hardened", "resnet18"])
    parser.add_argument("--attacks", default="fgsm,pgd,cw-l2,cw-l2-one-weight,apgd-ce")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--size", type=int, default=64, help="pixels, for resnet18")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--bare", type=int, default=5, help="bare calls beside each run")
    parser.add_argument("--grey-levels", type=float, default=4.0, help="epsilon, out of 255")
    parser.add_argument("--cw-steps", type=int, default=100)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu: seconds of this process alone")
    parser.add_argument("--skip", default="", help="contenders or packages to leave out, by commas")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    given = Settings(epsilon=options.grey_levels / 255, cw_steps=options.cw_steps)
    at = problem(options.problem, options.images, size=options.size)
    print(f"{at.name}, {len(at.images)} images {tuple(at.images.shape[1:])}, {given}, {options.clock} time")
    for package, module in peers.installed().items():
        if module is None:
            print(f"{package} is not installed")
    skipped, clock = set(filter(None, options.skip.split(","))), CLOCKS[options.clock]
    for name in options.attacks.split(","):
        if name not in ATTACKS:
            raise SystemExit(f"no attack {name!r}: {', '.join(ATTACKS)}")
        epsilon = None if name.startswith("cw") else given.epsilon
        running = contenders(name, given, at, skipped)
        order = list(running.values())
        for repeat in range(options.repeats):
            first = repeat % len(order)  # nobody always runs first, or after the same neighbour
            for one in order[first:] + order[:first]:
                measure(one, at, clock, epsilon, options.bare)
        print(f"\n{name}\n  {'':<24} broken    median    ratio    forward  backward     calls   /ours   /bare")
        for label, one in running.items():
            print(row(label, one, order[0]))
            if one is not order[0]:
                only = [int((a & ~b).sum()) for a, b in ((order[0].broken, one.broken), (one.broken, order[0].broken))]
                print(f"  {'':<24} broken by the first alone {only[0]}, by this one alone {only[1]}")
        sys.stdout.flush()


if __name__ == "__main__":
    # Else the C library hands freed memory back and fetches it again at every pass, or not, as chance lays out the
    # heap: up to 30 % of the time of the network itself, for contenders and bare calls alike.
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        kept = {"MALLOC_TRIM_THRESHOLD_": str(2**29), "MALLOC_MMAP_THRESHOLD_": str(2**29)}
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **kept})
    main()
