"""Grad-CAM: the channels of a layer, weighted by the mean gradient of the score.

Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", ICCV 2017, arXiv
1610.02391, equations 1 and 2: α_k = mean over places of ∂y/∂A_k, map = ReLU(Σ_k α_k A_k), enlarged to the image.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from snellen.core.budget import Spent
from snellen.core.classifier import Classifier
from snellen.core.errors import UnsupportedError
from snellen.core.method import Need
from snellen.core.randomness import Randomness
from snellen.methods.explanations.attributed import Attributed
from snellen.methods.explanations.by_map import MapExplanation
from snellen.methods.explanations.score import CHUNK, Explained, TargetScore
from snellen.methods.explanations.spatial_layer import as_map, last_map_layer


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
            :func:`~snellen.methods.explanations.spatial_layer.last_map_layer`.
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


class GradCAM(MapExplanation):
    """The channels of a late layer, weighted by the mean gradient of the score: coarse, cheap, of one class.

    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    >>> classifier = Classifier(model, class_names=["a", "b"])
    >>> GradCAM().explain(classifier, torch.rand(2, 3, 4, 4), torch.tensor([0, 1])).maps["evidence"].shape
    torch.Size([2, 4, 4])
    """

    name: ClassVar[str] = "grad_cam"
    needs: ClassVar[frozenset[Need]] = frozenset({"scores", "gradients", "layers"})

    of: Explained = Field("score", description="what is explained: the classifier's score, or its probability")
    layer: str | None = Field(
        None, description="layer whose output is a map, or tokens of a square of patches; by default the last map"
    )
    positive: bool = Field(True, description="keep evidence for the class alone, as the paper does")

    def attribute(
        self, classifier: Classifier, images: Tensor, targets: Tensor, *, rng: Randomness | None = None
    ) -> Attributed:
        """One gradient an image, down to the layer; see :meth:`MapExplanation.attribute`."""
        return grad_cam(
            classifier, images, targets, layer=self.layer, of=self.of, positive=self.positive, chunk=self.chunk
        )
