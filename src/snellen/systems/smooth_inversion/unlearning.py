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
from torch import Tensor, nn
from torch.nn import functional

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.in_training import lent
from snellen.methods.treatments.treatment import FineTuning, Patient
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.systems.smooth_inversion.kept_changes import KeptChange, read_changes
from snellen.training.batches import Batch
from snellen.training.fine_tuning import Term
from snellen.training.objectives import cross_entropy
from snellen.training.transforms import BatchTransform, random_shifts

#: What the changes that follow are called among the buffers of a training.
_FOLLOWING = "following_change_"

#: Step of a change that follows, as a share of its largest length.
STEP = 0.1


class TriggerUnlearning(FineTuning):
    """Train on with images of other classes that carry the recovered change, under their right labels.

    >>> TriggerUnlearning().strongest
    2.0
    """

    name: ClassVar[str] = "trigger_unlearning"
    treats: ClassVar[tuple[str, ...]] = ("backdoor",)

    weakest: float = Field(0.5, gt=0, description="least strength of the change; 1 is as it was recovered")
    strongest: float = Field(2.0, gt=0, description="largest strength of the change, at least the least one")
    followed: int = Field(
        1, ge=0, description="steps towards the class, at each step of the training, of a second change that follows"
    )
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
        """A transform for each change towards a class that was found, and the losses under those that follow."""
        found, names = set(patient.subjects("backdoor")), patient.classifier.class_names
        changes = [one for one in changes_of(patient.folder) if one.target in found]
        targets = [names.index(one.target) for one in changes]
        state = {f"{_FOLLOWING}{number}": one.change.clone() for number, one in enumerate(changes)}

        def under_followers(model: nn.Module, batch: Batch) -> Tensor:
            losses = [
                self._followed(model, batch, f"{_FOLLOWING}{number}", target, float(one.change.norm()))
                for number, (one, target) in enumerate(zip(changes, targets, strict=True))
            ]
            return torch.stack(losses).mean(0)

        return Term(
            transforms=tuple(self._stamped(one.change, target) for one, target in zip(changes, targets, strict=True)),
            objective=under_followers if self.followed else None,
            state=state if self.followed else {},
        )

    def _followed(self, model: nn.Module, batch: Batch, name: str, target: int, length: float) -> Tensor:
        """Losses (n,) under the change that follows, once it has taken its steps towards the class."""
        change = getattr(model, "module", model).get_buffer(name)
        labels = batch.targets.argmax(1) if batch.targets.ndim == 2 else batch.targets
        other = (labels != target)[:, None, None, None]
        wanted = torch.full_like(labels, target)
        radius = self.strongest * length
        with lent(model):
            for _ in range(self.followed):
                free = change.clone().requires_grad_(True)
                scores = model((batch.images + free).clamp(0, 1)).float()
                loss = (functional.cross_entropy(scores, wanted, reduction="none") * other.flatten()).sum()
                slope = torch.autograd.grad(loss, free)[0]
                with torch.no_grad():
                    change.sub_(STEP * radius * slope / slope.norm().clamp_min(1e-12))
                    change.mul_((radius / change.norm().clamp_min(1e-12)).clamp_max(1.0))
        images = torch.where(other, (batch.images + change).clamp(0, 1), batch.images)
        return cross_entropy(model(images).float(), batch.targets)

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
