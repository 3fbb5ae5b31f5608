"""Scores that are as sure as they are right: a temperature, a scale of each class or a matrix, fitted and folded in.

Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017, arXiv 1706.04599, section 4.2.
Kull et al., "Beyond temperature scaling", NeurIPS 2019, arXiv 1910.12656.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from snellen.methods.treatments.treatment import Patient, Stage, Treating, Treatment
from snellen.metrics.dirichlet_scaling import fit_dirichlet_scaling
from snellen.metrics.temperature import fit_temperature
from snellen.metrics.vector_scaling import enough_for_vector_scaling, fit_vector_scaling
from snellen.models.classifiers.trainable import PreparedNetwork, last_layer
from snellen.training.evaluation import score_examples


class TemperatureScaling(Treatment):
    """Divide all scores by one number; no decision changes.

    >>> TemperatureScaling().treats
    ('calibration',)
    """

    name: ClassVar[str] = "temperature_scaling"
    treats: ClassVar[tuple[str, ...]] = ("calibration",)
    stage: ClassVar[Stage] = Stage.SCORES
    passes: ClassVar[float] = 0.0
    trains: ClassVar[bool] = False

    def treated(self, network: PreparedNetwork, patient: Patient, call: Treating) -> PreparedNetwork:
        """Fit the temperature of the least negative log-likelihood on the validation images."""
        scores, targets = score_examples(network.eval(), patient.val)
        factor = 1 / fit_temperature(scores.double().numpy(), targets.numpy()).temperature
        return scaled(network, torch.full((scores.shape[1],), factor), torch.zeros(scores.shape[1]), patient.probes)


class VectorScaling(Treatment):
    """Multiply and shift the scores of each class; a decision near the border may change."""

    name: ClassVar[str] = "vector_scaling"
    treats: ClassVar[tuple[str, ...]] = ("calibration",)
    stage: ClassVar[Stage] = Stage.SCORES
    passes: ClassVar[float] = 0.1
    trains: ClassVar[bool] = False

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """Too few images for two numbers a class."""
        return _too_few(patient)

    def treated(self, network: PreparedNetwork, patient: Patient, call: Treating) -> PreparedNetwork:
        """Fit scale and shift by the least negative log-likelihood on the validation images."""
        scores, targets = score_examples(network.eval(), patient.val)
        fitted = fit_vector_scaling(scores.double().numpy(), targets.numpy())
        return scaled(network, torch.from_numpy(fitted.scale), torch.from_numpy(fitted.shift), patient.probes)


class DirichletScaling(Treatment):
    """Multiply the scores by a matrix and shift them, to separate classes that are taken for each other."""

    name: ClassVar[str] = "dirichlet_scaling"
    treats: ClassVar[tuple[str, ...]] = ("calibration",)
    stage: ClassVar[Stage] = Stage.SCORES
    passes: ClassVar[float] = 0.2
    trains: ClassVar[bool] = False

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """Too few images: the penalty keeps the matrix in check, and can only choose between what images show."""
        return _too_few(patient)

    def treated(self, network: PreparedNetwork, patient: Patient, call: Treating) -> PreparedNetwork:
        """Fit matrix and shift by the least penalised negative log-likelihood on the validation images."""
        scores, targets = score_examples(network.eval(), patient.val)
        fitted = fit_dirichlet_scaling(scores.double().numpy(), targets.numpy(), seed=call.rng.seed)
        return scaled(network, torch.from_numpy(fitted.matrix), torch.from_numpy(fitted.shift), patient.probes)


def _too_few(patient: Patient) -> str | None:
    images, classes = len(patient.val), len(patient.classifier.class_names)
    if enough_for_vector_scaling(images, classes):
        return None
    return f"needs {20 * classes} validation images for the numbers of each of {classes} classes, got {images}"


class ScaledScores(nn.Module):
    """Scores (n, k) of a model, multiplied by a number of each class (k,) or by a matrix (k, k), and shifted."""

    scale: Tensor
    shift: Tensor

    def __init__(self, model: nn.Module, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("scale", scale.float())
        self.register_buffer("shift", shift.float())

    def forward(self, images: Tensor) -> Tensor:
        """Run the model, and scale."""
        scores: Tensor = self.model(images)
        scores = scores * self.scale if self.scale.ndim == 1 else scores @ self.scale.T
        return scores + self.shift


def scaled(network: PreparedNetwork, scale: Tensor, shift: Tensor, probes: Tensor) -> PreparedNetwork:
    """A network whose scores are multiplied and shifted: within its last layer where it has one, else behind it.

    Within the layer the architecture stays what it is, and any format can hold it.

    Args:
        network: changed in place.
        scale: a number of each class (k,), or a matrix (k, k).
        shift: (k,).
        probes: prepared images, to find the layer with.
    """
    device = probes.device
    layer = last_layer(network, probes)
    with torch.no_grad():
        # Log-probabilities hold a constant of their own for each image, which class scales would multiply.
        if (
            layer is not None
            and (layer.bias is not None or not bool(shift.any()))
            and (_is_last(layer, network, probes) or (scale.ndim == 1 and bool((scale == scale[0]).all())))
        ):
            wide = scale.to(device, torch.float32)
            layer.weight.copy_(layer.weight * wide[:, None] if wide.ndim == 1 else wide @ layer.weight)
            if layer.bias is not None:
                moved = layer.bias * wide if wide.ndim == 1 else wide @ layer.bias
                layer.bias.copy_(moved + shift.to(device, torch.float32))
            return network
    network.network = ScaledScores(network.network, scale, shift).to(device)
    return network


@torch.no_grad()
def _is_last(layer: nn.Linear, network: PreparedNetwork, probes: Tensor) -> bool:
    """Whether the layer gives the scores themselves."""
    caught: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _layer, _inputs, output: caught.append(output))
    try:
        scores = network(probes)
    finally:
        handle.remove()
    return torch.equal(caught[-1], scores)
