"""The randomisation test: a map that stays when the weights are scrambled did not speak of the weights.

Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim, "Sanity checks for saliency maps", NeurIPS 2018, arXiv 1810.03292,
section 3: layers are randomised one after the other from the output to the input, and the rank correlation of |map|
with that of the trained network is taken. Weights are not drawn anew but shuffled within each tensor, which keeps their
size and works for every kind of layer; statistics of normalisations stay.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import UnsupportedError
from snellen.core.randomness import Randomness
from snellen.methods.explanations.maps import has_evidence, moved, pixel_map

#: (classifier, images (n, 3, h, w)) → their maps (n, …), of the same targets each time.
Attribution = Callable[[Classifier, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Randomisation:
    """How alike maps stay as more and more layers are scrambled.

    Attributes:
        layers: names of the layers, in the order in which they are scrambled, from the output on.
        similarity: float64 (n, layers), rank correlation of |map| with that of the trained network; NaN where either
            says nothing. Near 1 at the end: the map does not depend on what the network has learnt.
        control: float64 (n,), rank correlation of |map| with itself moved around the edges at random.
    """

    layers: tuple[str, ...]
    similarity: Tensor
    control: Tensor


def randomisation_test(
    attribute: Attribution, classifier: Classifier, images: Tensor, *, rng: Randomness
) -> Randomisation:
    """Scramble a copy of the classifier layer by layer and attribute each time; the classifier stays as it is.

    Args:
        attribute: attributes images to fixed targets.
        classifier: a torch module.
        images: (n, 3, h, w) in [0, 1].
        rng: of the run; scrambles, and moves the control.

    Raises:
        UnsupportedError: the classifier is no torch module, or has no layer with weights.
    """
    first = attribute(classifier, images)
    names, similarity = [], []
    for name, scrambled in scrambled_classifiers(classifier, rng):
        names.append(name)
        similarity.append(rank_correlation(first, attribute(scrambled, images)))
    control = rank_correlation(first, moved(first, rng.bind(len(images))))
    return Randomisation(tuple(names), torch.stack(similarity, 1), control)


def scrambled_classifiers(classifier: Classifier, rng: Randomness) -> Iterator[tuple[str, Classifier]]:
    """The classifier with its last layer scrambled, then its last two, and so on: name of the newest, and the whole.

    One copy is scrambled further at each step: use it before taking the next.

    Raises:
        UnsupportedError: no torch module, or no layer with weights.
    """
    if classifier.module is None:
        raise UnsupportedError(f"{classifier.name} is not a torch module: its weights cannot be scrambled")
    module = copy.deepcopy(classifier.module)
    other = copy.copy(classifier)
    other.module = other._model = module
    other._identity = None
    layers = [(name, layer) for name, layer in module.named_modules() if list(layer.parameters(recurse=False))]
    if not layers:
        raise UnsupportedError(f"{classifier.name} has no layer with weights to scramble")
    for name, layer in reversed(layers):
        with torch.no_grad():
            for key, weights in layer.named_parameters(recurse=False):
                order = torch.randperm(weights.numel(), generator=rng.generator(f"scramble {name}.{key}"))
                weights.copy_(weights.flatten()[order.to(weights.device)].view_as(weights))
        yield name, other


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's correlation of |first| and |second|, (n, …) maps: float64 (n,), NaN where one says nothing.

    Equal values share the mean of their ranks.

    >>> maps = torch.tensor([[[1.0, -2.0, 3.0, 0.0]], [[9.0, 8.0, -7.0, 4.0]]])
    >>> round(float(rank_correlation(maps[:1], maps[1:])), 6)
    0.2
    """
    one, other = (pixel_map(maps).abs().flatten(1).cpu() for maps in (first, second))
    usable = has_evidence(one[:, None]) & has_evidence(other[:, None])
    ranks = [_ranks(maps.nan_to_num()) for maps in (one, other)]
    one, other = (rank - rank.mean(1, keepdim=True) for rank in ranks)
    product = (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))
    return torch.where(usable, product, torch.nan)


def _ranks(values: Tensor) -> Tensor:
    """Mean ranks of each row: (n, m) → float64 (n, m)."""
    ranks = torch.empty(values.shape, dtype=torch.float64)
    for row, own in enumerate(values):
        _, place, count = own.unique(sorted=True, return_inverse=True, return_counts=True)
        last = count.cumsum(0).double()
        ranks[row] = (last - (count.double() - 1) / 2)[place]
    return ranks
