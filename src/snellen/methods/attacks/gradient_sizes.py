"""How large the gradients are that attacks follow: exactly zero, where softmax has saturated.

Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security", ICML 2018, arXiv 1802.00420: a
defence that makes gradients useless stops the attack, not the attacker.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import UnsupportedError
from snellen.methods.attacks.perturbation.inputs import checked_inputs
from snellen.methods.attacks.perturbation.objectives import cross_entropy, negative_margin


@dataclass(frozen=True, eq=False)
class GradientSizes:
    """Largest absolute entry of the input gradient of each image, (n,); not finite where the model is not.

    Attributes:
        cross_entropy: of the cross-entropy of the scores, at temperature 1, in the precision of the scores.
        margin: of the label's score less the best other one, which does not saturate.
        saturated: whether the softmax probability of some class rounds to exactly 1: the gradient then lacks that class
            even where it is not zero.
    """

    cross_entropy: Tensor
    margin: Tensor
    saturated: Tensor

    @property
    def zero(self) -> Tensor:
        """Where the gradient of the cross-entropy is exactly zero: bool (n,)."""
        return self.cross_entropy == 0


def gradient_sizes(classifier: Classifier, images: Tensor, labels: Tensor) -> GradientSizes:
    """Measure the gradients at the images themselves: one query and two gradients each.

    >>> from torch import nn
    >>> _ = torch.manual_seed(0)
    >>> linear = nn.Linear(48, 2)
    >>> _ = linear.weight.data.mul_(1e4)
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), linear), class_names=["a", "b"])
    >>> images = torch.rand(2, 3, 4, 4)
    >>> labels = classifier(images).argmax(1)
    >>> gradient_sizes(classifier, images, labels).zero.tolist()
    [True, True]

    Args:
        classifier: gives gradients.
        images: prepared images (n, 3, h, w) in [0, 1], n > 0.
        labels: integers (n,).

    Raises:
        UnsupportedError: the classifier gives no gradients.
        InputError: images or labels that do not fit.
    """
    if not classifier.differentiable:
        raise UnsupportedError(f"{classifier.name} gives no gradients, whose size could be measured")
    images, labels = checked_inputs(classifier, images, labels)
    with torch.inference_mode(False), torch.enable_grad():
        # Another tensor than the caller's, which may have been made in inference mode.
        variables = images.clone().requires_grad_(True)
        scores = classifier(variables)
        (of_entropy,) = torch.autograd.grad(cross_entropy(scores, labels).sum(), variables, retain_graph=True)
        (of_margin,) = torch.autograd.grad(negative_margin(scores, labels).sum(), variables)
    probabilities = scores.detach().softmax(1)
    return GradientSizes(
        cross_entropy=of_entropy.abs().flatten(1).amax(1),
        margin=of_margin.abs().flatten(1).amax(1),
        saturated=(probabilities == 1).any(1),
    )
