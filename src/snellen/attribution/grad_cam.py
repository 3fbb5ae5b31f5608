"""Grad-CAM: the channels of a layer, weighted by the mean gradient of the score.

Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", ICCV 2017, arXiv
1610.02391, equations 1 and 2: α_k = mean over places of ∂y/∂A_k, map = ReLU(Σ_k α_k A_k), enlarged to the image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.attribution.attributed import Attributed
from snellen.attribution.score import CHUNK, Explained, TargetScore
from snellen.attribution.spatial_layer import as_map, last_map_layer
from snellen.budget import Spent
from snellen.classifier import Classifier
from snellen.errors import UnsupportedError


def grad_cam(
    classifier: Classifier,
    images: Tensor,
    targets: Tensor,
    *,
    layer: str | None = None,
    of: Explained = "score",
    positive: bool = True,
    chunk: int = CHUNK,
) -> Attributed:
    """Grad-CAM of prepared images, enlarged to their size by bilinear interpolation: maps (n, h, w).

    Grad-CAM promises no completeness, so ``base`` and ``gap`` are NaN. Gradients are taken as far as the layer, not to
    the pixels.

    Args:
        classifier: a torch module that gives gradients.
        images: (n, 3, h, w) in [0, 1].
        targets: int64 (n,).
        layer: whose output is a map (n, c, y, x), or tokens of a square of patches (n, t, d); None: see
            :func:`~snellen.attribution.spatial_layer.last_map_layer`.
        of: the explained score; the paper takes the score before softmax.
        positive: keep evidence for the target alone, as the paper does.
        chunk: images in one pass.

    Raises:
        UnsupportedError: no module, no gradients, or no layer with a map.
        UnknownNameError: no such layer.
    """
    coarse, value, spent = coarse_grad_cam(classifier, images, targets, layer=layer, of=of, chunk=chunk)
    maps = coarse.relu() if positive else coarse
    if len(images):
        maps = F.interpolate(maps[:, None], images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    return Attributed.of(maps, value, spent=spent)


def coarse_grad_cam(
    classifier: Classifier,
    images: Tensor,
    targets: Tensor,
    *,
    layer: str | None = None,
    of: Explained = "score",
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor, Spent]:
    """Grad-CAM at the layer's own size and with both signs: maps (n, y, x), values float64 (n,), what was spent.

    Arguments and errors are those of :func:`grad_cam`.
    """
    if not len(images):
        return images.new_zeros(0, *images.shape[2:]), torch.zeros(0, dtype=torch.float64), Spent()
    if not classifier.differentiable or classifier.module is None:
        raise UnsupportedError(f"Grad-CAM needs the layers and gradients of a torch module; {classifier.name} has none")
    score = TargetScore(classifier, targets, of, chunk)
    maps: list[Tensor] = []
    values: list[Tensor] = []
    with classifier.counting() as spent:
        name = layer or last_map_layer(classifier, images[:1])
        for some, rows in zip(images.detach().split(chunk), torch.arange(len(images)).split(chunk), strict=True):
            caught: list[Tensor] = []

            def catch(output: Tensor, caught: list[Tensor] = caught) -> Tensor:
                leaf = output.detach().requires_grad_()
                caught.append(leaf)
                return leaf.clone()  # what the layers behind may change in place

            with torch.enable_grad(), classifier.edit(name, catch):
                of_rows = score(some, rows)
                (gradients,) = torch.autograd.grad(of_rows.sum(), caught[-1])
            classifier.count_gradients(gradients)
            activations = as_map(caught[-1].detach(), name, classifier.name)
            weights = as_map(gradients, name, classifier.name).mean((2, 3))
            summed = torch.bmm(weights[:, None], activations.flatten(2))
            maps.append(summed.view(-1, *activations.shape[2:]))
            values.append(of_rows.detach().double().cpu())
    return torch.cat(maps), torch.cat(values), spent()
