"""Grad-CAM: the channels of a layer, weighted by the mean gradient of the score.

Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", ICCV 2017, arXiv
1610.02391, equations 1 and 2: α_k = mean over places of ∂y/∂A_k, map = ReLU(Σ_k α_k A_k), enlarged to the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from snellen.core.budget import Spent
from snellen.core.classifier import Classifier
from snellen.core.errors import UnsupportedError
from snellen.core.method import Need
from snellen.core.randomness import Randomness
from snellen.methods.explanations.attributed import Attributed
from snellen.methods.explanations.by_map import MapExplanation
from snellen.methods.explanations.score import CHUNK, Explained, TargetScore


def last_map_layer(classifier: Classifier, image: Tensor) -> str:
    """Name of the last layer whose output is a map with more than one place, found by one look at one image.

    Layers count in the order in which they are done, so that of nested layers with the same output the outer one is
    named, and a pooling to one place that follows is passed over.

    Args:
        classifier: a torch module.
        image: prepared, (1, 3, h, w) in [0, 1].

    Raises:
        UnsupportedError: no module, or no such layer; name one.
    """
    if classifier.module is None:
        raise UnsupportedError(f"{classifier.name} is not a torch module: its layers cannot be read")
    last, channels_last, tokens = "", False, ""

    def noticing(name: str) -> Callable[[nn.Module, object, object], None]:
        def notice(layer: nn.Module, _inputs: object, output: object) -> None:
            nonlocal last, channels_last, tokens
            if not isinstance(output, Tensor):
                return
            if output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
                last, tokens = name, ""
                channels_last = isinstance(layer, nn.LayerNorm) and output.shape[1] != layer.normalized_shape[-1]
            elif output.ndim == 3:
                tokens = name

        return notice

    handles = [layer.register_forward_hook(noticing(name)) for name, layer in classifier.module.named_modules() if name]
    try:
        with torch.no_grad():
            classifier(image)
    finally:
        for handle in handles:
            handle.remove()
    if not last or tokens or channels_last:
        seen = f"its last layers give tokens ({tokens})" if tokens else "none gives (n, channels, height, width)"
        raise UnsupportedError(
            f"no layer of {classifier.name} can be taken for its last map: {seen}. Name a layer whose output is a map, "
            f"or tokens of a square of patches that the score depends on, such as the norm in front of the last "
            f"attention of a vision transformer"
        )
    return last


def as_map(output: Tensor, layer: str, owner: str) -> Tensor:
    """Output of a layer as a map (n, c, y, x): as it is, or tokens (n, t, d) of a square of patches.

    Tokens before the patches (class token, registers) are left out: t is the largest square that fits and at most eight
    tokens more.

    >>> as_map(torch.zeros(2, 50, 16), "blocks.11", "vit").shape
    torch.Size([2, 16, 7, 7])

    Raises:
        UnsupportedError: another form.
    """
    if output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
        return output
    if output.ndim == 3:
        side = math.isqrt(output.shape[1])
        extra = output.shape[1] - side * side
        if side > 1 and extra <= 8:
            return output[:, extra:].transpose(1, 2).unflatten(2, (side, side))
    raise UnsupportedError(
        f"layer {layer!r} of {owner} gives {tuple(output.shape)}; expected a map (n, channels, height, width) with "
        f"more than one place, or tokens (n, t, d) of a square of patches"
    )


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
            :func:`~snellen.methods.explanations.grad_cam.last_map_layer`.
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
