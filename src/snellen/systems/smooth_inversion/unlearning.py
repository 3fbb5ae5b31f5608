"""A trigger that is unlearned: images of other classes with the recovered change, under their right labels.

Wang, Yao, Shan, Li, Viswanath, Zheng and Zhao, "Neural Cleanse: identifying and mitigating backdoor attacks in neural
networks", IEEE S&P 2019, section VI: a model is trained on for one pass over a tenth of the training images, and a
fifth of these carry the reversed trigger under their right labels. Here the reversed trigger is the change that the
audit kept, at random strengths and a little moved; half of the images carry it, as in every fine-tuning here.

A recovered change is like the trigger and not the same, and a trigger of few pixels survives that alone. So a second
change begins as the recovered one and moves towards the class while the network unlearns it: the minimum over weights
of the maximum over one change for all images of Zeng, Chen, Park, Mao, Jin and Jia, "Adversarial unlearning of
backdoors via implicit hypergradient", ICLR 2022, arXiv 2110.03735, equation 1, by turns and without the hypergradient.
No poisoned image is needed.
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

#: What second changes are called among the buffers of a training.
_SECOND = "second_change_"

#: Step of a second change, as a share of the length of the recovered one, which it does not exceed.
STEP = 0.1


class TriggerUnlearning(FineTuning):
    """Train on with images of other classes that carry the recovered change, under their right labels.

    >>> TriggerUnlearning().strongest
    2.0
    """

    name: ClassVar[str] = "trigger_unlearning"
    treats: ClassVar[tuple[str, ...]] = ("backdoor",)
    passes: ClassVar[float] = 12.0

    weakest: float = Field(0.5, gt=0, description="least strength of the change; 1 is as it was recovered")
    strongest: float = Field(2.0, gt=0, description="largest strength of the change, at least the least one")
    shift: int = Field(1, ge=0, description="pixels that the change is moved by, at most, on half of the images")
    search_steps: int = Field(
        1, ge=0, description="steps towards the class of a second change, at each step of the training; 0: none"
    )

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
        """A transform for each change towards a class that was found, and the losses under second changes."""
        found, names = set(patient.subjects("backdoor")), patient.classifier.class_names
        changes = [one for one in changes_of(patient.folder) if one.target in found]
        targets = [names.index(one.target) for one in changes]
        state = {f"{_SECOND}{number}": one.change.clone() for number, one in enumerate(changes)}

        def under_second_changes(model: nn.Module, batch: Batch) -> Tensor:
            losses = [
                self._under_second(model, batch, f"{_SECOND}{number}", target, float(one.change.norm()))
                for number, (one, target) in enumerate(zip(changes, targets, strict=True))
            ]
            return torch.stack(losses).mean(0)

        return Term(
            transforms=tuple(self._stamped(one.change, target) for one, target in zip(changes, targets, strict=True)),
            objective=under_second_changes if self.search_steps else None,
            state=state if self.search_steps else {},
        )

    def _under_second(self, model: nn.Module, batch: Batch, name: str, target: int, length: float) -> Tensor:
        """Losses (n,) under a second change, once it has taken its steps towards the class."""
        change = getattr(model, "module", model).get_buffer(name)
        labels = batch.targets.argmax(1) if batch.targets.ndim == 2 else batch.targets
        other = (labels != target)[:, None, None, None]
        wanted = torch.full_like(labels, target)
        with lent(model):
            for _ in range(self.search_steps):
                free = change.clone().requires_grad_(True)
                scores = model((batch.images + free).clamp(0, 1)).float()
                loss = (functional.cross_entropy(scores, wanted, reduction="none") * other.flatten()).sum()
                slope = torch.autograd.grad(loss, free)[0]
                with torch.no_grad():
                    change.sub_(STEP * length * slope / slope.norm().clamp_min(1e-12))
                    change.mul_((length / change.norm().clamp_min(1e-12)).clamp_max(1.0))
        images = torch.where(other, (batch.images + change).clamp(0, 1), batch.images)
        return cross_entropy(model(images).float(), batch.targets)

    def _stamped(self, change: Tensor, target: int) -> BatchTransform:
        """Add the change to images of other classes; those of the class itself stay as they are."""
        moved = random_shifts(self.shift)

        def stamp(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
            labels = targets.argmax(1) if targets.ndim == 2 else targets
            strengths = rng.uniform("strength", (1, 1, 1), self.weakest, self.strongest, like=images)
            changes = change.to(images).expand_as(images)
            # A trigger of few pixels stays in place; of the others, the neighbourhood is unlearned too.
            still = rng.uniform("still", (1, 1, 1), like=images) < 0.5
            changes = torch.where(still, changes, moved(changes, targets, rng)[0])
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
