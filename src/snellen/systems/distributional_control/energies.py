"""E(x): what a control wants of an image, as a number for each that is low where it is met (C. H. Wu et al. 2022, 3.2).

Energies of several models add up with their weights λ. All are frozen, and gradients flow through them to the images.

    classes    E = Σ_j w_j (−log p(a_j = b_j | x))
    text       E = mean over views v of 1 − cos(image(v(x)), text)
    moments    E = −βᵀ γ(x), with β of :mod:`snellen.systems.distributional_control.moment_constraint`
    condition  E = ‖r(x) − α‖², with a regressor r (the paper's pose) and the condition α that f was given
    identity   E = 1 − cos(h(x), h(x_0)), with x_0 the image of the same ε at the neutral condition
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError, unknown_name
from snellen.methods.attacks.in_training import lent
from snellen.methods.generation.teachers import as_prepared
from snellen.models.dual_encoders.towers import TwoTower

#: Added to a probability before its logarithm is taken, as published.
TINY = 1e-8

#: Views of an image for a text, as published.
VIEWS = 50


@dataclass(frozen=True, eq=False)
class Pairing:
    """What a conditional control knows of the images of a batch.

    Attributes:
        condition: α, (n, k).
        neutral: images (n, 3, h, w) of the same ε at the neutral condition; None where no energy wants them.
    """

    condition: Tensor
    neutral: Tensor | None = None


class Energy(Protocol):
    """Images (n, 3, h, w) in [0, 1] → (n,), differentiable."""

    @property
    def name(self) -> str:
        """For records and messages."""

    @property
    def needs_neutral(self) -> bool:
        """Whether it wants the images of the neutral condition."""

    def __call__(self, images: Tensor, pairing: Pairing | None, draws: torch.Generator) -> Tensor:
        """One number for each image."""


@dataclass(frozen=True, eq=False)
class Weighted:
    """An energy and its weight λ."""

    energy: Energy
    weight: float = 1.0


def total_energy(
    terms: Sequence[Weighted], images: Tensor, pairing: Pairing | None, draws: torch.Generator, *, share: float = 1.0
) -> Tensor:
    """Σ λ E of each image, (n,); ``share`` in [0, 1] scales all weights while they warm up.

    Raises:
        InputError: an energy that gives no number for each image.
    """
    found = images.new_zeros(len(images))
    for term in terms:
        values = term.energy(images, pairing, draws)
        if values.shape != (len(images),):
            raise InputError(
                f"the energy {term.energy.name} gave {tuple(values.shape)} for {len(images)} images; expected one "
                f"number for each"
            )
        found = found + share * term.weight * values.to(found)
    return found


def class_probabilities(classifier: Classifier, images: Tensor) -> Tensor:
    """What a classifier thinks of generated images: (n, k) in [0, 1]; a sigmoid for each of several attributes."""
    return classifier.probabilities(classifier(as_prepared(classifier, images)))


def check_classifier(classifier: Classifier, *, gradients: bool = True) -> None:
    """Refuse a classifier whose opinion cannot be followed.

    Raises:
        UnsupportedError: no gradients, labels alone, or another task.
    """
    if classifier.task not in ("single", "ordinal", "multilabel") or classifier.output == "labels":
        raise UnsupportedError(f"a control needs probabilities of classes, and {classifier.name} gives none")
    if gradients and not classifier.differentiable:
        raise UnsupportedError(f"a control is trained by gradients, and {classifier.name} gives none; name a network")


@dataclass(frozen=True, eq=False)
class ClassEnergy:
    """Classes or attributes that are wanted, of one classifier.

    Args:
        classifier: frozen, with gradients.
        wanted: w_j by class name. With a classifier of several attributes (multilabel), ``not NAME`` wants it absent.

    Raises:
        InputError: no class, or one that the classifier does not have.
        UnsupportedError: a classifier without gradients or probabilities.
    """

    classifier: Classifier
    wanted: Mapping[str, float]
    needs_neutral: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        check_classifier(self.classifier)
        if not self.wanted:
            raise InputError("name at least one class that is wanted")
        for name in self.wanted:
            self._place(name)

    @property
    def name(self) -> str:
        """For records."""
        return f"classes of {self.classifier.name}: {', '.join(self.wanted)}"

    def __call__(self, images: Tensor, pairing: Pairing | None, draws: torch.Generator) -> Tensor:
        """Σ_j w_j (−log p_j)."""
        probabilities = class_probabilities(self.classifier, images)
        parts = []
        for name, weight in self.wanted.items():
            place, present = self._place(name)
            own = probabilities[:, place] if present else 1 - probabilities[:, place]
            parts.append(-weight * (own + TINY).log())
        return torch.stack(parts).sum(0).float()

    def _place(self, name: str) -> tuple[int, bool]:
        known = self.classifier.class_names
        if name in known:
            return known.index(name), True
        if self.classifier.task == "multilabel" and name.removeprefix("not ") in known:
            return known.index(name.removeprefix("not ")), False
        raise unknown_name(f"class of {self.classifier.name}", name, known)


@dataclass(frozen=True, eq=False)
class MomentEnergy:
    """−βᵀ γ(x): the tilt that gives an attribute its wanted mean.

    Args:
        classifier: gives γ.
        beta: of :func:`~snellen.systems.distributional_control.moment_constraint.fit_moments`.

    Raises:
        InputError: another number of entries than classes.
    """

    classifier: Classifier
    beta: Sequence[float]
    needs_neutral: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        check_classifier(self.classifier)
        if len(self.beta) != len(self.classifier.class_names):
            raise InputError(
                f"β has {len(self.beta)} entries for {len(self.classifier.class_names)} classes of "
                f"{self.classifier.name}"
            )

    @property
    def name(self) -> str:
        """For records."""
        return f"shares of the classes of {self.classifier.name}"

    def __call__(self, images: Tensor, pairing: Pairing | None, draws: torch.Generator) -> Tensor:
        """Minus the weighted probabilities."""
        gamma = class_probabilities(self.classifier, images)
        return -(gamma @ torch.tensor(list(self.beta), dtype=gamma.dtype, device=gamma.device)).float()


class TextEnergy:
    """What a text says, by two towers: 1 − cosine, averaged over changed views of each image.

    The text is encoded once, here. All views of all images go through the tower in one batch.

    Args:
        tower: CLIP or SigLIP, frozen.
        text: what the images should show.
        views: of each image; published: 50. 0 is the image as it is.

    Raises:
        InputError: an empty text, or one that is too long.
    """

    needs_neutral = False

    def __init__(self, tower: TwoTower, text: str, *, views: int = VIEWS) -> None:
        if not text.strip():
            raise InputError("name the text that images should show; got an empty one")
        self.tower, self.text, self.views = tower, text, views
        self.vector = tower.encode_texts([text])[0]
        self._prepared = Classifier(lambda images: images, class_names=["-"], preparation=tower.preparation)

    @property
    def name(self) -> str:
        """For records."""
        return f"text by {self.tower.name}: {self.text}"

    def __call__(self, images: Tensor, pairing: Pairing | None, draws: torch.Generator) -> Tensor:
        """1 − cosine, the mean over the views."""
        count = max(self.views, 1)
        many = images if not self.views else changed_views(images.repeat_interleave(count, 0), draws)
        vectors = self.tower.encode_images(as_prepared(self._prepared, many).to(self.tower.device))
        return (1 - vectors @ self.vector).unflatten(0, (len(images), count)).mean(1)


def changed_views(images: Tensor, draws: torch.Generator) -> Tensor:
    """Colour, place, size and a hole, each drawn for each image; differentiable (as Zhao et al. 2020, DiffAugment).

    Brightness moves by up to 0.2, saturation and contrast are scaled by 0.5 to 1.5, the image is moved by up to an
    eighth of its side and scaled by 0.8 to 1.25, and a square of a quarter of its side turns grey.

    Args:
        images: (n, 3, h, w) in [0, 1].
        draws: on the CPU.

    Returns:
        (n, 3, h, w) in [0, 1].
    """
    count, _, height, width = images.shape

    def drawn(low: float, high: float, *shape: int) -> Tensor:
        return (torch.rand(count, *shape, generator=draws) * (high - low) + low).to(images)

    seen = images + drawn(-0.2, 0.2, 1, 1, 1)
    grey = seen.mean(1, keepdim=True)
    seen = grey + (seen - grey) * drawn(0.5, 1.5, 1, 1, 1)
    middle = seen.mean((1, 2, 3), keepdim=True)
    seen = middle + (seen - middle) * drawn(0.5, 1.5, 1, 1, 1)
    scale, moved = 1 / drawn(0.8, 1.25), drawn(-0.25, 0.25, 2)
    zero = torch.zeros_like(scale)
    affine = torch.stack([torch.stack([scale, zero, moved[:, 0]], 1), torch.stack([zero, scale, moved[:, 1]], 1)], 1)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    seen = F.grid_sample(seen, grid, padding_mode="border", align_corners=False)
    top, left = drawn(0, 0.75, 1, 1, 1) * height, drawn(0, 0.75, 1, 1, 1) * width
    rows = torch.arange(height, device=images.device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=images.device).view(1, 1, 1, -1)
    hole = (rows >= top) & (rows < top + height / 4) & (columns >= left) & (columns < left + width / 4)
    return torch.where(hole, torch.full_like(seen, 0.5), seen).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class ConditionEnergy:
    """Squared distance of what is read from an image to the condition α.

    Args:
        read: images (n, 3, h, w) → (n, k), differentiable: a pose, a place, a size.
        name: for records.
    """

    read: Callable[[Tensor], Tensor]
    name: str = "condition"
    needs_neutral: bool = field(default=False, init=False)

    def __call__(self, images: Tensor, pairing: Pairing | None, draws: torch.Generator) -> Tensor:
        """‖r(x) − α‖². An error of the regressor is an error, and never a distance of 0."""
        wanted = _paired(pairing, self.name).condition
        with _evaluating(self.read):
            found = self.read(images)
        if found.shape != wanted.shape:
            raise InputError(
                f"{self.name}: read {tuple(found.shape)} from images, and the condition is {tuple(wanted.shape)}"
            )
        return (found - wanted).square().sum(1)


@dataclass(frozen=True, eq=False)
class IdentityEnergy:
    """1 − cosine to the features of the image of the same ε at the neutral condition.

    Args:
        features: images (n, 3, h, w) → (n, m), differentiable.
        name: for records.
    """

    features: Callable[[Tensor], Tensor]
    name: str = "identity"
    needs_neutral: bool = field(default=True, init=False)

    def __call__(self, images: Tensor, pairing: Pairing | None, draws: torch.Generator) -> Tensor:
        """Of each pair."""
        neutral = _paired(pairing, self.name).neutral
        if neutral is None:
            raise InputError(f"the energy {self.name} compares with the neutral condition, whose images did not come")
        with _evaluating(self.features):
            return 1 - F.cosine_similarity(self.features(images), self.features(neutral), dim=1)


def _paired(pairing: Pairing | None, name: str) -> Pairing:
    if pairing is None:
        raise InputError(f"the energy {name} needs a conditional control: give conditions to the fit")
    return pairing


def _evaluating(function: Callable[[Tensor], Tensor]) -> AbstractContextManager[object]:
    """Evaluation mode for a module of the caller; behind it every part is in the mode in which it came."""
    return lent(function) if isinstance(function, nn.Module) else nullcontext()
