"""Statistics of BatchNorm, estimated anew on images as they will come: no weight is trained.

Schneider et al., "Improving robustness against common corruptions by covariate shift adaptation", NeurIPS 2020, arXiv
2006.16971. The paper adapts to each kind of damage by itself; a classifier that is delivered has one set of statistics,
which are those of clean and damaged images together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.methods.treatments.corruption_tuning import CorruptionTuning
from snellen.methods.treatments.treatment import Patient, Stage, Treating, Treatment
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
        return None if batchnorm_layers(network) else "finds no BatchNorm layer in this network"

    def treated(self, network: PreparedNetwork, patient: Patient, call: Treating) -> PreparedNetwork:
        """Show clean and changed images, and average."""
        transform, store = one_of(*CorruptionTuning().term(patient, rng=call.rng).transforms), patient.training
        order = torch.randperm(len(store), generator=call.rng.generator("order"))[: self.images]

        def changed(positions: Tensor) -> Tensor:
            images, targets = store.read(positions)
            bound = call.rng.for_examples([store.ids[row] for row in positions.tolist()])
            return transform(to_unit(images).to(patient.classifier.device), targets, bound)[0]

        share = self.source_images / (self.source_images + len(order))
        return reestimated(network, order.split(self.batch_size), changed, old_share=share, progress=call.progress)


@torch.no_grad()
def reestimated(
    network: PreparedNetwork,
    batches: Sequence[Tensor],
    read: Callable[[Tensor], Tensor],
    *,
    old_share: float,
    progress: Progress | None = None,
) -> PreparedNetwork:
    """Mix the statistics of BatchNorm with those of other images: equation 3 of Schneider et al. 2020.

    Args:
        network: changed in place.
        batches: positions of images; a batch of one image is left out, since it has no spread.
        read: positions (m,) → images (m, 3, h, w) in [0, 1], on the device of the network.
        old_share: weight of the statistics that are there, in [0, 1].
        progress: who is shown every batch.
    """
    layers, listener = batchnorm_layers(network), progress or Silent()
    old = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in layers]  # type: ignore[union-attr]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over all batches
        layer.train()
    kept = [one for one in batches if len(one) > 1]
    listener.begin("estimate statistics", len(kept))
    for positions in kept:
        network(read(positions))
        listener.advance("estimate statistics", 1)
    listener.finish("estimate statistics")
    for layer, (mean, variance), momentum in zip(layers, old, momenta, strict=True):
        layer.running_mean.lerp_(mean, old_share)  # type: ignore[union-attr]
        layer.running_var.lerp_(variance, old_share)  # type: ignore[union-attr]
        layer.momentum = momentum
    return network.eval()


def batchnorm_layers(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The layers that normalise by running statistics."""
    return [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
    ]
