"""Randomized smoothing: the decision that wins under Gaussian noise, and the l2 radius within which it must.

Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via randomized smoothing", ICML 2019, arXiv 1902.02918,
algorithm CERTIFY: R = σ Φ⁻¹(p), with p a lower bound of the class's probability under noise; abstains at p ≤ ½.
"""

from __future__ import annotations

from typing import ClassVar

from snellen.methods.smoothing.by_votes import VoteCertificate, noise_notes


class Smoothing(VoteCertificate):
    """Certify the majority decision under noise on the whole image.

    >>> from torch import nn
    >>> import torch
    >>> from snellen.core.classifier import Classifier
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), class_names=["a", "b"])
    >>> certified = Smoothing(sigma=0.25, samples=100, selection=10).certify(classifier, torch.rand(3, 3, 2, 2))
    >>> certified.votes.sum(1).tolist()
    [100, 100, 100]
    """

    name: ClassVar[str] = "smoothing"
    split_pixels: ClassVar[bool] = False

    def assumptions(self, sigma: float, grey: bool, branches: int) -> tuple[str, ...]:
        """See :func:`snellen.methods.smoothing.by_votes.noise_notes`."""
        return noise_notes(sigma, grey, self.alpha)
