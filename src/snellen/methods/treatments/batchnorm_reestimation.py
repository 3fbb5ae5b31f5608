"""Statistics of BatchNorm, estimated anew on images as they will come: no weight is trained.

Schneider et al., "Improving robustness against common corruptions by covariate shift adaptation", NeurIPS 2020, arXiv
2006.16971. The paper adapts to each kind of damage by itself; a classifier that is delivered has one set of statistics,
which are those of clean and damaged images together.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

from snellen.core.preparation import to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.methods.treatments.corruption_tuning import CorruptionTuning
from snellen.methods.treatments.treatment import Patient, Stage, Treatment
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.transforms import one_of


class BatchNormReestimation(Treatment):
    """Mix the statistics of the training with those of images under the kinds of damage that were found.

    >>> BatchNormReestimation().source_images
    512
    """

    name: ClassVar[str] = "batchnorm_reestimation"
    treats: ClassVar[tuple[str, ...]] = ("corruption",)
    stage: ClassVar[Stage] = Stage.STATISTICS
    passes: ClassVar[float] = 0.3

    images: int = Field(1024, ge=64, description="training images that are shown, drawn at random")
    source_images: int = Field(
        512, ge=0, description="images that the old statistics count as (N of the paper's equation 3)"
    )
    batch_size: int = Field(64, ge=2, description="images of one pass")

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """A network without such layers."""
        return None if _layers(network) else "finds no BatchNorm layer in this network"

    @torch.no_grad()
    def treat(
        self,
        network: PreparedNetwork,
        patient: Patient,
        *,
        rng: Randomness,
        checkpoint: Path | None = None,
        progress: Progress | None = None,
    ) -> PreparedNetwork:
        """Show clean and changed images, and average."""
        transform, store = one_of(*CorruptionTuning().term(patient, rng=rng).transforms), patient.training
        order = torch.randperm(len(store), generator=rng.generator("order"))[: self.images]
        layers, listener = _layers(network), progress or Silent()
        old = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in layers]  # type: ignore[union-attr]
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # a plain average over all batches
            layer.train()
        batches = [one for one in order.split(self.batch_size) if len(one) > 1]
        listener.begin("estimate statistics", len(batches))
        for positions in batches:
            images, targets = store.read(positions)
            bound = rng.for_examples([store.ids[row] for row in positions.tolist()])
            network(transform(to_unit(images).to(patient.classifier.device), targets, bound)[0])
            listener.advance("estimate statistics", 1)
        listener.finish("estimate statistics")
        share = self.source_images / (self.source_images + len(order))
        for layer, (mean, variance) in zip(layers, old, strict=True):
            layer.running_mean.lerp_(mean, share)  # type: ignore[union-attr]
            layer.running_var.lerp_(variance, share)  # type: ignore[union-attr]
            layer.momentum = 0.1
        return network.eval()


def _layers(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
    ]
