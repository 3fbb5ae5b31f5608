"""Which students are trained: one recipe for real, generated and mixed images, and standard models for the line.

The recipe keeps the number of *epochs*, as published: a mixture has twice the images and so twice the updates of real
images alone. Two controls take that apart: the mixture at as many updates as the real images, and the real images at as
many as the mixture. The pool of standard models is trained on real images alone: parts of them, for as many updates,
under seeds of its own. With few updates a model of a small part would be at chance everywhere, and bend the line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.data.class_balance import rows_by_class
from snellen.training.students import StudentPlan
from snellen.training.transforms import BatchTransform, aug_mix, rand_augment

#: Students of real images, and what stands behind the name of a setting.
REAL, LONGER = "real", "real, twice the updates"
MIXED, MATCHED = " + real", " + real, equal updates"

#: Name of the standard models.
POOL = "standard"

#: Shares of the real images that standard models are trained on.
SHARES = (1.0, 0.5, 0.25, 0.125)

#: Seeds of the pool begin here, so that no standard model is a student.
FIRST_OF_POOL = 10_000

Augmentation = Literal["augmix", "rand-augment"]

Updates = Literal["kept epochs", "of real", "of mixture"]


@dataclass(frozen=True)
class Arm:
    """One student.

    Attributes:
        name: of its kind: students of one name differ by their seeds alone.
        share: of the real images, in [0, 1]; 0 without any.
        setting: of the generator; None without generated images.
        updates: the epochs of the recipe over its own images; or as many updates as the recipe has on all real ones, or
            on twice as many.
        augmentation: of each batch.
        seed: of initial weights and order.
    """

    name: str
    share: float
    setting: str | None
    updates: Updates
    augmentation: Augmentation | None
    seed: int

    @property
    def transform(self) -> BatchTransform | None:
        """The augmentation of each batch."""
        if self.augmentation is None:
            return None
        return aug_mix() if self.augmentation == "augmix" else rand_augment()

    def recipe(self, plan: StudentPlan, real: int) -> StudentPlan:
        """The recipe of this student: that of all, but for the number of updates.

        Args:
            plan: by epochs.
            real: number of all real images.
        """
        if self.updates == "kept epochs":
            return plan
        updates = plan.updates(real) * (2 if self.updates == "of mixture" else 1)
        return plan.model_copy(update={"schedule": "updates", "amount": updates})


def arms_of(
    settings: Sequence[str],
    *,
    augmentations: Sequence[Augmentation] = ("augmix", "rand-augment"),
    seeds: int = 5,
    pool: int = 2,
) -> list[Arm]:
    """All students: those of real images, of each setting alone and mixed, under augmentations, and the pool.

    Args:
        settings: of the generator.
        augmentations: common ones, on real images at as many updates.
        seeds: students of each kind.
        pool: standard models of each share of the real images.

    Raises:
        InputError: fewer than two seeds, or no standard model.
    """
    if seeds < 2 or pool < 1:
        raise InputError(
            f"an interval takes at least 2 seeds, and a line a pool of 1 model a share; got {seeds}, {pool}"
        )
    kinds: list[tuple[str, float, str | None, Updates, Augmentation | None]] = [
        (REAL, 1.0, None, "kept epochs", None),
        (LONGER, 1.0, None, "of mixture", None),
        *((f"{REAL}, {name}", 1.0, None, "kept epochs", name) for name in augmentations),
    ]
    for setting in settings:
        kinds += [
            (setting, 0.0, setting, "kept epochs", None),
            (f"{setting}{MIXED}", 1.0, setting, "kept epochs", None),
            (f"{setting}{MATCHED}", 1.0, setting, "of real", None),
        ]
    students = [Arm(*kind, seed) for kind in kinds for seed in range(seeds)]
    standard = [
        Arm(POOL, share, None, "of real", None, FIRST_OF_POOL + number * len(SHARES) + place)
        for number in range(pool)
        for place, share in enumerate(SHARES)
    ]
    return [*students, *standard]


def share_of_each(images: ImageSet, share: float, seed: int) -> list[str]:
    """Ids of a share of the images of each class, at least one: nested, and as unbalanced as the set itself."""
    if share >= 1:
        return images.ids
    ids, chosen = images.ids, list[int]()
    for rows in rows_by_class(images, seed).values():
        chosen += rows[: max(1, round(share * len(rows)))] if rows else []
    return [ids[row] for row in sorted(chosen)]
