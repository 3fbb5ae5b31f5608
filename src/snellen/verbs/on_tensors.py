"""Attacks, explanations and certificates on tensors or arrays in one line; arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Misclassified
from snellen.core.errors import InputError, ModelError
from snellen.core.method import Attack, Certifier, Explainer, Method, build
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.loading import check_batches
from snellen.methods.explanations.by_map import MapExplanation
from snellen.models.classifiers.own_models import device_of, own_model
from snellen.models.classifiers.references import load_classifier
from snellen.runs.given import Model

#: Floating-point images, or values that belong to them.
Values = TypeVar("Values", Tensor, NDArray[Any])

MethodGiven = str | Mapping[str, Any] | Method


class CertifiedValues(NamedTuple, Generic[Values]):
    """What was proven of each image.

    Attributes:
        prediction: int (n,), −1 where the method abstains.
        radius: float (n,), in the method's norm, in [0, 1] pixel units; 0 where it abstains.
    """

    prediction: Values
    radius: Values


@torch.inference_mode(False)  # what this computes needs gradients, wherever it is called
def attack_tensors(
    model: Model,
    images: Values,
    labels: Values,
    method: MethodGiven = "pgd",
    *,
    batch_size: int = 64,
    seed: int = 0,
) -> Values:
    """Adversarial images.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    >>> images, labels = torch.rand(5, 3, 4, 4), torch.tensor([0, 1, 0, 1, 0])
    >>> adversarial = attack_tensors(model, images, labels, {"method": "fgsm", "epsilon": 0.1})
    >>> adversarial.shape, bool((adversarial - images).abs().max() <= 0.1 + 1e-6)
    (torch.Size([5, 3, 4, 4]), True)

    Args:
        model: what :func:`snellen.load_classifier` takes; a module stays as it is. It gets images in [0, 1], or
            normalised ones where it is given as (model, transform).
        images: floats (n, c, h, w) in [0, 1], c of 1 or 3; torch or NumPy.
        labels: int (n,).
        method: of the area ``attacks``: an object, a name, or ``{"method": "pgd", "epsilon": 0.1}``.
        batch_size: images in one pass.
        seed: of everything random; an image's draws depend on its position.

    Returns:
        Images of the same kind, shape and place; the clean image where the attack failed.

    Raises:
        InputError: images of another shape or range, not as many labels, or a method of another area.
    """
    built = build("attacks", method)
    if not isinstance(built, Attack):
        raise InputError(f"{type(built).__name__} attacks no tensors of images")
    batches = _Batches.of(model, images, batch_size, seed)
    known = _tensor(labels)
    if known.shape != (len(images),):
        raise InputError(f"labels are (n,) for {len(images)} images; got {tuple(known.shape)}")
    built.load()
    found = [
        built.attack(
            batches.classifier, part, known[rows].long().to(part.device), criterion=Misclassified(), rng=rng
        ).images
        for rows, part, rng in batches
    ]
    return batches.returned(batches.channels(torch.cat(found)), images)


@torch.inference_mode(False)  # what this computes needs gradients, wherever it is called
def explain_tensors(
    model: Model,
    images: Values,
    method: MethodGiven = "grad_cam",
    *,
    targets: Values | None = None,
    batch_size: int = 16,
    seed: int = 0,
) -> Values:
    """Maps of what the decision rests on: floats (n, h, w), NaN where there is no explanation.

    The map alone is computed: Grad-CAM runs each image once forward and once backward. How far maps hold (deletion,
    insertion, controls) costs many more passes, and is what :func:`snellen.explain` measures. A model that is no
    :class:`~snellen.Classifier` yet is shown a few images of noise first, to learn what it returns.

    Args:
        model: as for :func:`attack_tensors`.
        images: floats (n, c, h, w) in [0, 1], c of 1 or 3; torch or NumPy.
        method: of the area ``explanations``, one that gives maps.
        targets: int (n,), classes whose scores are explained; None: those that the images are taken for.
        batch_size: images in one pass.
        seed: of everything random.

    Raises:
        InputError: images of another shape or range, or a method without maps.
    """
    built = build("explanations", method)
    if not isinstance(built, Explainer):
        raise InputError(f"{type(built).__name__} explains no tensors of images")
    batches = _Batches.of(model, images, batch_size, seed)
    built.load()
    maps: list[Tensor] = []
    for rows, part, rng in batches:
        wanted = None if targets is None else _tensor(targets)[rows].long().to(part.device)
        maps.append(_map_of(built, batches.classifier, part, wanted, rng))
    return batches.returned(torch.cat(maps), images)


def _map_of(
    method: Explainer, classifier: Classifier, images: Tensor, wanted: Tensor | None, rng: Randomness
) -> Tensor:
    """One map an image, (n, h, w). Where the method has no more to say, no pass is spent on how far the map holds."""
    if isinstance(method, MapExplanation) and method.decides:
        return method.attribute(classifier, images, wanted, rng=rng.bind(len(images))).pixels  # type: ignore[arg-type]
    if wanted is None:
        with torch.no_grad():
            wanted = classifier(images).argmax(1)
    if isinstance(method, MapExplanation):
        return method.attribute(classifier, images, wanted, rng=rng.bind(len(images))).pixels
    explained = method.explain(classifier, images, wanted, rng=rng)
    if not explained.maps:
        raise InputError(f"{type(method).__name__} gives no maps; use snellen.explain")
    return next(iter(explained.maps.values()))


@torch.inference_mode(False)  # what this computes needs gradients, wherever it is called
def certify_tensors(
    model: Model,
    images: Values,
    method: MethodGiven = "smoothing",
    *,
    batch_size: int = 16,
    seed: int = 0,
) -> CertifiedValues[Values]:
    """Certified class and radius of each image.

    Args:
        model: as for :func:`attack_tensors`.
        images: floats (n, c, h, w) in [0, 1], c of 1 or 3; torch or NumPy.
        method: of the area ``certificates``.
        batch_size: images in one pass.
        seed: of everything random.

    Raises:
        InputError: images of another shape or range, or a method of another area.
    """
    built = build("certificates", method)
    if not isinstance(built, Certifier):
        raise InputError(f"{type(built).__name__} certifies no tensors of images")
    batches = _Batches.of(model, images, batch_size, seed)
    built.load()
    found = [built.certify(batches.classifier, part, rng=rng) for _, part, rng in batches]
    return CertifiedValues(
        batches.returned(torch.cat([one.prediction for one in found]), images),
        batches.returned(torch.cat([one.radius for one in found]), images),
    )


@dataclass(frozen=True, eq=False)
class _Batches:
    """A model, and images on its device with three channels, in batches.

    Attributes:
        classifier: the model.
        held: float (n, 3, h, w).
        grey: whether the caller's images have one channel.
        batch_size: images in one batch.
        rng: of the call.
    """

    classifier: Classifier
    held: Tensor
    grey: bool
    batch_size: int
    rng: Randomness

    @classmethod
    def of(cls, model: Model, images: Tensor | NDArray[Any], batch_size: int, seed: int) -> _Batches:
        held = _tensor(images)
        if held.ndim != 4 or held.shape[1] not in (1, 3) or not held.is_floating_point() or not len(held):
            raise InputError(
                f"images are floats (n, c, h, w) in [0, 1] with 1 or 3 channels; got {held.dtype} {tuple(held.shape)}"
            )
        check_batches(batch_size)
        classifier = model if isinstance(model, Classifier) else _classifier(model, held)
        grey = held.shape[1] == 1
        wide = held.detach().float().expand(-1, 3, -1, -1) if grey else held.detach().float()
        return cls(classifier, wide.to(classifier.device), grey, batch_size, Randomness(seed))

    def __iter__(self) -> Iterator[tuple[slice, Tensor, Randomness]]:
        for start in range(0, len(self.held), self.batch_size):
            rows = slice(start, min(start + self.batch_size, len(self.held)))
            ids = [f"{number:06d}" for number in range(rows.start, rows.stop)]
            yield rows, self.held[rows].contiguous(), self.rng.for_examples(ids)

    def channels(self, images: Tensor) -> Tensor:
        """Images with the channels of the caller's: the mean of the three is what a model of one channel sees."""
        return images.mean(1, keepdim=True) if self.grey else images

    def returned(self, values: Tensor, like: Values) -> Values:
        """Values as the caller holds images: an array, or a tensor on the same device; floats of the same type."""
        found = values.detach()
        if isinstance(like, Tensor):
            return found.to(like.device, like.dtype) if found.is_floating_point() else found.to(like.device)
        array = found.cpu().numpy()
        return array.astype(like.dtype) if array.dtype.kind == "f" else array


def _tensor(values: Tensor | NDArray[Any]) -> Tensor:
    if not isinstance(values, Tensor):
        return torch.from_numpy(np.ascontiguousarray(values))
    return values.clone() if values.is_inference() else values  # a tensor of inference mode never has gradients


def _classifier(model: Model, images: Tensor) -> Classifier:
    """The model as a classifier of images of this size; its classes are numbered where it names none."""
    size = Preprocessing(size=(int(images.shape[2]), int(images.shape[3])))
    if isinstance(model, str) or hasattr(model, "__fspath__"):
        return load_classifier(model)
    loaded = own_model(model)
    if loaded.class_names is not None:
        return load_classifier(model, preparation=size)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in loaded.normalization or ((0.0,) * 3, (1.0,) * 3))
    first = images[:1].detach().float()
    normalised = (first - (mean[:1] if first.shape[1] == 1 else mean)) / (std[:1] if first.shape[1] == 1 else std)
    with torch.no_grad():
        scores = loaded.network(normalised.to(device_of(model)))
    if not isinstance(scores, Tensor) or scores.ndim != 2:
        raise ModelError(f"{loaded.name} gives no scores (n, k); name its classes with snellen.load_classifier")
    return load_classifier(model, [str(number) for number in range(scores.shape[1])], preparation=size)
