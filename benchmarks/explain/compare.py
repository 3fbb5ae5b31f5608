"""Attributions beside shap, captum and quantus: same network, images, partition tree, masker, steps and budget.

Equality is measured first: Partition SHAP divides as many blocks together as the peer's batch holds, and is compared
with it map by map. Then both run with their own defaults in turn, and medians of processor time are compared: in all,
and *overhead*, what is left when the time inside the network is taken away. shap runs with its default batch (10) and
with one of 64, which suits it better. Quantus flips pixels one curve at a time, ours gives deletion and insertion:
there, the time of one query is compared. Peers that are not installed are left out: pip install shap captum quantus.
Writes docs/measured/explain.json with --out.
Usage: python benchmarks/explain/compare.py [--problems fashion,scenes,resnet] [--repeats 3] [--out FILE]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import peers
import torch
from problems import PROBLEMS, Problem, problem
from torch import Tensor

from snellen.core.run import write_atomically
from snellen.methods.explanations.faithfulness.removal import removal_curves
from snellen.methods.explanations.filling import (
    Filling,
    background_filling,
    blurred_filling,
    constant_filling,
    telea_filling,
)
from snellen.methods.explanations.grad_cam import coarse_grad_cam, last_map_layer
from snellen.methods.explanations.integrated_gradients import integrated_gradients
from snellen.methods.explanations.partition_shap import partition_shap
from snellen.methods.explanations.score import TargetScore

#: Images and evaluations for each, by problem.
IMAGES = {"fashion": 8, "scenes": 8, "resnet": 1}
BUDGETS = {"fashion": 300, "scenes": 300, "resnet": 100}
STEPS = 50
BATCHES = (10, 64)


@dataclass
class Times:
    """Seconds of the processor, in all and inside the network, of each repeat."""

    whole: list[float] = field(default_factory=list)
    network: list[float] = field(default_factory=list)

    @property
    def overhead(self) -> list[float]:
        return [whole - network for whole, network in zip(self.whole, self.network, strict=True)]


def timed(at: Problem, calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, Times]:
    """All calls in turn, after one round that is not counted."""
    inside = [0.0]
    started = [0.0]
    before = at.module.register_forward_pre_hook(lambda *_: started.__setitem__(0, time.process_time()))
    after = at.module.register_forward_hook(
        lambda *_: inside.__setitem__(0, inside[0] + time.process_time() - started[0])
    )
    found = {name: Times() for name in calls}
    try:
        for call in calls.values():
            call()
        for _ in range(repeats):
            for name, call in calls.items():
                inside[0], began = 0.0, time.process_time()
                call()
                found[name].whole.append(time.process_time() - began)
                found[name].network.append(inside[0])
    finally:
        before.remove()
        after.remove()
    return found


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Median of the ratios of each round, ours over theirs: below 1 is in our favour."""
    return round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 3)


def partition(at: Problem, repeats: int, installed: set[str]) -> dict[str, float]:
    """Partition SHAP against shap, for a constant, for blurred backgrounds, and for inpainting."""
    if "shap" not in installed:
        return {}
    budget, images = BUDGETS[at.name], at.images
    score = TargetScore(at.classifier, at.targets)
    nothing, rows = torch.zeros(len(images), *images.shape[2:], dtype=torch.bool), torch.arange(len(images))
    grey = torch.full_like(images, 0.5)
    blurred = blurred_filling(images)(rows, nothing)
    fillings: dict[str, tuple[Filling, Tensor | None]] = {
        "constant": (constant_filling(images), grey),
        "blur": (background_filling(images, blurred), blurred),
    }
    if at.name == "resnet":
        del fillings["blur"]  # minutes, and nothing that the small ones do not show
    if at.name == "scenes":
        fillings["telea"] = (telea_filling(images), None)
    figures: dict[str, float] = {}
    for name, (filled, backgrounds) in fillings.items():
        channels = backgrounds is not None  # inpainting takes whole pixels

        def ours(filled: Filling = filled, channels: bool = channels, together: int = 1) -> Tensor:
            return partition_shap(
                score, images, filled, budget=budget, channels=channels, together=together
            ).maps  # fmt: skip

        calls: dict[str, Callable[[], object]] = {"ours": ours}
        for batch in BATCHES:
            peer = peers.shap_partition(at, backgrounds, budget, batch)
            calls[f"shap.{batch}"] = peer
            theirs, own = peer(), ours(together=batch // 2)
            theirs = theirs if channels else theirs.sum(1)
            figures[f"{name}.largest_difference.batch_{batch}"] = float((own - theirs).abs().max())
            figures[f"{name}.largest_value"] = float(theirs.abs().max())
        seconds = timed(at, calls, repeats)
        for batch in BATCHES:
            peer_times = seconds[f"shap.{batch}"]
            figures[f"{name}.time.over_batch_{batch}"] = ratio(seconds["ours"].whole, peer_times.whole)
            figures[f"{name}.overhead.over_batch_{batch}"] = ratio(seconds["ours"].overhead, peer_times.overhead)
        figures[f"{name}.time_over_network"] = ratio(seconds["ours"].whole, seconds["ours"].network)
        with at.classifier.counting() as spent:
            ours()
        figures[f"{name}.queries_over_budget"] = round(spent().queries / (budget * len(images)), 4)
    return {f"partition_shap.{name}": value for name, value in figures.items()}


def gradients(at: Problem, repeats: int, installed: set[str]) -> dict[str, float]:
    """Integrated gradients and Grad-CAM against captum."""
    if "captum" not in installed:
        return {}
    score = TargetScore(at.classifier, at.targets, "score")
    black = torch.zeros_like(at.images)
    layer = last_map_layer(at.classifier, at.images[:1])
    pairs: dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]] = {
        "integrated_gradients": (
            lambda: integrated_gradients(score, at.images, baseline=black, steps=STEPS).maps,
            peers.captum_integrated_gradients(at, STEPS),
        ),
        "grad_cam": (
            lambda: coarse_grad_cam(at.classifier, at.images, at.targets, layer=layer)[0],
            peers.captum_grad_cam(at, layer),
        ),
    }
    figures: dict[str, float] = {}
    for name, (ours, theirs) in pairs.items():
        expected = theirs()
        figures[f"{name}.largest_difference"] = float((ours() - expected).abs().max())
        figures[f"{name}.largest_value"] = float(expected.abs().max())
        # One call of Grad-CAM takes milliseconds: several make a round.
        times = 20 if name == "grad_cam" and at.name != "resnet" else 1
        several: dict[str, Callable[[], object]] = {
            label: (lambda call=call, times=times: [call() for _ in range(times)])  # type: ignore[misc]
            for label, call in (("ours", ours), ("captum", theirs))
        }
        seconds = timed(at, several, repeats)
        figures[f"{name}.time.over_captum"] = ratio(seconds["ours"].whole, seconds["captum"].whole)
    return figures


def curves(at: Problem, repeats: int, installed: set[str]) -> dict[str, float]:
    """Deletion curves against Quantus, of one random map, so that no two pixels are equal."""
    if "quantus" not in installed:
        return {}
    maps = torch.rand(len(at.images), *at.images.shape[2:], generator=torch.Generator().manual_seed(0))
    score, filled = TargetScore(at.classifier, at.targets), constant_filling(at.images, 0.0)
    theirs = peers.quantus_pixel_flipping(at, maps)

    def ours() -> Tensor:
        return removal_curves(score, at.images, filled, maps, steps=48).deletion

    difference = ours()[:, 3::3] - theirs()[:, 2::3]
    seconds = timed(at, {"ours": ours, "quantus": theirs}, repeats)
    return {
        "deletion.largest_difference": float(difference.abs().max()),
        # Two curves of 49 points with both ends shared, against one curve of 48 points.
        "deletion.time_per_query.over_quantus": round(
            ratio(seconds["ours"].whole, seconds["quantus"].whole) * 48 / 96, 3
        ),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    versions = {}
    for package in ("shap", "captum", "quantus"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            print(f"{package} is not installed; measuring without it")
    record: dict[str, object] = {
        "threads": given.threads, "python": platform.python_version(), "torch": torch.__version__, **versions,
    }  # fmt: skip
    if given.out is not None and given.out.exists():  # problems that are not measured this time stay
        record = {**json.loads(given.out.read_text(encoding="utf-8")), **record}
    for name in given.problems.split(","):
        at = problem(name, IMAGES[name])
        figures: dict[str, float] = {"images": len(at.images), "pixels": at.images.shape[-1], "budget": BUDGETS[name]}
        for measure in (partition, gradients, curves):
            figures |= measure(at, given.repeats, set(versions))
        print(json.dumps({name: figures}, indent=1), flush=True)
        record[name] = figures
        if given.out is not None:
            write_atomically(given.out, (json.dumps(record, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
