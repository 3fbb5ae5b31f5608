"""A copy of a convolutional network that is faster: channels last, normalisation folded into weights.

Scores differ in their last digits, so that a network is only changed where it decides the same, and the same way each
time: no clock is read (docs/benchmarks.md says what it gains).
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from snellen.core.classifier import Classifier
from snellen.core.shared_copy import is_tied, shared_copy

#: Images of noise that the copy is tried on, and by how much scores may differ, relative to the largest one.
TRIED, TOLERANCE = 4, 1e-4

#: By how much their gradients may differ, relative to their length: a unit that is zero but for rounding errors passes
#: its gradient on or does not, and either is right.
GRADIENT_TOLERANCE = 1e-2

#: Convolutions from which on a copy pays: a single one, as before a transformer, gains nothing.
CONVOLUTIONS = 2


def fast_copy(classifier: Classifier) -> Classifier:
    """A copy of a convolutional network that decides the same; the same classifier where none is faster.

    The classifier itself stays as it is. What the copy spends counts for it, too. Networks that carry hooks, that
    cannot be copied, or that are not the same in the other layout (some reshape by ``view``) are left alone; where
    only folding changes them, they are laid out anew.
    """
    module, size = classifier.module, classifier.preparation.size
    if module is None or size is None or classifier.device.type not in ("cpu", "cuda"):
        return classifier
    if sum(isinstance(layer, nn.Conv2d) for layer in module.modules()) < CONVOLUTIONS or is_tied(module):
        return classifier
    noise = torch.rand(TRIED, 3, *size, generator=torch.Generator().manual_seed(0)).to(classifier.device)
    for folded in (True, False):
        try:
            # The network itself is left as it is: some keep what they computed last.
            usual, changed = shared_copy(module, classifier.name), shared_copy(module, classifier.name)
            if folded:
                fold_normalisation(changed, classifier.normalise(noise))
            other = classifier.with_module(changed.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
            same = _same(_tried(classifier.with_module(usual), noise), _tried(other, noise))
        except Exception:  # networks of somebody else raise many kinds of errors
            same = False
        if same:
            return other
    return classifier


def fold_normalisation(module: nn.Module, images: Tensor) -> int:
    """Put the scale and shift of every BatchNorm into the convolution whose output it takes, in place.

    Which one that is shows when the network runs. A layer that runs several times is left as it is. What a network does
    with the output of a convolution besides is not seen: whether it still gives the same scores must be tried.

    >>> network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()).eval()
    >>> fold_normalisation(network, torch.rand(2, 3, 5, 5)), network[1]
    (1, Identity())

    Args:
        module: in evaluation mode; parameters that change are replaced, so that others who share them keep theirs.
        images: that it runs on once, as it takes them.

    Returns:
        Layers that were folded.
    """
    runs = Counter[nn.Module]()
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: dict[nn.BatchNorm2d, nn.Conv2d] = {}

    def convolved(layer: nn.Module, _: object, output: Tensor) -> None:
        runs[layer] += 1
        if type(layer) is nn.Conv2d:
            made[id(output)] = (layer, output)  # the output is kept, so that no other one has its place in memory

    def normalised(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        if type(layer) is nn.BatchNorm2d and layer.track_running_stats and id(given[0]) in made:
            pairs[layer] = made[id(given[0])][0]

    handles = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
            handles += [layer.register_forward_hook(convolved), layer.register_forward_pre_hook(normalised)]
    try:
        with torch.no_grad():
            module(images)
    finally:
        for handle in handles:
            handle.remove()
    followed = Counter(pairs.values())
    folded = 0
    for parent in list(module.modules()):
        for name, layer in list(parent.named_children()):
            if not isinstance(layer, nn.BatchNorm2d) or layer not in pairs:
                continue
            before = pairs[layer]
            if runs[layer] > 1 or runs[before] > 1 or followed[before] > 1:
                continue
            before.weight, before.bias = fuse_conv_bn_weights(
                before.weight,
                before.bias,
                layer.running_mean,  # type: ignore[arg-type]
                layer.running_var,  # type: ignore[arg-type]
                layer.eps,
                layer.weight,
                layer.bias,
            )
            setattr(parent, name, nn.Identity().eval())
            folded += 1
    return folded


def _same(usual: tuple[Tensor, Tensor | None], other: tuple[Tensor, Tensor | None]) -> bool:
    (scores, gradients), (other_scores, other_gradients) = usual, other
    if not torch.allclose(scores, other_scores, rtol=0, atol=TOLERANCE * float(scores.abs().max())):
        return False
    if gradients is None or other_gradients is None:
        return True
    return bool((other_gradients - gradients).norm() <= GRADIENT_TOLERANCE * gradients.norm())


def _tried(classifier: Classifier, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Scores, and their gradients where there are some. Neither counts as spent."""
    assert classifier.module is not None
    if not classifier.differentiable:
        with torch.no_grad():
            return classifier.module(classifier.normalise(images)), None
    given = images.clone().requires_grad_(True)
    scores = classifier.module(classifier.normalise(given))
    return scores.detach(), torch.autograd.grad(scores.square().sum(), given)[0]
