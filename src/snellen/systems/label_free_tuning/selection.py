"""Which images of a collection show each class most surely: k for every class, none left without.

Imam et al., NoLA (arXiv 2411.19346), step 2: for each class the k images of highest probability among those that it is
the likeliest class of; for a class that is the likeliest of none, among those that it is the second or third of.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snellen.core.errors import InputError, ModelError


class CollapsedClassesWarning(UserWarning):
    """Classes that the classifier finds on no image, or on very few: their pseudo-labels are the least sure."""


class FewImagesWarning(UserWarning):
    """Fewer images than the least number for each class: those that there are will be used."""


@dataclass(frozen=True, eq=False)
class Selected:
    """Images with pseudo-labels, sorted by class and then by falling probability.

    Attributes:
        positions: of the images, int64 (m,); each at most once.
        labels: classes that they were chosen for, int64 (m,).
        confidences: probability of *that* class, float (m,).
        choices: 1 where the class is the likeliest of its image, 2 or 3 after the fallback, int64 (m,).
        likeliest: images that each class is the likeliest of, int64 (k,).
    """

    positions: Tensor
    labels: Tensor
    confidences: Tensor
    choices: Tensor
    likeliest: Tensor

    @property
    def counts(self) -> Tensor:
        """Images chosen for each class, int64 (k,)."""
        return torch.bincount(self.labels, minlength=len(self.likeliest))

    def report(self, class_names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """For each class: ``chosen``, ``likeliest``, ``choice`` that they were found by, ``least_confidence``."""
        rows = {}
        for number, name in enumerate(class_names):
            of = self.labels == number
            rows[name] = {
                "chosen": int(of.sum()),
                "likeliest": int(self.likeliest[number]),
                "choice": int(self.choices[of].max()),
                "least_confidence": round(float(self.confidences[of].min()), 6),
            }
        return rows


def images_per_class(count: int, classes: int, *, share: float = 0.2, least: int = 16, most: int = 512) -> int:
    """How many images to choose for each class: ⌊share · n / classes⌋, between ``least`` and ``most`` (k).

    >>> images_per_class(3000, 10), images_per_class(100, 10), images_per_class(100_000, 10)
    (60, 16, 512)

    Raises:
        InputError: a number out of range.
    """
    if count < 1 or classes < 1 or not 0 < share <= 1 or not 1 <= least <= most:
        raise InputError(
            f"expected images ≥ 1, classes ≥ 1, a share in (0, 1] and 1 ≤ least ≤ most; got {count}, {classes}, "
            f"{share}, {least} and {most}"
        )
    return min(max(int(share * count / classes), least), most)


def select_topk(
    probabilities: Tensor, k: int, *, fallback_depth: int = 3, class_names: Sequence[str] | None = None
) -> Selected:
    """Choose the k surest images of each class.

    A class that is the likeliest of no image gets those that it is the second choice of, else the third, down to
    ``fallback_depth``, by its own probability. It takes what no other class has chosen first, and only then from a
    class that has more than one.

    >>> found = select_topk(torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]]), 1)
    >>> found.positions.tolist(), found.labels.tolist(), found.likeliest.tolist()
    ([0, 2], [0, 1], [2, 1])

    Args:
        probabilities: of each class for each image, float (n, c), rows of any sum.
        k: images of each class, at most.
        fallback_depth: how far down an image's list of classes is searched.
        class_names: c of them, for the message about a class that is not found.

    Raises:
        InputError: not a matrix of finite numbers, or numbers out of range.
        ModelError: a class that is among the first choices of no image.
    """
    if probabilities.ndim != 2 or not len(probabilities) or not bool(torch.isfinite(probabilities).all()):
        lost = int((~torch.isfinite(probabilities)).sum())
        raise InputError(
            f"probabilities are finite numbers (n, c) of n ≥ 1 images; got {tuple(probabilities.shape)}, {lost} "
            f"of them not finite"
        )
    if k < 1 or fallback_depth < 1:
        raise InputError(f"k and fallback_depth are at least 1; got {k} and {fallback_depth}")
    classes = probabilities.shape[1]
    ranked = probabilities.argsort(dim=1, descending=True, stable=True)[:, :fallback_depth]
    likeliest = torch.bincount(ranked[:, 0], minlength=classes)
    chosen: dict[int, tuple[int, int]] = {}  # image → its class and the choice that it is
    for number in range(classes):
        for image in _surest(probabilities[:, number], ranked[:, 0] == number, k):
            chosen[image] = (number, 1)
    for number in (likeliest == 0).nonzero().flatten().tolist():
        if not _fall_back(number, probabilities[:, number], ranked, k, chosen):
            raise ModelError(
                f"class {repr(class_names[number]) if class_names else f'number {number}'} is among the first "
                f"{ranked.shape[1]} choices of no image that is left: the collection does not show it, or its "
                f"description does not fit; leave the class out, describe it better, or raise fallback_depth"
            )
    return _sorted(probabilities, chosen, likeliest)


def tell_collapse(selected: Selected, class_names: Sequence[str], k: int) -> tuple[str, ...]:
    """Warn of classes that are the likeliest of fewer images than a fourth of k; returns their names."""
    few = [name for name, count in zip(class_names, selected.likeliest.tolist(), strict=True) if count < max(1, k / 4)]
    if few:
        never = [name for name in few if not selected.likeliest[list(class_names).index(name)]]
        warnings.warn(
            f"{len(few)} of {len(class_names)} classes are the likeliest of fewer than {max(1, k // 4)} images "
            f"({', '.join(few[:5])}{', …' if len(few) > 5 else ''}), {len(never)} of them of none: their pseudo-labels "
            f"are mostly guesses, and training on them may lose these classes; describe them better, or look whether "
            f"the collection shows them",
            CollapsedClassesWarning,
            stacklevel=3,
        )
    return tuple(few)


def tell_few_images(count: int, classes: int, least: int) -> None:
    """Warn of a collection with fewer images than ``least`` for each class."""
    if count < classes * least:
        warnings.warn(
            f"{count} images for {classes} classes are fewer than {least} for each: as many as there are will be used",
            FewImagesWarning,
            stacklevel=3,
        )


def _surest(of_class: Tensor, among: Tensor, k: int) -> list[int]:
    candidates = among.nonzero().flatten()
    order = of_class[candidates].argsort(descending=True, stable=True)[:k]
    found: list[int] = candidates[order].tolist()
    return found


def _fall_back(number: int, of_class: Tensor, ranked: Tensor, k: int, chosen: dict[int, tuple[int, int]]) -> bool:
    """Choose images of a class that is the likeliest of none; whether there were any."""
    taken = torch.zeros(len(ranked), dtype=torch.bool)
    taken[list(chosen)] = True
    depths = range(1, ranked.shape[1])
    for depth in depths:
        if free := _surest(of_class, (ranked[:, depth] == number) & ~taken, k):
            chosen.update(dict.fromkeys(free, (number, depth + 1)))
            return True
    for depth in depths:
        owners = torch.bincount(torch.tensor([owner for owner, _ in chosen.values()]))
        for image in _surest(of_class, ranked[:, depth] == number, len(ranked)):
            if owners[chosen[image][0]] > 1:
                chosen[image] = (number, depth + 1)
                return True
    return False


def _sorted(probabilities: Tensor, chosen: dict[int, tuple[int, int]], likeliest: Tensor) -> Selected:
    rows = sorted(
        (label, -float(probabilities[image, label]), image, choice) for image, (label, choice) in chosen.items()
    )
    labels, negative, images, choices = zip(*rows, strict=True)
    return Selected(
        positions=torch.tensor(images),
        labels=torch.tensor(labels),
        confidences=-torch.tensor(negative),
        choices=torch.tensor(choices),
        likeliest=likeliest,
    )
