"""A trigger that is unlearned: images of other classes with the recovered change, under their right labels.

Wang, Yao, Shan, Li, Viswanath, Zheng and Zhao, "Neural Cleanse: identifying and mitigating backdoor attacks in neural
networks", IEEE S&P 2019, section VI: a model is trained on for one pass over a tenth of the training images, a fifth of
which carry the reversed trigger under their right labels. Here the reversed trigger is the change that the audit kept,
at random strengths and a little moved, because it is like the trigger and not the same; half of the images carry it, as
in every fine-tuning here; and as many steps are taken as in these. No poisoned image is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.treatments.treatment import FineTuning, Patient
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.systems.smooth_inversion.kept_changes import KeptChange, read_changes
from snellen.training.fine_tuning import Term
from snellen.training.transforms import BatchTransform, random_shifts


class TriggerUnlearning(FineTuning):
    """Train on with images of other classes that carry the recovered change, under their right labels.

    >>> TriggerUnlearning().strongest
    2.0
    """

    name: ClassVar[str] = "trigger_unlearning"
    treats: ClassVar[tuple[str, ...]] = ("backdoor",)

    weakest: float = Field(0.5, gt=0, description="least strength of the change; 1 is as it was recovered")
    strongest: float = Field(2.0, gt=0, description="largest strength of the change, at least the least one")
    shift: int = Field(1, ge=0, description="pixels that the change is moved by, at most, in each direction")

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """An audit that kept no changes, or none for the classes that were found."""
        if self.strongest < self.weakest:
            return f"needs strengths from weakest to strongest, and got {self.weakest:g} to {self.strongest:g}"
        try:
            changes = changes_of(patient.folder)
        except InputError as error:
            return f"needs what the audit recovered: {error}"
        unknown = sorted(set(patient.subjects("backdoor")) - {one.target for one in changes})
        if unknown:
            return f"finds no change towards {', '.join(unknown)} in {patient.folder}"
        size, seen = tuple(changes[0].change.shape), tuple(patient.val.images.shape[1:])
        return None if size == seen else f"has changes of {size}, and the classifier sees images of {seen}"

    def term(self, patient: Patient, *, rng: Randomness) -> Term:
        """A transform for each change towards a class that was found."""
        found, names = set(patient.subjects("backdoor")), patient.classifier.class_names
        return Term(
            transforms=tuple(
                self._stamped(one.change, names.index(one.target))
                for one in changes_of(patient.folder)
                if one.target in found
            )
        )

    def _stamped(self, change: Tensor, target: int) -> BatchTransform:
        """Add the change to images of other classes; those of the class itself stay as they are."""
        moved = random_shifts(self.shift)

        def stamp(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
            labels = targets.argmax(1) if targets.ndim == 2 else targets
            strengths = rng.uniform("strength", (1, 1, 1), self.weakest, self.strongest, like=images)
            changes = moved(change.to(images).expand_as(images), targets, rng)[0]
            other = (labels != target).to(images.device)[:, None, None, None]
            return torch.where(other, (images + strengths * changes).clamp(0, 1), images), targets

        return stamp


def changes_of(folder: Path | None) -> list[KeptChange]:
    """The changes that an audit kept.

    Raises:
        InputError: it kept none.
    """
    if folder is None:
        raise InputError("the audit was kept without its run directory; audit again with out=FOLDER (--out FOLDER)")
    return read_changes(folder)
