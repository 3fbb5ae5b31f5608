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

#: Up to so many images in one pass, the layer is found in the pass that explains them, whose graph then reaches back
#: to the pixels. Above, one pass of one image costs less memory.
FOUND_ON_THE_WAY = 16


class _LastMap:
    """Notices, within a ``with`` block, the last layer of a classifier whose output is a map.

    Layers count in the order in which they are done, so that of nested layers with the same output the outer one is
    named, and a pooling to one place that follows is passed over.

    Attributes:
        output: that of the layer, as it was before a later layer could change it in place.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._last, self._tokens, self._channels_last = "", "", False
        self.output = torch.empty(0)

    def __enter__(self) -> _LastMap:
        module = self._classifier.module
        if module is None:
            raise UnsupportedError(f"{self._classifier.name} is not a torch module: its layers cannot be read")
        self._handles = [
            layer.register_forward_hook(self._noticing(name)) for name, layer in module.named_modules() if name
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _noticing(self, name: str) -> Callable[[nn.Module, object, object], Tensor | None]:
        def notice(layer: nn.Module, _inputs: object, output: object) -> Tensor | None:
            if not isinstance(output, Tensor):
                return None
            if output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
                self._last, self._tokens, self.output = name, "", output
                self._channels_last = isinstance(layer, nn.LayerNorm) and output.shape[1] != layer.normalized_shape[-1]
                return output.clone()  # what the layers behind may change in place
            if output.ndim == 3:
                self._tokens = name
            return None

        return notice

    @property
    def name(self) -> str:
        """Name of the layer.

        Raises:
            UnsupportedError: there is none that can be taken; name one.
        """
        if not self._last or self._tokens or self._channels_last:
            tokens = f"its last layers give tokens ({self._tokens})"
            seen = tokens if self._tokens else "none gives (n, channels, height, width)"
            raise UnsupportedError(
                f"no layer of {self._classifier.name} can be taken for its last map: {seen}. Name a layer whose output "
                f"is a map, or tokens of a square of patches that the score depends on, such as the norm in front of "
                f"the last attention of a vision transformer"
            )
        return self._last


def last_map_layer(classifier: Classifier, image: Tensor) -> str:
    """Name of the last layer whose output is a map with more than one place, found by one pass of one image.

    Args:
        classifier: a torch module.
        image: prepared, (1, 3, h, w) in [0, 1].

    Raises:
        UnsupportedError: no module, or no such layer; name one.
    """
    with _LastMap(classifier) as last, torch.no_grad():
        classifier(image)
    return last.name


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
    targets: Tensor | None,
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
        targets: int64 (n,); None: the classes that the images are taken for, found in the same pass.
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
    targets: Tensor | None,
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
    if targets is not None:
        TargetScore(classifier, targets, of, chunk)  # refuses what are no classes
    maps: list[Tensor] = []
    values: list[Tensor] = []
    with classifier.counting() as spent:
        name = layer or ("" if len(images) <= min(chunk, FOUND_ON_THE_WAY) else last_map_layer(classifier, images[:1]))
        for place, some in enumerate(images.detach().split(chunk)):
            with torch.enable_grad():
                output, scores = _scores_behind(classifier, some, name)
                wanted = scores.detach().argmax(1) if targets is None else targets.split(chunk)[place]
                of_rows = TargetScore(classifier, wanted, of, chunk).of_scores(scores, torch.arange(len(some)))
                (gradients,) = torch.autograd.grad(of_rows.sum(), output)
            classifier.count_gradients(gradients)
            activations = as_map(output.detach(), name, classifier.name)
            weights = as_map(gradients, name, classifier.name).mean((2, 3))
            summed = torch.bmm(weights[:, None], activations.flatten(2))
            maps.append(summed.view(-1, *activations.shape[2:]))
            values.append(of_rows.detach().cpu().double())
    return torch.cat(maps), torch.cat(values), spent()


def _scores_behind(classifier: Classifier, images: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Output of a layer, or of the last map where none is named, and the scores (n, k) that were computed from it."""
    if not layer:
        with _LastMap(classifier) as last:
            scores = classifier(images.requires_grad_())
        assert last.name
        return last.output, scores
    caught: list[Tensor] = []

    def catch(output: Tensor) -> Tensor:
        leaf = output.detach().requires_grad_()
        caught.append(leaf)
        return leaf.clone()  # what the layers behind may change in place

    with classifier.edit(layer, catch):
        scores = classifier(images)
    return caught[-1], scores


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
    decides: ClassVar[bool] = True
    needs: ClassVar[frozenset[Need]] = frozenset({"scores", "gradients", "layers"})

    of: Explained = Field("score", description="what is explained: the classifier's score, or its probability")
    layer: str | None = Field(
        None, description="layer whose output is a map, or tokens of a square of patches; by default the last map"
    )
    positive: bool = Field(True, description="keep evidence for the class alone, as the paper does")

    def attribute(
        self, classifier: Classifier, images: Tensor, targets: Tensor | None, *, rng: Randomness | None = None
    ) -> Attributed:
        """One pass and one gradient an image, down to the layer; see :meth:`MapExplanation.attribute`.

        ``targets`` of None are the classes that the images are taken for.
        """
        return grad_cam(
            classifier, images, targets, layer=self.layer, of=self.of, positive=self.positive, chunk=self.chunk
        )
