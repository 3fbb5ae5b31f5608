"""Training labels that look wrong: left out of a fine-tuning, or replaced by what out-of-sample opinions say.

Suspects are those of confident learning (Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in
dataset labels", JAIR 70, 2021, section 3.2), by opinions that never saw the label that they judge
(:func:`~snellen.metrics.inspection.label_judgement.judge_labels`). A label that looks wrong is not proven wrong.

What falls is the error that wrong training labels taught. A finding of wrong labels among the audited images stays
after any training: those labels are as wrong as they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.methods.treatments.treatment import FineTuning, Patient
from snellen.metrics.inspection.fingerprints import fingerprint
from snellen.metrics.inspection.label_errors import label_errors
from snellen.metrics.inspection.label_judgement import judge_labels, thumbnail_features
from snellen.metrics.temperature import tempered_probabilities
from snellen.metrics.units import unit_codes
from snellen.models.classifiers.pooled_features import keeps_features, pooled_features
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.fine_tuning import Term

#: Fewer training images are not judged, and images that are scored together.
FEWEST, TOGETHER = 50, 500


@dataclass(frozen=True, eq=False)
class SuspectLabels:
    """Opinions about the training labels.

    Attributes:
        suspects: int64 (s,), positions of the images.
        suggested: int64 (s,), the likeliest class of each.
        probabilities: float32 (n, k), the opinion on every image.
    """

    suspects: Tensor
    suggested: Tensor
    probabilities: Tensor


class SuspectRemoval(FineTuning):
    """Train on without the images whose labels look wrong.

    Pruning by confident learning (Northcutt et al. 2021, section 3.2), in a fine-tuning from the weights that are
    there instead of a training from scratch.

    >>> SuspectRemoval().treats
    ('label_noise', 'accuracy')
    """

    name: ClassVar[str] = "suspect_removal"
    treats: ClassVar[tuple[str, ...]] = ("label_noise", "accuracy")

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """Too few images to judge, or no label that looks wrong."""
        return _refusal(patient)

    def term(self, patient: Patient, *, rng: Randomness) -> Term:
        """Weight 0 for suspects."""
        weights = torch.ones(len(patient.training))
        weights[suspect_labels(patient).suspects] = 0.0
        return Term(weights=weights)


class LabelCorrection(FineTuning):
    """Train on with other labels in place of those that look wrong.

    The labels of suspects become the probabilities of the held-out opinion (the soft labels of Tanaka, Ikami, Yamasaki
    and Aizawa, "Joint optimization framework for learning with noisy labels", CVPR 2018, arXiv 1803.11364), or its
    likeliest class. The paper takes the opinion of the network itself, as it learns; one that memorised wrong labels
    repeats them, and held-out heads do not.
    """

    name: ClassVar[str] = "label_correction"
    treats: ClassVar[tuple[str, ...]] = ("label_noise", "accuracy")
    passes: ClassVar[float] = 4.1

    soft: bool = Field(True, description="probabilities of the opinion; else its likeliest class")

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """As :class:`SuspectRemoval`."""
        return _refusal(patient)

    def term(self, patient: Patient, *, rng: Randomness) -> Term:
        """Targets of all images: those of suspects are replaced."""
        found, store = suspect_labels(patient), patient.training
        targets = torch.nn.functional.one_hot(store.targets, found.probabilities.shape[1]).float()
        likeliest = torch.nn.functional.one_hot(found.suggested, targets.shape[1]).float()
        targets[found.suspects] = found.probabilities[found.suspects] if self.soft else likeliest
        return Term(targets=targets)


def suspect_labels(patient: Patient) -> SuspectLabels:
    """Judge the training labels, once for all treatments of a patient.

    Args:
        patient: with 50 training images or more.
    """
    known = patient.remembered.get("suspect labels")
    if not isinstance(known, SuspectLabels):
        known = patient.remembered["suspect labels"] = _judged(patient)
    return known


def _judged(patient: Patient) -> SuspectLabels:
    store, classifier = patient.training, patient.classifier
    scores, features, thumbnails = [], [], []
    for rows in torch.arange(len(store)).split(TOGETHER):
        images = to_unit(store.images[rows])
        part, inner = pooled_features(classifier, images.to(classifier.device))
        scores.append(part.cpu().double().numpy())
        if inner is not None:
            features.append(inner.cpu().numpy())
        thumbnails.append(thumbnail_features(fingerprint(images)))
    units = [f"image {one}" for one in store.ids] if patient.images is None else patient.images.units
    labels = store.targets.numpy()
    found = judge_labels(
        tempered_probabilities(np.concatenate(scores), 1.0),
        labels,
        # Scores in place of features would repeat the model.
        features=np.concatenate(features) if keeps_features(classifier) else None,
        thumbnails=np.concatenate(thumbnails),
        units=unit_codes(units),
    )
    errors = label_errors(found.probabilities, labels, rule=found.rule)
    return SuspectLabels(
        torch.from_numpy(errors.suspects),
        torch.from_numpy(errors.suggested),
        torch.from_numpy(found.probabilities).float(),
    )


def _refusal(patient: Patient) -> str | None:
    if len(patient.training) < FEWEST:
        return f"needs {FEWEST} training images or more to judge their labels, got {len(patient.training)}"
    if len(patient.training.targets.unique()) < 2:
        return "needs training images of two classes or more to judge their labels"
    if patient.classifier.output == "labels":
        return "needs scores, and this classifier gives decisions alone"
    if not len(suspect_labels(patient).suspects):
        return "finds no training label that looks wrong"
    return None
