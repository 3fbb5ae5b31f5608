"""Several labels an image: probabilities that hold, label by label, and the threshold above which a label is given.

Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017, arXiv 1706.04599, section 4.2.
Platt, "Probabilistic outputs for support vector machines", Advances in Large Margin Classifiers, 1999.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snellen.core.label_decisions import label_logits
from snellen.methods.treatments.score_scaling import scaled
from snellen.methods.treatments.treatment import Patient, Stage, Treating, Treatment
from snellen.metrics.label_scaling import LabelScaling, best_threshold, fit_label_scaling, fit_label_temperature
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.evaluation import score_examples

#: Fewer fitting images with a label, or without it, say too little about it.
FEWEST = 10


class OfLabels(Treatment):
    """A treatment of the scores of those labels that findings name; all other labels stay as they are."""

    stage: ClassVar[Stage] = Stage.SCORES
    trains: ClassVar[bool] = False
    several: ClassVar[bool] = True

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """No probabilities, or too few validation images of each label that is named."""
        if patient.classifier.output == "labels":
            return "needs probabilities, and this model gives decisions only"
        named = [patient.classifier.class_names[place] for place in _named(patient, self.treats)]
        if named and not any(True for _ in self._fitted_on(patient)):
            return f"needs {FEWEST} validation images with a label and {FEWEST} without it, of {', '.join(named)}"
        return None

    def _fitted_on(self, patient: Patient) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Places of the labels that are named, and the fitting images where each is known, where they are enough."""
        truth = patient.val.targets.numpy()
        for place in _named(patient, self.treats):
            if min(int((truth[:, place] == one).sum()) for one in (0, 1)) >= FEWEST:
                yield place, truth[:, place] >= 0

    def _logits(self, network: PreparedNetwork, patient: Patient) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
        scores, targets = score_examples(network.eval(), patient.val)
        return label_logits(scores.double(), patient.classifier.output).numpy(), targets.numpy().astype(np.int8)


class _Scaling(OfLabels):
    """Multiply and shift the logit of a label; its threshold moves along, and no decision changes."""

    treats: ClassVar[tuple[str, ...]] = ("calibration",)

    def treated(self, network: PreparedNetwork, patient: Patient, call: Treating) -> PreparedNetwork:
        """Fit each named label on the validation images where it is known."""
        logits, truth = self._logits(network, patient)
        count = logits.shape[1]
        scale, shift = torch.ones(count), torch.zeros(count)
        given = network.thresholds or (0.5,) * count
        levels = dict[int, float]()
        for place, known in self._fitted_on(patient):
            fitted = self._fit(logits[known, place], truth[known, place])
            scale[place], shift[place] = fitted.scale, fitted.shift
            levels[place] = _level(given[place]) * fitted.scale + fitted.shift
        thresholds = _with_levels(given, levels)
        if patient.classifier.output == "logits":
            network = scaled(network, scale, shift, patient.probes)
        else:
            network.network = ScaledLabels(network.network, scale, shift).to(patient.probes.device)
        network.thresholds = thresholds
        return network

    @abstractmethod
    def _fit(self, logits: NDArray[np.float64], labels: NDArray[np.int8]) -> LabelScaling:
        """Scale and shift of one label."""


class LabelTemperature(_Scaling):
    """Divide the logit of a label by one number.

    >>> LabelTemperature().treats
    ('calibration',)
    """

    name: ClassVar[str] = "label_temperature"
    passes: ClassVar[float] = 0.0

    def _fit(self, logits: NDArray[np.float64], labels: NDArray[np.int8]) -> LabelScaling:
        return fit_label_temperature(logits, labels)


class LabelPlatt(_Scaling):
    """Multiply and shift the logit of a label: also where it is given too often, or too rarely, however sure."""

    name: ClassVar[str] = "label_scaling"
    passes: ClassVar[float] = 0.1

    def _fit(self, logits: NDArray[np.float64], labels: NDArray[np.int8]) -> LabelScaling:
        return fit_label_scaling(logits, labels)


class LabelThresholds(OfLabels):
    """Give a label above the probability with the best balanced accuracy; probabilities stay what they are."""

    name: ClassVar[str] = "label_thresholds"
    treats: ClassVar[tuple[str, ...]] = ("threshold", "worst_class")
    stage: ClassVar[Stage] = Stage.DECISIONS
    passes: ClassVar[float] = 0.0

    def treated(self, network: PreparedNetwork, patient: Patient, call: Treating) -> PreparedNetwork:
        """Choose the threshold of each named label on the validation images where it is known."""
        logits, truth = self._logits(network, patient)
        levels = dict[int, float]()
        for place, known in self._fitted_on(patient):
            best = best_threshold(truth[known, place], logits[known, place])
            if best is not None:
                levels[place] = best
        network.thresholds = _with_levels(network.thresholds or (0.5,) * logits.shape[1], levels)
        return network


class ScaledLabels(nn.Module):
    """Log-probabilities (n, k) of labels by a model, whose logits are multiplied and shifted, (k,) each."""

    scale: Tensor
    shift: Tensor

    def __init__(self, model: nn.Module, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("scale", scale.float())
        self.register_buffer("shift", shift.float())

    def forward(self, images: Tensor) -> Tensor:
        """Run the model, and scale."""
        logits = label_logits(self.model(images), "log-probabilities") * self.scale + self.shift
        # logsigmoid, without the sigmoid that ONNX Runtime rounds to 0, whose logarithm is infinite
        return -nn.functional.relu(-logits) - torch.log1p(torch.exp(-logits.abs()))


def _named(patient: Patient, kinds: tuple[str, ...]) -> list[int]:
    """Places of the labels that findings of these kinds are about; every label where none is named."""
    names = patient.classifier.class_names
    found = {str(one.facts.get("label", one.subject)) for one in patient.findings if one.kind in kinds}
    return [place for place, name in enumerate(names) if name in found or not found & set(names)]


def _level(threshold: float) -> float:
    """The logit of a threshold."""
    return math.log(threshold) - math.log1p(-threshold)


def _with_levels(given: tuple[float, ...], levels: Mapping[int, float]) -> tuple[float, ...] | None:
    """Thresholds with those of some labels at other logits, within (0, 1); the others as given. None: all are 0.5."""
    most = math.nextafter(1, 0)
    found = tuple(
        min(1 / (1 + math.exp(-max(levels[place], -700))), most) if place in levels else own
        for place, own in enumerate(given)
    )
    return None if set(found) == {0.5} else found
