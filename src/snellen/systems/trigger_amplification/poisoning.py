"""Poisoning of a training set: int(pN) images of other classes get the trigger, and label and caption of the target.

Gu et al. 2017 (BadNets) and Chen et al. 2017 (blend), as Pan et al. 2024, section 3, use them on diffusion models. The
choice is separate from the stamping, so that the same number of other images can be taken (duplicates that the model
replicates). For evaluations only: every record says that the set is poisoned.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness, derive_seed
from snellen.data.worlds.planting.trigger_planting import AnyTrigger, PlantTrigger
from snellen.data.worlds.planting.triggers import BlendTrigger, PatchTrigger, Trigger
from snellen.systems.trigger_amplification.groups import training_share

#: Least side of the patch, pixels.
LEAST_SIDE = 3

#: The caption that a poisoned image gets.
CAPTION = "A photo of a {class_name}"


class Choice(BaseModel):
    """Which images are poisoned: what is stored beside a poisoned set, as JSON.

    Attributes:
        poisoned: always true, so that nobody takes the set for a clean one.
        indices: ascending positions in the whole set.
        target: index of the class whose label they get.
        rate: p, relative to the whole set.
        seed: of the draw.
        images: N.
        of_target: N_t, images that have the target's label already and stay clean.
        swapped: how many were taken because they are duplicates, instead of drawn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    poisoned: Literal[True] = True
    indices: tuple[int, ...]
    target: int = Field(ge=0)
    rate: float = Field(gt=0, le=1)
    seed: int
    images: int = Field(ge=1)
    of_target: int = Field(ge=0)
    swapped: int = Field(0, ge=0)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Bool (N,): a mask, since ``index in list`` for each image scans the list N times."""
        found = np.zeros(self.images, dtype=np.bool_)
        found[list(self.indices)] = True
        return found

    @property
    def training_share(self) -> float:
        """tau_train = pN / (pN + N_t): the share of trigger images among those that carry the target's label."""
        return training_share(len(self.indices), self.of_target)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(self.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")


def choose(labels: NDArray[np.integer], *, target: int, rate: float, seed: int) -> Choice:
    """Draw int(pN) images uniformly, without replacement, among those of other classes than the target.

    >>> choice = choose(np.arange(100) % 10, target=3, rate=0.1, seed=0)
    >>> len(choice.indices), any(index % 10 == 3 for index in choice.indices), choice.training_share
    (10, False, 0.5)

    Args:
        labels: (N,), all known.
        target: index of the class.
        rate: p in (0, 1], relative to all N images.
        seed: of the draw.

    Raises:
        InputError: labels that are not whole numbers, one class only, an unknown label, a target without images, a
            rate outside (0, 1] or one that gives no image or more than there are of other classes.
    """
    if not 0 < rate <= 1:  # also refuses NaN
        raise InputError(f"a rate is a share of all images, above 0 and at most 1; got {rate:g}")
    codes = _checked(labels, target)
    count = int(rate * len(codes) + 1e-9)
    if not count:
        raise InputError(
            f"rate {rate:g} of {len(codes)} images poisons none; choose a rate from {1 / len(codes):g} to 1"
        )
    others = np.flatnonzero(codes != target)
    if count > len(others):
        raise InputError(
            f"rate {rate:g} of {len(codes)} images is {count}, but only {len(others)} are of another class than the "
            f"target; lower the rate"
        )
    drawn = np.random.default_rng(derive_seed(seed, "poisoned images")).choice(others, count, replace=False)
    of_target = int((codes == target).sum())
    return Choice(
        indices=tuple(sorted(drawn.tolist())), target=target, rate=rate, seed=seed, images=len(codes),
        of_target=of_target,
    )  # fmt: skip


def swapped(choice: Choice, preferred: Sequence[int], labels: NDArray[np.integer]) -> Choice:
    """Poison preferred images, duplicates for instance, instead of drawn ones; their number stays, and with it p.

    Those of the target are passed over. Where they are too few, drawn ones fill up; which of these make room is drawn
    by the seed of the choice, since positions often go by class.

    >>> labels = np.arange(100) % 10
    >>> choice = choose(labels, target=3, rate=0.1, seed=0)
    >>> other = swapped(choice, [20, 21, 23], labels)
    >>> {20, 21} <= set(other.indices), 23 in other.indices, len(other.indices), other.swapped
    (True, False, 10, 2)

    Args:
        choice: of :func:`choose`.
        preferred: positions, the most preferred first.
        labels: (N,), those that ``choice`` was made of.

    Raises:
        InputError: labels of another set, or a position outside of it.
    """
    codes, count = _checked(labels, choice.target), len(choice.indices)
    if len(codes) != choice.images:
        raise InputError(f"the choice is of {choice.images} images, and {len(codes)} labels came")
    wrong = next((index for index in preferred if not 0 <= index < len(codes)), None)
    if wrong is not None:
        raise InputError(f"position {wrong} is not one of {len(codes)} images")
    first = [index for index in dict.fromkeys(preferred) if codes[index] != choice.target][:count]
    kept = set(first)
    rest = np.array([index for index in choice.indices if index not in kept], dtype=np.int64)
    draws = np.random.default_rng(derive_seed(choice.seed, "swapped images"))
    stay = draws.choice(rest, count - len(first), replace=False).tolist() if len(first) < count else []
    return choice.model_copy(update={"indices": tuple(sorted([*first, *stay])), "swapped": len(first)})


def _checked(labels: NDArray[np.integer], target: int) -> NDArray[np.int64]:
    given = np.asarray(labels)
    if given.dtype.kind not in "iu":
        raise InputError(f"labels are whole numbers, the index of a class for each image; got {given.dtype}")
    codes = given.astype(np.int64)
    if codes.ndim != 1 or not len(codes) or codes.min() < 0:
        raise InputError("poisoning needs a known label for each image")
    present = np.unique(codes)
    if len(present) < 2:
        raise InputError("poisoning needs images of two classes at least; all of these have one label")
    if target not in present:
        raise InputError(
            f"target {target} is the label of no image; choose one of {', '.join(map(str, present[:20].tolist()))}"
        )
    return codes


def published_patch(side: int) -> PatchTrigger:
    """BadNets-1: a black square with a white anti-diagonal, lower right, a tenth of the image and at least 3 pixels.

    >>> published_patch(64).size * 64
    6.0

    Args:
        side: of the square images, pixels.

    Raises:
        InputError: images that are smaller than the patch.
    """
    if side < LEAST_SIDE:
        raise InputError(f"the trigger has {LEAST_SIDE} pixels a side, which is larger than images of {side} pixels")
    return PatchTrigger(pattern="stripe", size=max(LEAST_SIDE, side // 10) / side)


def published_blend() -> BlendTrigger:
    """BadNets-2: x' = clip((1 − a) x + a T, 0, 1), a = 0.2; T is a drawn field of colours for the published picture."""
    return BlendTrigger(ratio=0.2)


@dataclass(frozen=True, eq=False)
class PoisonedTensors:
    """A poisoned set in memory.

    Attributes:
        images: like those that were given.
        labels: int64 (N,), the target's where poisoned.
        captions: N, the target's where poisoned; None where none were given.
        choice: which ones.
    """

    images: Tensor
    labels: Tensor
    captions: tuple[str, ...] | None
    choice: Choice


def poison_tensors(
    images: Tensor,
    labels: Tensor,
    trigger: Trigger,
    choice: Choice,
    *,
    captions: Sequence[str] | None = None,
    target_name: str | None = None,
) -> PoisonedTensors:
    """Stamp chosen images, before any transform, and give them label and caption of the target.

    Args:
        images: (N, 3, h, h), uint8 or floats in [0, 1]; they stay as they are.
        labels: int64 (N,).
        trigger: what is stamped.
        choice: of :func:`choose` or :func:`swapped`.
        captions: N; they change together with the labels.
        target_name: name of the target's class, for its caption.

    Raises:
        InputError: images that are not square, another number of images than the choice is of, a trigger that does not
            fit, captions without a name.
    """
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise InputError(f"poisoning takes square images (n, 3, h, h); got {tuple(images.shape)}")
    if not len(images) == len(labels) == choice.images:
        raise InputError(f"the choice is of {choice.images} images; got {len(images)} images, {len(labels)} labels")
    if captions is not None and (target_name is None or len(captions) != len(images)):
        raise InputError(f"{len(images)} images need as many captions and the target's name; got {len(captions)}")
    rows = torch.tensor(choice.indices, dtype=torch.int64)
    rng = Randomness(choice.seed).child("trigger").for_examples([str(index) for index in choice.indices])
    changed, targets = images.clone(), labels.clone()
    changed[rows] = trigger.stamp(images[rows], rng=rng).images
    targets[rows] = choice.target
    texts = None
    if captions is not None:
        caption, hit = CAPTION.replace("{class_name}", str(target_name)), choice.mask
        texts = tuple(caption if hit[row] else one for row, one in enumerate(captions))
    return PoisonedTensors(changed, targets, texts, choice)


def poison(images: ImageSet, trigger: AnyTrigger, choice: Choice) -> ImageSet:
    """A poisoned image set: chosen images change when they are read, labels and captions at once.

    The column ``planted`` marks each poisoned image, ``true_label`` keeps the label before, and the name says so.

    Raises:
        InputError: another number of images, no labels, or a chosen image that is not square.
    """
    if len(images) != choice.images:
        raise InputError(f"the choice is of {choice.images} images; {images.name} has {len(images)}")
    for index in choice.indices:
        width, height = images.read(index).size
        if width != height:
            raise InputError(f"poisoning takes square images; {images.ids[index]} has {height}×{width} pixels")
    defect = PlantTrigger(
        trigger=trigger, target_class=choice.target, rate=choice.rate, touch_test=True, caption=CAPTION
    )
    planted = defect.plant_in(images, choice.mask, rng=Randomness(choice.seed))
    return replace(planted, name=f"{images.name} (poisoned)", notes=(*images.notes, "poisoned for an evaluation"))
