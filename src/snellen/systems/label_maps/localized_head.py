"""Scores of a classifier at every place of its last feature map.

Yun, Oh, Heo, Han, Choe and Chun, "Re-labeling ImageNet: from single to multi-labels, from global to localized labels",
CVPR 2021, arXiv 2101.05022, section 3: where a classifier ends in a spatial mean and a linear layer, the two may change
places. Applied to each place of the feature map, the linear layer gives a map of scores whose mean over all places is
the classifier's ordinary scores.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError, UnsupportedError
from snellen.models.layers.layer_edits import reading

#: Largest difference between what must be equal, relative to the largest score or feature.
_TOLERANCE = 1e-3

_NEEDED = (
    "needs a classifier that ends in a feature map, its spatial mean, and one linear layer (or a 1 x 1 convolution) "
    "whose output is the scores, each of them a layer of its own, such as the ResNets of torchvision and timm"
)


@dataclass(frozen=True, eq=False)
class LocalizedHead:
    """A classifier whose linear layer can be applied to each place of its last feature map.

    Attributes:
        classifier: the model, which counts its queries.
        layer: name of the layer that gives, or takes, the feature map.
        where: ``output`` or ``input`` of that layer.
        grid: rows and columns of the map at the requested size.
        weight: (k, d) of the linear layer; None where the map holds scores already.
        bias: (k,).
    """

    classifier: Classifier
    layer: str
    where: str
    grid: tuple[int, int]
    weight: Tensor | None
    bias: Tensor | None

    @torch.no_grad()
    def maps(self, images: Tensor) -> Tensor:
        """Scores at each place: prepared images (n, 3, h, w) in [0, 1] → logits (n, k, h', w')."""
        return self.maps_and_scores(images)[0]

    @torch.no_grad()
    def maps_and_scores(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scores at each place (n, k, h', w'), and the ordinary scores (n, k), in one pass."""
        assert self.classifier.module is not None
        with reading(self.classifier.module, self.layer, where=self.where) as activations:
            scores = self.classifier(images)
        features = activations[self.layer][-1]
        if self.weight is None:
            return features, scores
        return F.conv2d(features, self.weight[:, :, None, None], self.bias), scores


@dataclass(frozen=True, eq=False)
class _Seen:
    """A feature map that passed by: its spatial mean and its size."""

    layer: str
    where: str
    mean: Tensor
    grid: tuple[int, int]


def localized_head(classifier: Classifier, size: tuple[int, int] | None = None) -> LocalizedHead:
    """Find the feature map whose spatial mean the last linear layer of a classifier takes.

    It is found by what passes through the layers for two images of noise, not by names: the input of the linear layer
    must be the mean of the map, and its output the scores.

    >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    >>> head = localized_head(Classifier(network, class_names=["a", "b"]), size=(8, 8))
    >>> head.layer, head.maps(torch.rand(5, 3, 8, 8)).shape
    ('0', torch.Size([5, 2, 6, 6]))

    Args:
        classifier: a torch module inside.
        size: height and width of the images, pixels; by default those of the classifier's preparation.

    Raises:
        UnsupportedError: the classifier is no torch module, or does not end this way.
        InputError: no size is known; or the map has one place only at this size.
        ModelError: scores that are not finite.
    """
    if classifier.module is None:
        raise UnsupportedError(f"{classifier.name} is no torch module; a label map {_NEEDED}")
    size = size or classifier.preparation.size
    if size is None:
        raise InputError(f"{classifier.name} takes images of any size; say at which side its maps are made")
    probe = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)).to(classifier.device)
    maps, linear = list[_Seen](), list[tuple[nn.Module, Tensor, Tensor]]()
    with torch.no_grad(), ExitStack() as stack:
        for name, layer in classifier.module.named_modules():
            watch = _watcher(name, layer, maps, linear)
            if name:
                stack.callback(layer.register_forward_pre_hook(watch.before).remove)
            stack.callback(layer.register_forward_hook(watch.after).remove)
        scores = classifier(probe)
    if not bool(torch.isfinite(scores).all()):
        raise ModelError(f"{classifier.name} gives scores that are not finite for two images of noise")
    heads = [(layer, taken) for layer, taken, given in linear if _equal(given.flatten(1), scores)]
    candidates = [(seen, None) for seen in maps if _equal(seen.mean, scores)] + [
        (seen, layer) for layer, taken in heads for seen in maps if _equal(seen.mean, taken.flatten(1))
    ]
    wide = [candidate for candidate in candidates if candidate[0].grid != (1, 1)]
    # What follows any pooling has one place too: the map is that small only if there is none with more places.
    pooled = {seen.mean.shape[1] for seen, _ in candidates}
    larger = any(seen.grid != (1, 1) and seen.mean.shape[1] in pooled for seen in maps)
    if not wide and (not candidates or larger):
        raise UnsupportedError(
            f"{classifier.name} gives no label maps: no layer gives or takes a feature map whose spatial mean its last "
            f"linear layer takes (another pooling, a normalisation after it, or steps that are no layers). A label map "
            f"{_NEEDED}"
        )
    if not wide:
        raise InputError(
            f"the last feature map of {classifier.name} has one place for images of {size[1]} x {size[0]} pixels; make "
            f"maps at a larger side"
        )
    seen, layer = ([one for one in wide if one[0].where == "output"] or wide)[-1]
    if layer is None:
        return LocalizedHead(classifier, seen.layer, seen.where, seen.grid, None, None)
    tensors = dict(layer.named_parameters())
    weight = tensors["weight"].detach().flatten(1)
    bias = tensors["bias"].detach() if "bias" in tensors else torch.zeros(len(weight)).to(weight)
    return LocalizedHead(classifier, seen.layer, seen.where, seen.grid, weight, bias)


@dataclass(frozen=True, eq=False)
class _Watcher:
    before: Callable[..., None]
    after: Callable[..., None]


def _watcher(
    name: str, layer: nn.Module, maps: list[_Seen], linear: list[tuple[nn.Module, Tensor, Tensor]]
) -> _Watcher:
    """Hooks that note feature maps and linear layers as they pass by; only means of maps are kept."""

    def note(tensor: object, where: str) -> None:
        if name and isinstance(tensor, Tensor) and tensor.ndim == 4:
            maps.append(_Seen(name, where, tensor.mean((2, 3)), (tensor.shape[2], tensor.shape[3])))

    def before(_layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        note(inputs[0] if inputs else None, "input")

    def after(_layer: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
        note(output, "output")
        pointwise = isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.groups == 1
        if not (isinstance(layer, nn.Linear) or pointwise) or not isinstance(output, Tensor) or not inputs:
            return
        if output[0].numel() == output.shape[1]:  # one place: (n, k) or (n, k, 1, 1)
            linear.append((layer, inputs[0].clone(), output.clone()))

    return _Watcher(before, after)


def _equal(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are equal up to rounding."""
    if first.shape != second.shape:
        return False
    scale = float(second.abs().max().clamp(min=1e-12))
    return float((first - second).abs().max()) <= _TOLERANCE * scale
