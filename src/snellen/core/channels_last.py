"""Networks with the layout of memory in which convolutions are fastest on a processor: channels last.

Scores differ in their last digits, so that a network is only laid out so where it decides the same, and the same way
each time: no clock is read (docs/benchmarks.md says what it gains).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.shared_copy import is_tied, shared_copy

#: Images of noise that both layouts are tried on, and by how much scores may differ, relative to the largest one.
TRIED, TOLERANCE = 4, 1e-4

#: Convolutions from which on the layout pays: a single one, as before a transformer, gains nothing.
CONVOLUTIONS = 2


def in_channels_last(classifier: Classifier) -> Classifier:
    """A copy of a convolutional network on a processor, laid out anew; the same classifier where that gains nothing.

    The classifier itself stays as it is. What the copy spends counts for it, too. Networks that carry hooks, that
    cannot be copied, or that are not the same in the other layout (some reshape by ``view``) are left alone.
    """
    module, size = classifier.module, classifier.preparation.size
    if module is None or size is None or classifier.device.type != "cpu":
        return classifier
    if sum(isinstance(layer, nn.Conv2d) for layer in module.modules()) < CONVOLUTIONS or is_tied(module):
        return classifier
    try:
        # The network itself is left as it is: some keep what they computed last.
        usual, laid_out = shared_copy(module, classifier.name), shared_copy(module, classifier.name)
        other = classifier.with_module(laid_out.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
        noise = torch.rand(TRIED, 3, *size, generator=torch.Generator().manual_seed(0))
        same = all(
            torch.allclose(one, two, rtol=0, atol=TOLERANCE * float(one.abs().max()))
            for one, two in zip(_tried(classifier.with_module(usual), noise), _tried(other, noise), strict=True)
        )
    except Exception:  # networks of somebody else raise many kinds of errors
        return classifier
    return other if same else classifier


def _tried(classifier: Classifier, images: Tensor) -> list[Tensor]:
    """Scores, and their gradients where there are some. Neither counts as spent."""
    assert classifier.module is not None
    if not classifier.differentiable:
        with torch.no_grad():
            return [classifier.module(classifier.normalise(images))]
    given = images.clone().requires_grad_(True)
    scores = classifier.module(classifier.normalise(given))
    return [scores.detach(), torch.autograd.grad(scores.square().sum(), given)[0]]
