"""Images that really show their class: gradient-free classifier guidance.

R. Shenoy et al. 2024, arXiv 2411.15393. A classifier scores the denoised estimate of each step; where it is confused,
the next step goes away from the class that it confuses the image with.
:mod:`snellen.systems.gradient_free_guidance.confusion` says what is certain about the published method and what is a
reconstruction; each reconstructed choice is an option here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, PrivateAttr, model_validator

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, unknown_name
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.methods.generation.generator_call import BLANK, NO_CLASS, GeneratorCall
from snellen.methods.generation.guided_sampling import GuidedSampling
from snellen.methods.generation.made_images import classifier_of, generator_of, identities_of, weights_of
from snellen.methods.generation.teachers import check_guide, read_estimates
from snellen.models.diffusion.denoiser import Denoiser
from snellen.models.diffusion.generate import Steering
from snellen.models.diffusion.guidance import GuidanceTerm, classifier_free
from snellen.systems.gradient_free_guidance.confusion import (
    ConfusionRule,
    ReferencePolicy,
    ReferenceRule,
    ScalePolicy,
    ScaleRule,
)
from snellen.systems.gradient_free_guidance.gradient_free import (
    Deciding,
    GradientFreeRule,
    Tally,
    away_from_confusion,
    confused_autoguidance,
    decision_rows,
    mixed_reference,
    mixing_policy,
)


class GradientFreeGuidance(GuidedSampling):
    """Sample classes, guided away from those that a classifier confuses them with, without gradients.

    Alone, with classifier-free guidance (``guidance_scale``) as a second term or (``mix``) as one reference of both, or
    with autoguidance (``weak``).
    """

    name: ClassVar[str] = "gradient_free_guidance"

    generator: str = Field("bundled:fashion-diffusion", description="diffusers:FOLDER or bundled:NAME")
    classifier: str = Field("bundled:fashion-cnn", description="that guides: a reference as of snellen audit")
    classes: str | None = Field(
        None, description="FILE with a name a line for the classifier's classes, as the generator calls them"
    )
    judge: str | None = Field(
        None, description="another classifier with these classes, that tells how many images are right"
    )
    gamma: float = Field(3.0, ge=0, allow_inf_nan=False, description="scale w = 1 + gamma times the confusion")
    highest_scale: float = Field(5.0, ge=1, allow_inf_nan=False, description="w is never above this")
    lowest_scale: float = Field(
        1.0, ge=1, allow_inf_nan=False, description="w of a certain classifier, where the scale is linear"
    )
    scale: ScaleRule = Field("proportional", description="w by gamma, or linear from the lowest to the highest scale")
    confusion: ConfusionRule = Field(
        "doubt", description="1 - p(class), p(competitor), or half of their difference plus 1"
    )
    reference: ReferenceRule = Field("strongest", description="class to guide away from")
    fixed_reference: str | None = Field(None, description="name of the class of --reference fixed")
    skip_below: float = Field(0.02, ge=0, allow_inf_nan=False, description="samples with w - 1 below are not guided")
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False, description="of the classifier's softmax")
    sigmas: tuple[float, float] | None = Field(
        None, description="lowest and highest noise (sigma of EDM) at which the classifier guides; none: always"
    )
    every: int = Field(1, ge=1, description="the classifier looks at each m-th step; w and class stay in between")
    lagged_reference: bool = Field(
        False, description="take w and class of the step before: one call of the network a step"
    )
    guidance_scale: float = Field(1.0, allow_inf_nan=False, description="of classifier-free guidance beside it")
    mix: bool = Field(False, description="one reference, from nothing to the competitor as confusion grows")
    weak: str | None = Field(
        None, description="generator of the same kind, but weaker: autoguidance, from the competitor where confused"
    )
    weak_scale: float = Field(2.0, ge=1, allow_inf_nan=False, description="of autoguidance")
    confused_above: float = Field(
        0.5, ge=0, le=1, description="confusion above which the weak one is told the competitor"
    )

    _tally: Tally = PrivateAttr(default_factory=Tally)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.mix and not self.guidance_scale > 1:
            raise ValueError(
                f"mix turns the reference of classifier-free guidance; guidance_scale {self.guidance_scale}"
            )
        if self.weak is not None and (self.mix or self.guidance_scale != 1):
            raise ValueError("weak is the reference of autoguidance; leave mix and guidance_scale away")
        if (self.reference == "fixed") != (self.fixed_reference is not None):
            raise ValueError(
                f"fixed_reference goes with reference 'fixed'; got {self.reference}, {self.fixed_reference}"
            )
        if self.judge is not None and self.judge == self.classifier:
            raise ValueError(f"the judge is another classifier than the one that guides; got {self.judge} for both")
        self.rule(() if self.fixed_reference is None else (self.fixed_reference,))
        return self

    def rule(self, class_names: Sequence[str]) -> GradientFreeRule:
        """The policies of decisions in the fields.

        Raises:
            InputError: numbers that make no sense together.
            UnknownNameError: a fixed reference that is no class.
        """
        if self.fixed_reference is not None and self.fixed_reference not in class_names:
            raise unknown_name("class of fixed_reference", self.fixed_reference, class_names)
        fixed = None if self.fixed_reference is None else list(class_names).index(self.fixed_reference)
        policy = ScalePolicy(
            gamma=self.gamma,
            confusion=self.confusion,
            rule=self.scale,
            lowest=self.lowest_scale,
            highest=self.highest_scale,
            threshold=self.skip_below,
        )
        return GradientFreeRule(
            reference=ReferencePolicy(self.reference, fixed),
            scale=mixing_policy(policy, self.guidance_scale) if self.mix else policy,
            temperature=self.temperature,
            sigmas=self.sigmas or (0.0, math.inf),
            every=self.every,
            lagged=self.lagged_reference,
        )

    def known_classes(self) -> tuple[str, ...]:
        """Those of the classifier."""
        return self._guide().class_names

    def steering(self, requested: GeneratorCall) -> GradientFreeSteer:
        """The terms of each batch, and what they did.

        Raises:
            InputError: an image without a class, a prompt that does not say where its class is.
        """
        if bool((requested.classes == NO_CLASS).any()):
            raise InputError(f"each image needs a class that {self.classifier} knows; {NO_CLASS} is none: say 'class'")
        stray = next((one for one in requested.templates or () if BLANK not in one), None)
        if stray is not None:
            raise InputError(
                f"the prompt {stray!r} does not say where its class is, so no other class can be guided away from; "
                f"write {BLANK} for it"
            )
        weak = None if self.weak is None else generator_of(self.weak).denoiser
        return GradientFreeSteer(self, self._guide(), requested, weak, self._tally)

    def generate(self, requests: Sequence[Mapping[str, Any]], *, rng: Randomness) -> ImageSet:
        """One image for each request: ``id``, ``class`` (name or number), and ``prompt`` and ``seed`` if they matter.

        The column ``attributes`` lists for each the steps that were guided, away from which class, and how far.

        Raises:
            InputError: a class that is not known, classes that generator and classifier do not share, a judge that is
                the guide.
        """
        judge, made = self._judge(), super().generate(requests, rng=rng)
        if judge is not None:
            images = torch.stack([judge.prepare(made.read(row)) for row in range(len(made))]).to(judge.device)
            with torch.no_grad():
                reported = judge.predict(judge(images)).tolist()
            requested = [self.known_classes()[int(str(label))] for label in made.column("label")]
            self._tally.judged += len(reported)
            self._tally.right += sum(
                judge.class_names[one] == name for one, name in zip(reported, requested, strict=True)
            )
        return made

    def notes(self) -> tuple[str, ...]:
        """Mean scale, share of guided steps, answers that were not finite, and the judge's count, of what was made."""
        return self._tally.lines(self.classifier, self.judge)

    def identities(self) -> dict[str, str]:
        """Hashes of the weights of generator, classifier, weak generator and judge.

        Raises:
            InputError: classes that generator, classifier and judge do not share, a judge that is the guide.
        """
        generator, names, judge = generator_of(self.generator), self.known_classes(), self._judge()
        self.rule(names)
        GeneratorCall(generator, (0,), names, torch.zeros(1, dtype=torch.int64), ("{}",) if generator.text else None)
        weak = {} if self.weak is None else identities_of(generator_of(self.weak), "weak ")
        judged = {} if judge is None else {"judge": judge.identity or "unknown"}
        return {**super().identities(), **weak, "classifier": self._guide().identity or "unknown", **judged}

    def _guide(self) -> Classifier:
        guide = classifier_of(self.classifier, self.classes)
        check_guide(guide)
        return guide

    def _judge(self) -> Classifier | None:
        """The judge, if there is one, that knows the guide's classes and is not the guide under another name."""
        if self.judge is None:
            return None
        judge, guide = classifier_of(self.judge, None), self._guide()
        if weights_of(judge) is not None and weights_of(judge) == weights_of(guide):
            raise InputError(f"{self.judge} has the weights of {self.classifier}: a guide does not judge itself")
        unknown = [name for name in guide.class_names if name not in judge.class_names]
        if unknown:
            raise InputError(f"the judge {self.judge} does not know the classes {', '.join(unknown)}")
        return judge


class GradientFreeSteer:
    """What acts on each batch of one call, and afterwards what it did.

    Args:
        method: its settings.
        guide: the classifier.
        requested: of the generator.
        weak: network of autoguidance.
        tally: counts the batches that were made.
    """

    def __init__(
        self,
        method: GradientFreeGuidance,
        guide: Classifier,
        requested: GeneratorCall,
        weak: Denoiser | None,
        tally: Tally,
    ) -> None:
        self.method, self.guide, self.requested, self.weak, self.tally = method, guide, requested, weak, tally
        self.rule = method.rule(requested.class_names)
        self.batches: list[Deciding] = []
        self._counted = 0

    def __call__(self, rows: range, rng: Randomness) -> Steering:
        """The terms of one batch."""
        deciding = Deciding(
            self.rule,
            lambda view: read_estimates(self.guide, view),
            self.requested.classes[list(rows)],
            rng.child("gradient-free guidance"),
        )
        self.batches.append(deciding)
        return Steering(self._terms(deciding, rows))

    def reported(self) -> list[dict[str, object]]:
        """What was decided for each image."""
        new, self._counted = self.batches[self._counted :], len(self.batches)
        for deciding in new:
            self.tally.add(deciding, decodes=self.requested.generator.vae is not None)
        return [row for deciding in self.batches for row in decision_rows(deciding, self.requested.class_names)]

    def _terms(self, deciding: Deciding, rows: range) -> list[GuidanceTerm]:
        method = self.method
        reported = lambda classes: self.requested.condition(classes, rows)  # noqa: E731 - of these rows
        if self.weak is not None:
            return [confused_autoguidance(deciding, reported, self.weak, method.weak_scale, method.confused_above)]
        if method.guidance_scale == 1:
            return [away_from_confusion(deciding, reported)]
        nothing = self.requested.nothing.select(rows)
        if method.mix:
            return [*mixed_reference(deciding, reported, nothing, method.guidance_scale)]
        return [classifier_free(method.guidance_scale, nothing), away_from_confusion(deciding, reported)]
