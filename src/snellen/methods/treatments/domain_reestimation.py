"""Images that differ from those of the training: statistics of BatchNorm, and shares of classes, estimated anew.

Both rest on the validation images and on one assumption: they are a fair sample of the images that the classifier will
meet. Their labels are not used.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.preprocessing import to_unit
from snellen.methods.treatments.batchnorm_reestimation import batchnorm_layers, reestimated
from snellen.methods.treatments.score_scaling import scaled
from snellen.methods.treatments.treatment import Patient, Stage, Treating, Treatment
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.evaluation import score_examples

#: Subject of the finding that classes have other shares than in training.
LABELS = "labels"

#: Iterations of EM, at most, the largest change at which they end, and the least share of a class.
ITERATIONS, SETTLED, LEAST = 1000, 1e-6, 1e-4


class DomainStatistics(Treatment):
    """Mix the statistics of BatchNorm with those of the validation images, without labels.

    Schneider et al., "Improving robustness against common corruptions by covariate shift adaptation", NeurIPS 2020,
    arXiv 2006.16971, equation 3; with ``source_images`` 0, adaptive BatchNorm (Li, Wang, Shi, Liu and Hou, "Revisiting
    batch normalization for practical domain adaptation", 2017, arXiv 1603.04779). It assumes that the validation images
    look like those that the classifier will meet, and that their classes have about the shares of the training.

    >>> DomainStatistics().source_images
    16
    """

    name: ClassVar[str] = "domain_statistics"
    treats: ClassVar[tuple[str, ...]] = ("drift", "natural_shift")
    stage: ClassVar[Stage] = Stage.STATISTICS
    passes: ClassVar[float] = 0.2
    trains: ClassVar[bool] = False

    images: int = Field(1024, ge=2, description="validation images that are shown, drawn at random")
    source_images: int = Field(
        16, ge=0, description="images that the old statistics count as (N of the paper's equation 3)"
    )
    batch_size: int = Field(64, ge=2, description="images of one pass")

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """A network without such layers, or classes that alone have changed."""
        if set(patient.subjects("drift")) == {LABELS} and not patient.subjects("natural_shift"):
            return "adapts to images that look different, and here only the shares of the classes differ"
        return None if batchnorm_layers(network) else "finds no BatchNorm layer in this network"

    def treated(self, network: PreparedNetwork, patient: Patient, call: Treating) -> PreparedNetwork:
        """Show validation images, and average."""
        store = patient.val
        order = torch.randperm(len(store), generator=call.rng.generator("order"))[: self.images]
        return reestimated(
            network,
            order.split(self.batch_size),
            lambda positions: to_unit(store.images[positions]).to(patient.classifier.device),
            old_share=self.source_images / (self.source_images + len(order)),
            progress=call.progress,
        )


class LabelShift(Treatment):
    """Shift scores by how much more often each class will come than it came in training.

    The decision is the largest z_y + log(q_y / p_y), with the shares p of the training labels and q estimated from the
    scores of the validation images: by the EM iteration of Saerens, Latinne and Decaestecker, "Adjusting the outputs of
    a classifier to new a priori probabilities", Neural Computation 14, 2002, equation 2.9, which takes scores for
    calibrated log-probabilities; or from decisions and their confusions (BBSE; Lipton, Wang and Smola, "Detecting and
    correcting for label shift with black box predictors", ICML 2018, arXiv 1802.03916, proposition 2). Training images
    show too few confusions where the classifier knows them by heart. It assumes that images of a class look as in
    training: p(x | y) is the same, and only p(y) is another.

    >>> LabelShift().by
    'em'
    """

    name: ClassVar[str] = "label_shift"
    treats: ClassVar[tuple[str, ...]] = ("drift",)
    stage: ClassVar[Stage] = Stage.SCORES
    passes: ClassVar[float] = 0.1

    by: Literal["em", "bbse"] = Field("em", description="from scores (EM), or from decisions and their confusions")

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """Classes whose shares did not change, or that had no image."""
        if LABELS not in patient.subjects("drift"):
            return "adjusts for other shares of the classes, and the audit found none"
        counts = patient.class_counts
        if float(counts.min()) == 0:
            name = patient.classifier.class_names[int(counts.argmin())]
            return f"needs training images of every class, and there are none of {name}"
        return None

    def treated(self, network: PreparedNetwork, patient: Patient, call: Treating) -> PreparedNetwork:
        """Estimate the shares, and shift the scores."""
        scores, _ = score_examples(network.eval(), patient.val)
        prior = patient.class_counts / patient.class_counts.sum()
        if self.by == "em":
            shares = shares_by_em(scores.double().softmax(1), prior)
        else:
            known, labels = score_examples(network, patient.training)
            shares = shares_by_confusions(known.argmax(1), labels, scores.argmax(1), prior)
        shift = (shares / prior).log().float()
        return scaled(network, torch.ones(len(prior)), shift, patient.probes)


def shares_by_em(probabilities: Tensor, prior: Tensor) -> Tensor:
    """Shares of classes in new images, float64 (k,), by expectation and maximisation.

    >>> sure = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]]).double()
    >>> shares_by_em(sure, torch.tensor([0.5, 0.5]).double()).tolist()
    [0.75, 0.25]

    Args:
        probabilities: float64 (n, k), of a classifier that is calibrated for ``prior``.
        prior: float64 (k,), shares of the classes in training, all above 0.
    """
    shares = prior.clone()
    for _ in range(ITERATIONS):
        weighed = probabilities * (shares / prior)
        found = (weighed / weighed.sum(1, keepdim=True)).mean(0)
        moved = float((found - shares).abs().max())
        shares = found
        if moved < SETTLED:
            break
    shares = shares.clamp_min(LEAST)
    return shares / shares.sum()


def shares_by_confusions(decided: Tensor, labels: Tensor, deployed: Tensor, prior: Tensor) -> Tensor:
    """Shares of classes in new images, float64 (k,), from decisions: the w of C w = μ, times the prior.

    >>> known, seen = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])
    >>> shares_by_confusions(known, known, seen, torch.tensor([0.5, 0.5])).round(decimals=6).tolist()
    [0.25, 0.75]

    Args:
        decided: int64 (n,), decisions on labelled images.
        labels: int64 (n,), their labels.
        deployed: int64 (m,), decisions on new images.
        prior: (k,), shares of the classes in training.
    """
    classes = len(prior)
    joint = torch.bincount(decided * classes + labels, minlength=classes**2).double().view(classes, classes)
    found = torch.bincount(deployed, minlength=classes).double() / len(deployed)
    # A class that is never decided leaves the matrix singular: the smallest solution then.
    ratios = torch.linalg.lstsq(joint / len(labels), found[:, None], driver="gelsd").solution[:, 0]
    shares = (ratios.clamp_min(0) * prior).clamp_min(LEAST)
    return shares / shares.sum()
