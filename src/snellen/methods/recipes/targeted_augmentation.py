"""Targeted augmentation: train on images under the corruptions of a benchmark.

Di Salvo, Doerrich and Ledig, "MedMNIST-C: Comprehensive benchmark and improved classifier robustness by simulating
realistic image corruptions", 2024, arXiv 2406.17536. The training numbers below are the paper's (100 epochs, AdamW,
learning rate 1e-4, cosine); the batch size is not given there.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from snellen.core.errors import InputError
from snellen.methods.corruptions.apply import targeted_augmentation
from snellen.methods.corruptions.benchmarks import BenchmarkName, benchmark
from snellen.training.fitting.frame import laid_over
from snellen.training.fitting.recipe import ClassifierRecipe
from snellen.training.plan import TrainingPlan
from snellen.training.transforms import BatchTransform

PAPER_PLAN = TrainingPlan(
    epochs=100, batch_size=64, optimizer="adamw", learning_rate=1e-4, schedule="cosine", select="accuracy"
)


class TargetedAugmentation(ClassifierRecipe):
    """Train with the corruptions of a benchmark as augmentation.

    >>> TargetedAugmentation(benchmark="bloodmnist", hold_out="noise")
    Traceback (most recent call last):
    snellen.core.errors.InputError: TargetedAugmentation: unknown family of bloodmnist 'noise'. Known: blur, ...
    """

    name: ClassVar[str] = "targeted_augmentation"
    treats: ClassVar[tuple[str, ...]] = ("corruption", "nuisance")

    benchmark: BenchmarkName = Field(
        "imagenet-c", description="whose kinds and strengths: imagenet-c, or a data set of MedMNIST-C"
    )
    hold_out: str | None = Field(
        None, description="family of corruptions to leave out, so that testing on it is free of leakage"
    )
    plan: Annotated[TrainingPlan, laid_over(PAPER_PLAN)] = Field(
        PAPER_PLAN, description="numbers of the training; those that a mapping leaves out are the paper's"
    )

    @model_validator(mode="after")
    def _known_family(self) -> TargetedAugmentation:
        try:
            self.kinds  # noqa: B018
        except InputError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that are trained on."""
        chosen = benchmark(self.benchmark)
        kept = chosen.kinds if self.hold_out is None else chosen.without_family(self.hold_out)
        return tuple(kind for kind in kept if kind in chosen.main)

    def transform(self, class_count: int) -> BatchTransform:
        """Corrupt after crops and flips."""
        return targeted_augmentation(benchmark(self.benchmark), self.kinds)

    def title(self) -> str:
        """Name of the artifact."""
        return f"targeted-augmentation-{self.benchmark}"

    def recipe(self) -> dict[str, Any]:
        """The parameters, and the kinds that follow from them."""
        return {**self.record(), "kinds": list(self.kinds)}
