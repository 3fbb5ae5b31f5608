"""The estimate x_RED = D(x'), δ_RED = x' − x_RED (Gong et al. 2022, section 3), and what is decided about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.evidence import Evidence

#: (n, 3, h, w) → scores (n, k).
Scores = Callable[[Tensor], Tensor]


def unbounded_scores(classifier: Classifier) -> Scores:
    """The scores of a classifier for images of any range; one without a module sees them cut to [0, 1]."""
    network = classifier.module
    if network is None:
        return lambda images: classifier(images.clamp(0, 1))
    return lambda images: network(classifier.normalise(images))


def surrogate_scores(classifier: Classifier) -> Scores:
    """The same of a surrogate: gradients pass through it, and nothing of it changes.

    Raises:
        UnsupportedError: a classifier that gives no gradients or no scores.
        InputError: one whose network is in training mode, whose statistics would follow the images.
    """
    if not classifier.differentiable or classifier.module is None or classifier.output == "labels":
        raise UnsupportedError(f"the surrogate {classifier.name} gives no gradients; name one that runs here in torch")
    if any(layer.training for layer in classifier.module.modules()):
        raise InputError(f"the surrogate {classifier.name} is in training mode; call eval() on its network")
    return unbounded_scores(classifier)


class _Behind(nn.Module):
    """A denoiser and then a classifier, as one network."""

    def __init__(self, denoiser: nn.Module, classifier: Classifier) -> None:
        super().__init__()
        self.denoiser, self.network = denoiser, classifier.module
        self._scores = unbounded_scores(classifier)

    def forward(self, images: Tensor) -> Tensor:
        return self._scores(self.denoiser(images))


def behind(denoiser: nn.Module, classifier: Classifier) -> Classifier:
    """The classifier behind the denoiser: what an attack that knows both has gradients of (adaptive attack).

    >>> plain = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), class_names=["a", "b"])
    >>> images = torch.rand(2, 3, 2, 2)
    >>> torch.equal(behind(nn.Identity(), plain)(images), plain(images))
    True
    """
    if classifier.module is None:
        raise UnsupportedError(f"{classifier.name} is no torch module: no gradient passes it")
    return Classifier(
        _Behind(denoiser, classifier),
        class_names=classifier.class_names,
        preparation=classifier.preparation,
        task=classifier.task,
        output=classifier.output,
        name=f"{classifier.name} behind a denoiser",
        device=classifier.device,
    )


@torch.no_grad()
def in_batches(function: Callable[[Tensor], Tensor], images: Tensor, batch_size: int = 250) -> Tensor:
    """A function of images, at least one, some at a time and without gradients."""
    return torch.cat([function(part) for part in images.split(batch_size)])


class Estimated(NamedTuple):
    """What the image was, and what was added to it, (n, 3, h, w) each; their sum is the image."""

    clean: Tensor
    perturbation: Tensor


def red(denoiser: nn.Module | Callable[[Tensor], Tensor], images: Tensor, *, clamp: bool = False) -> Estimated:
    """Estimate clean images and perturbations, without gradients.

    >>> seen = torch.full((1, 3, 2, 2), 0.5)
    >>> found = red(lambda images: images - 0.25, seen)
    >>> float(found.clean.max()), float(found.perturbation.max())
    (0.25, 0.25)

    Args:
        denoiser: images → images; a network in evaluation mode.
        images: (n, 3, h, w) in [0, 1].
        clamp: cut the estimate of the clean image to [0, 1], which changes that of the perturbation; not published.

    Raises:
        InputError: images that are not in [0, 1], or a network in training mode.
    """
    check_unit(images, "images")
    if isinstance(denoiser, nn.Module) and denoiser.training:
        raise InputError("the denoiser is in training mode: its estimate of one image would depend on the others")
    cleaned = in_batches(denoiser, images) if len(images) else images
    cleaned = cleaned.clamp(0, 1) if clamp else cleaned
    return Estimated(cleaned, images - cleaned)


def check_unit(images: Tensor, what: str) -> None:
    """Refuse what is no batch of images in [0, 1].

    Raises:
        InputError: another shape or type, NaN, or values outside.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise InputError(f"{what} are float (n, 3, h, w); got {images.dtype} {tuple(images.shape)}")
    if not images.numel():
        return
    low, high = (float(end) for end in torch.aminmax(images.detach()))
    if not (low >= -1e-6 and high <= 1 + 1e-6):  # written so that NaN fails too
        raise InputError(f"{what} lie in [0, 1]; got values from {low:.4g} to {high:.4g}")


@dataclass(frozen=True)
class Decided:
    """One image x' and its estimate x_RED; decisions are None without a classifier.

    Args:
        delta_l2: ‖x' − x_RED‖₂.
        delta_linf: the largest difference of any value.
        prediction: decision about x'.
        estimate_prediction: decision about x_RED.
        confidence: probability of the decision about x'; None where scores are labels alone.
        estimate_confidence: probability of the decision about x_RED.
        score_distance: ‖f(x') − f(x_RED)‖₂ of the scores.
        usable: whether the estimate and all scores are finite.
    """

    delta_l2: float
    delta_linf: float
    prediction: int | None = None
    estimate_prediction: int | None = None
    confidence: float | None = None
    estimate_confidence: float | None = None
    score_distance: float | None = None
    usable: bool = True

    @property
    def changed(self) -> bool | None:
        """Whether the estimate is decided otherwise."""
        return None if self.prediction is None else self.prediction != self.estimate_prediction


#: Columns of an estimate in evidence beside the columns that all evidence has.
COLUMNS = {
    "delta_linf": pa.float64(),
    "estimate_prediction": pa.int64(),
    "changed": pa.bool_(),
    "confidence": pa.float64(),
    "estimate_confidence": pa.float64(),
    "score_distance": pa.float64(),
}


def decided(seen: Tensor, estimate: Tensor, classifier: Classifier | None = None) -> list[Decided]:
    """Compare images and estimates, n of each.

    Args:
        seen: x', prepared, (n, 3, h, w) in [0, 1].
        estimate: x_RED, of the same shape, of any range.
        classifier: whose decisions are compared; None: lengths alone.
    """
    difference = (seen - estimate).flatten(1)
    finite = difference.isfinite().all(1)
    lengths = torch.linalg.vector_norm(difference, dim=1).tolist()
    largest = difference.abs().amax(1).tolist()
    if classifier is None:
        each = zip(lengths, largest, finite.tolist(), strict=True)
        return [Decided(length, most, usable=known) for length, most, known in each]
    scores = unbounded_scores(classifier)
    estimate = torch.where(finite[:, None, None, None], estimate, seen)  # no classifier need take NaN
    before, after = in_batches(scores, seen), in_batches(scores, estimate)
    usable = (finite & (before.isfinite() & after.isfinite()).all(1)).tolist()
    predictions = [classifier.predict(one).tolist() for one in (before, after)]
    sure: list[Sequence[float | None]] = [[None] * len(seen), [None] * len(seen)]
    if classifier.output != "labels":
        sure = [classifier.probabilities(one).amax(1).tolist() for one in (before, after)]
    apart = torch.linalg.vector_norm((after - before).double(), dim=1).tolist()
    rows = zip(lengths, largest, *predictions, *sure, apart, usable, strict=True)
    return [Decided(*row) for row in rows]


def evidence_of(
    rows: Sequence[Decided],
    example_ids: Sequence[str],
    *,
    setting: str,
    model: str,
    unit_ids: Sequence[str | None],
    labels: Sequence[int | None],
    assumptions: Sequence[str] = (),
) -> Evidence:
    """A row for each image: decision about it, ‖δ_RED‖₂ as value, and the columns of :data:`COLUMNS`."""
    return Evidence.of(
        example_ids,
        setting=setting,
        model=model,
        unit_ids=unit_ids,
        label=labels,
        prediction=[row.prediction for row in rows],
        value=[row.delta_l2 for row in rows],
        extra={name: pa.array([getattr(row, name) for row in rows], kind) for name, kind in COLUMNS.items()},
        assumptions=assumptions,
    )
