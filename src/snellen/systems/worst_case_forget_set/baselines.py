"""Selectors that a search must beat: they read the trained network alone.

Lowest loss; EL2N, ‖p − y‖₂ (Paul, Ganguli and Dziugaite, NeurIPS 2021, arXiv 2107.07075); and moderate coresets, images
whose distance to the median feature of their class is the usual one (Xia, Liu, Yu, Shen, Han and Liu, ICLR 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snellen.core.preprocessing import to_unit
from snellen.models.classifiers.trainable import PreparedNetwork, last_layer
from snellen.systems.worst_case_forget_set.search import Floats, largest
from snellen.training.evaluation import score_examples
from snellen.training.objectives import cross_entropy
from snellen.training.parts import Labelled

Rows = NDArray[np.int64]


def trivial_sets(network: PreparedNetwork, images: Labelled, count: int) -> dict[str, Rows]:
    """Forget sets of m images that need no search, by name; a moderate coreset only where the network ends linearly."""
    scores, targets = score_examples(network.eval(), images)
    found = {
        "lowest loss": largest(-cross_entropy(scores.double(), targets).numpy(), count),
        "lowest EL2N": largest(-error_norms(scores, targets), count),
    }
    features = last_features(network, images)
    if features is not None:
        found["moderate coreset"] = moderate_coreset(features.double().numpy(), targets.numpy(), count)
    return found


def error_norms(scores: Tensor, targets: Tensor) -> Floats:
    """EL2N of each image, ‖softmax(scores) − onehot(target)‖₂ in [0, √2], float64 (n,)."""
    errors = scores.double().softmax(1)
    errors[torch.arange(len(targets)), targets] -= 1
    norms: Floats = errors.norm(dim=1).numpy()
    return norms


def moderate_coreset(features: Floats, targets: NDArray[np.int64], count: int) -> Rows:
    """Rows of m images whose distance to the median feature of their class is nearest to the median distance.

    >>> moderate_coreset(np.array([[0.0], [1.0], [5.0]]), np.array([0, 0, 0]), 1).tolist()
    [0]
    """
    away = np.empty(len(features))
    for label in np.unique(targets):
        rows = np.flatnonzero(targets == label)
        distances = np.linalg.norm(features[rows] - np.median(features[rows], axis=0), axis=1)
        away[rows] = np.abs(distances - np.median(distances))
    return largest(-away, count)


def last_features(network: PreparedNetwork, images: Labelled, together: int = 500) -> Tensor | None:
    """Inputs of the last linear layer, (n, f); None where the scores are not the output of one."""
    device = network.mean.device

    def shown(rows: Tensor) -> Tensor:
        pixels = images.read(rows)[0].to(device)
        return to_unit(pixels) if pixels.dtype == torch.uint8 else pixels

    layer = last_layer(network, shown(torch.arange(min(8, len(images)))))
    if layer is None:
        return None
    caught: list[Tensor] = []

    def catch(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        caught.append(inputs[0].detach().flatten(1).cpu())

    handle = layer.register_forward_pre_hook(catch)
    try:
        with torch.no_grad():
            for rows in torch.arange(len(images)).split(together):
                network(shown(rows))
    finally:
        handle.remove()
    return torch.cat(caught)


def class_histogram(rows: Rows, targets: Tensor, class_names: Sequence[str]) -> Mapping[str, int]:
    """Images of each class in a forget set, by name; classes with none count 0."""
    counts = torch.bincount(targets[torch.from_numpy(rows)], minlength=len(class_names)).tolist()
    return dict(zip(class_names, counts, strict=True))
