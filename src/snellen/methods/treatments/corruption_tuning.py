"""Fine-tuning for images that are damaged: under the kinds that were found, or by AugMix, which knows none of them.

Hendrycks et al., "AugMix", ICLR 2020, arXiv 1912.02781, for the second; the first is the augmentation of Di Salvo et
al., "MedMNIST-C", 2024, arXiv 2406.17536, in a fine-tuning instead of a training, and at the severities that are
measured. There each parameter is drawn by itself between its values at severities 1 and 5, and whole numbers are cut:
of one or two passes of glass blur there are never two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.apply import changed_by_number, corrupt
from snellen.methods.corruptions.benchmarks import Benchmark, benchmark
from snellen.methods.recipes.augmix import jensen_shannon
from snellen.methods.treatments.steady_changes import OFTEN, steady_changes
from snellen.methods.treatments.treatment import TRAINING, FineTuning, Patient
from snellen.training.batches import Batch
from snellen.training.fine_tuning import Term, TuningPlan
from snellen.training.transforms import BatchTransform, aug_mix, in_sequence

#: Smallest batch that is halved to: BatchNorm needs statistics.
SMALLEST = 8


class CorruptionTuning(FineTuning):
    """Train on with images under the kinds of damage that were found, at all severities of the audit.

    The stronger ones are more frequent: there most is lost. Damaged training images are still decided wrongly after a
    training, unlike clean ones, so that the longer one takes twice as many steps for the same images.

    >>> CorruptionTuning().passes
    4.0
    """

    name: ClassVar[str] = "corruption_tuning"
    treats: ClassVar[tuple[str, ...]] = ("corruption",)

    def longer(self, patient: Patient) -> Self:
        """For longer, and in batches of half the size, of 8 images at least."""
        plan = super().longer(patient).plan
        return self.model_copy(
            update={
                "plan": plan.model_copy(
                    update={"batch_size": min(plan.batch_size, max(plan.batch_size // 2, SMALLEST))}
                )
            }
        )

    def term(self, patient: Patient, *, rng: Randomness) -> Term:
        """A transform that damages every image, after mirroring and moving it where that changes no class.

        The training itself leaves a share of the images as they are.
        """
        check = patient.checks.get("corruption")
        chosen, measured = benchmark(getattr(check, "benchmark", "imagenet-c")), getattr(check, "chosen", ())
        severities = getattr(check, "severities", (1, 2, 3, 4, 5))
        kinds = [kind for one in patient.subjects("corruption") for kind in chosen.of_subject(one, measured)]
        if not kinds:
            return Term()
        steady, damage = steady_changes(patient), damage_at_severities(chosen, tuple(dict.fromkeys(kinds)), severities)
        return Term(transforms=(in_sequence(steady, damage) if steady else damage,) * OFTEN)


def damage_at_severities(chosen: Benchmark, kinds: Sequence[str], severities: Sequence[float]) -> BatchTransform:
    """A transform: every image under one of the kinds at one of the severities, each as often as it is strong."""
    pairs = [(kind, severity) for kind in kinds for severity in severities]
    shares = torch.tensor([severity for _, severity in pairs], dtype=torch.float64)
    ends = (shares.cumsum(0) / shares.sum())[:-1]

    def damaged(part: Tensor, number: int, rng: Randomness) -> Tensor:
        return corrupt(part, chosen, *pairs[number], rng.child("damage"))

    def change(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        drawn = torch.bucketize(rng.uniform("damage", ()).double(), ends)
        return changed_by_number(images, drawn, len(pairs), damaged, rng), targets

    return change


class AugMixTuning(FineTuning):
    """Train on towards answers that agree between an image and two mixtures of it."""

    name: ClassVar[str] = "augmix_tuning"
    treats: ClassVar[tuple[str, ...]] = ("corruption",)
    passes: ClassVar[float] = 8.0
    packages: ClassVar[Mapping[str, str]] = {**TRAINING, "torchvision": "models"}

    plan: TuningPlan = Field(TuningPlan(steps=160), description="numbers of the training; a step costs four")
    severity: int = Field(3, ge=1, le=10, description="strength of the operations")
    width: int = Field(3, ge=1, description="chains that are mixed")
    consistency: float = Field(12.0, ge=0, description="weight of the agreement between the views (λ)")

    def term(self, patient: Patient, *, rng: Randomness) -> Term:
        """λ times the Jensen–Shannon divergence of three answers."""
        mix = aug_mix(severity=self.severity, width=self.width)

        def disagreement(model: nn.Module, batch: Batch) -> Tensor:
            views = [mix(batch.images, batch.targets, batch.rng.child("view", number))[0] for number in (1, 2)]
            scores = model(torch.cat([batch.images, *views])).float()
            return self.consistency * jensen_shannon(*scores.chunk(3))

        return Term(objective=disagreement)
