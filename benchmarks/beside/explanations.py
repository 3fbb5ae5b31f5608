"""Attributions beside shap, captum and Quantus, on the bundled classifier: same network, masker, steps and budget."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Set
from pathlib import Path

import torch
from beside.contest import Contest, Peer
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "explain"))

import peers
from problems import problem

from snellen.methods.explanations.faithfulness.removal import removal_curves
from snellen.methods.explanations.filling import constant_filling
from snellen.methods.explanations.grad_cam import coarse_grad_cam, last_map_layer
from snellen.methods.explanations.integrated_gradients import integrated_gradients
from snellen.methods.explanations.partition_shap import partition_shap
from snellen.methods.explanations.score import TargetScore

PEERS = {"shap": "shap", "captum": "captum.attr", "quantus": "quantus"}

COUNT, STEPS, BUDGET = 8, 50, 300


def contests(available: Set[str]) -> Iterator[Contest]:
    """Integrated gradients, Grad-CAM, Partition SHAP, and a deletion curve."""
    at = problem("fashion", COUNT)
    score, chance = TargetScore(at.classifier, at.targets, "score"), TargetScore(at.classifier, at.targets)
    if "captum" in available:
        black, layer = torch.zeros_like(at.images), last_map_layer(at.classifier, at.images[:1])
        yield Contest(
            f"integrated gradients, {STEPS} steps, {COUNT} images",
            lambda: integrated_gradients(score, at.images, baseline=black, steps=STEPS).maps,
            {"captum": Peer("captum", peers.captum_integrated_gradients(at, STEPS))},
            close(1e-4),
        )
        yield Contest(
            f"Grad-CAM, {COUNT} images",
            lambda: coarse_grad_cam(at.classifier, at.images, at.targets, layer=layer)[0],
            {"captum": Peer("captum", peers.captum_grad_cam(at, layer))},
            close(1e-4),
        )
    if "shap" in available:
        grey = torch.full_like(at.images, 0.5)
        filled = constant_filling(at.images)
        for batch in (10, 64):
            # The peer divides as many blocks together as its batch holds; so must ours, for equal maps.
            yield Contest(
                f"Partition SHAP, {BUDGET} evaluations in batches of {batch}, {COUNT} images",
                lambda batch=batch: (
                    partition_shap(chance, at.images, filled, budget=BUDGET, channels=True, together=batch // 2).maps
                ),
                {"shap": Peer("shap", peers.shap_partition(at, grey, BUDGET, batch))},
                close(1e-4),
                repeats=3,
            )
    if "quantus" in available:
        maps = torch.rand(COUNT, *at.images.shape[2:], generator=torch.Generator().manual_seed(0))
        black_filling = constant_filling(at.images, 0.0)
        verdict = close(1e-4)
        yield Contest(
            f"deletion curves of 48 points, ours with the insertion curves, {COUNT} images",
            lambda: removal_curves(chance, at.images, black_filling, maps, steps=48).deletion,
            {"quantus": Peer("quantus", peers.quantus_pixel_flipping(at, maps))},
            lambda mine, theirs: verdict(mine[:, 3::3], theirs[:, 2::3]),
        )


def close(tolerance: float) -> Callable[[Tensor, Tensor], tuple[bool, str]]:
    """Compare values, with a tolerance in shares of the largest."""

    def verdict(mine: Tensor, theirs: Tensor) -> tuple[bool, str]:
        most = float((mine - theirs).abs().max() / theirs.abs().max())
        return most <= tolerance, f"largest difference {most:.0e} of the largest value"

    return verdict
