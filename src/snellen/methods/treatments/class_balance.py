"""Classes and groups that are served worse than the others: scores adjusted, last layer trained anew, or all of it."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.treatments.score_scaling import scaled
from snellen.methods.treatments.slight_changes import slight_changes
from snellen.methods.treatments.steady_changes import OFTEN, steady_changes
from snellen.methods.treatments.treatment import FineTuning, Patient, Stage, Treating, Treatment
from snellen.models.classifiers.trainable import PreparedNetwork, last_layer
from snellen.training.evaluation import layer_inputs, score_examples
from snellen.training.fine_tuning import Term
from snellen.training.transforms import in_sequence


class LogitAdjustment(Treatment):
    """Shift scores by how common classes were in training, so that rare ones are not passed over.

    Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, arXiv 2007.07314, section 4.1: the decision is
    the largest z_y − τ log π_y. τ is the one with the best balanced accuracy on the validation images.

    >>> LogitAdjustment().strengths[-1]
    2.0
    """

    name: ClassVar[str] = "logit_adjustment"
    treats: ClassVar[tuple[str, ...]] = ("worst_class",)
    stage: ClassVar[Stage] = Stage.SCORES
    passes: ClassVar[float] = 0.1

    strengths: tuple[float, ...] = Field((0.25, 0.5, 1.0, 1.5, 2.0), min_length=1, description="values of τ")

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """Classes that were equally common, or had no image."""
        counts = patient.class_counts
        if float(counts.min()) == 0:
            name = patient.classifier.class_names[int(counts.argmin())]
            return f"needs training images of every class, and there are none of {name}"
        if float(counts.max()) < 1.5 * float(counts.min()):
            return "adjusts for how common classes were in training, and they were about equally common"
        return None

    def treated(self, network: PreparedNetwork, patient: Patient, call: Treating) -> PreparedNetwork:
        """Shift the scores."""
        scores, targets = score_examples(network.eval(), patient.val)
        prior = (patient.class_counts / patient.class_counts.sum()).log().float()
        best = max(self.strengths, key=lambda tau: (_balanced(scores - tau * prior, targets), -tau))
        return scaled(network, torch.ones(len(prior)), -best * prior, patient.probes)


class LastLayerRetraining(Treatment):
    """Train the last layer anew, on features as they are and with equal weight for every group of images.

    Kirichenko, Izmailov and Wilson, "Last layer re-training is sufficient for robustness to spurious correlations",
    ICLR 2023, arXiv 2204.02937: groups are pairs of class and group where groups are known, else classes. The paper
    fits to held-out images alone; here the validation images and those of the training count equally much, since a
    validation set may be small.
    """

    name: ClassVar[str] = "last_layer_retraining"
    treats: ClassVar[tuple[str, ...]] = ("worst_class", "group_gap", "background_shortcut")
    stage: ClassVar[Stage] = Stage.LAST_LAYER
    passes: ClassVar[float] = 1.0

    penalty: float = Field(1e-3, ge=0, description="of the squared distance from the old weights")
    steps: int = Field(100, ge=1, description="steps of L-BFGS")

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """No linear layer at the end."""
        return (
            None if last_layer(network, patient.probes) is not None else "finds no linear layer that gives the scores"
        )

    def treated(self, network: PreparedNetwork, patient: Patient, call: Treating) -> PreparedNetwork:
        """Collect what the layer is given, and fit."""
        layer = last_layer(network, patient.probes)
        assert layer is not None
        inputs, targets, weights = [], [], []
        for store, groups in ((patient.training, _groups(patient)), (patient.val, None)):
            inputs.append(layer_inputs(layer, network, store))
            targets.append(store.targets)
            each = balanced(store.targets if groups is None else store.targets * (int(groups.max()) + 1) + groups)
            weights.append(each / each.sum())
        features, labels, weight = torch.cat(inputs), torch.cat(targets), torch.cat(weights) / 2
        device = layer.weight.device
        start, wide = layer.weight.detach().cpu().double(), features.double()
        if layer.bias is not None:
            start = torch.cat([start, layer.bias.detach().cpu().double()[:, None]], 1)
            wide = torch.cat([wide, torch.ones(len(features), 1, dtype=torch.float64)], 1)
        # Features of all sizes: steps are taken in units of their spread.
        spread = wide.square().mean(0).sqrt().clamp_min(1e-6)
        wide = wide / spread
        first = start * spread
        matrix = first.clone().requires_grad_(True)
        optimizer = torch.optim.LBFGS([matrix], max_iter=self.steps, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            errors = torch.nn.functional.cross_entropy(wide @ matrix.T, labels, reduction="none")
            value = (errors * weight).sum() + self.penalty * (matrix - first).square().sum()
            value.backward()
            return value.detach()

        optimizer.step(loss)
        fitted = (matrix.detach() / spread).float().to(device)
        with torch.no_grad():
            layer.weight.copy_(fitted[:, : layer.in_features])
            if layer.bias is not None:
                layer.bias.copy_(fitted[:, -1])
        return network


class BalancedTuning(FineTuning):
    """Train on with equal weight for every class, and twice that for classes that the audit names.

    The class-balanced training of Kang et al., "Decoupling representation and classifier", ICLR 2020, arXiv 1910.09217,
    over all layers, and from the weights that are there. Two of three images are mirrored and moved where that
    changes no class: images that weigh much are else learned by heart. Where it is tried for longer, they are slightly
    turned, resized and recoloured as well: validation images show whether that does harm.

    >>> BalancedTuning().slight
    False
    """

    name: ClassVar[str] = "balanced_tuning"
    treats: ClassVar[tuple[str, ...]] = ("worst_class", "accuracy", "group_gap", "slice")

    emphasis: float = Field(2.0, ge=1, description="weight of a class or group that is served badly, beside the others")
    slight: bool = Field(False, description="whether images are slightly turned, resized and recoloured, too")

    def longer(self, patient: Patient) -> Self:
        """For longer, and with slight changes."""
        return super().longer(patient).model_copy(update={"slight": True})

    def term(self, patient: Patient, *, rng: Randomness) -> Term:
        """Weights of examples, and changes under which few images are more."""
        weights = balanced(patient.training.targets)
        worst = {*patient.subjects("worst_class")}
        named = torch.tensor([name in worst for name in patient.classifier.class_names])
        weights = weights * torch.where(named[patient.training.targets], self.emphasis, 1.0)
        groups = set(patient.subjects("group_gap"))
        if groups and patient.images is not None:
            within = torch.tensor([group in groups for group in patient.images.column("group")])
            weights = weights * torch.where(within, self.emphasis, 1.0)
        changes = [one for one in (slight_changes() if self.slight else None, steady_changes(patient)) if one]
        return Term(weights=weights / weights.mean(), transforms=(in_sequence(*changes),) * OFTEN if changes else ())


def balanced(labels: Tensor, *, most: float = 20.0) -> Tensor:
    """Weights, float32 (n,), under which every label counts the same; none is more than ``most`` times the mean.

    >>> balanced(torch.tensor([0, 0, 0, 1, 1, 1, 1, 1, 1])).tolist()
    [1.5, 1.5, 1.5, 0.75, 0.75, 0.75, 0.75, 0.75, 0.75]
    """
    values, places, counts = labels.unique(return_inverse=True, return_counts=True)
    return (len(labels) / len(values) / counts.double())[places].clamp_max(most).float()


def _balanced(scores: Tensor, targets: Tensor) -> float:
    right = (scores.argmax(1) == targets).double().numpy()
    return float(np.mean([right[(targets == label).numpy()].mean() for label in targets.unique()]))


def _groups(patient: Patient) -> Tensor | None:
    """Groups of the training images as numbers, where they are known of all."""
    names = [] if patient.images is None else patient.images.column("group")
    if not names or any(name is None for name in names):
        return None
    numbers = {name: number for number, name in enumerate(sorted({str(name) for name in names}))}
    return torch.tensor([numbers[str(name)] for name in names])
