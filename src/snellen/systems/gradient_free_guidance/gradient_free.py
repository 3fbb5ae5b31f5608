"""Guidance by what a classifier says of the denoised estimate, without its gradients: away from what it confuses.

R. Shenoy et al. 2024, arXiv 2411.15393; the formulas are a reconstruction, see
:mod:`snellen.systems.gradient_free_guidance.confusion`. In each step the estimate of the image is decoded and
classified, the class that competes becomes the reference, and D* = D_c + (w − 1)(D_c − D_r): the formula of
classifier-free guidance, at the same latents and the same level of noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.denoiser import Denoiser
from snellen.models.diffusion.guidance import Choice, ChosenReferenceGuidance
from snellen.models.diffusion.step_view import StepView
from snellen.systems.gradient_free_guidance.confusion import Decision, ReferencePolicy, ScalePolicy, decide

#: What a classifier says of the estimate of the image in a step: logits (n, k).
Read = Callable[[StepView], Tensor]

#: Classes, int64 (n,) → a condition with a row for each sample of the batch.
Told = Callable[[Tensor], Condition]


@dataclass(frozen=True)
class GradientFreeRule:
    """How a step's reference and scale follow from what a classifier says.

    Args:
        reference: which class to guide away from.
        scale: how far.
        temperature: of the classifier's softmax.
        sigmas: lowest and highest level of noise at which it acts, as sigma / alpha (the sigma of EDM).
        every: the classifier looks at each m-th step; reference and scale stay in between, where both predictions share
            one call.
        lagged: reference and scale of a step are those that the step before led to, so that both predictions share one
            call in every step. The first step is not guided.
    """

    reference: ReferencePolicy = field(default_factory=ReferencePolicy)
    scale: ScalePolicy = field(default_factory=ScalePolicy)
    temperature: float = 1.0
    sigmas: tuple[float, float] = (0.0, math.inf)
    every: int = 1
    lagged: bool = False

    def __post_init__(self) -> None:
        low, high = self.sigmas
        if not 0 <= low <= high:
            raise InputError(f"levels of noise are 0 or more, the lower one first; got {self.sigmas}")
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise InputError(f"a temperature is a positive number; got {self.temperature}")
        if self.every < 1:
            raise InputError(f"the classifier looks at each m-th step, m at least 1; got {self.every}")


@dataclass(eq=False)
class Deciding:
    """The decisions of one run of one batch, made as its steps come; several terms may ask for the same one.

    Args:
        rule: how decisions are made.
        read: what the classifier says.
        classes: that are asked for, int64 (n,).
        rng: bound to the samples.
    """

    rule: GradientFreeRule
    read: Read
    classes: Tensor
    rng: Randomness
    #: What each step was guided by: number of the step → decision.
    log: dict[int, Decision] = field(default_factory=dict)
    #: Images that the classifier was shown.
    classified: int = 0
    _last: Decision | None = None
    _looked: int | None = None
    #: Number of the step that was asked for last, and what was answered: a second term gets the same.
    _answered: tuple[int, Decision | None] | None = None

    def foreseen(self, view: StepView) -> Decision | None:
        """The decision of this step, where it is known before anything is predicted."""
        return self._last if self._acts(view) and (self.rule.lagged or not self._due(view)) else None

    def at(self, view: StepView) -> Decision | None:
        """The decision of this step; None for no guidance."""
        if not self._acts(view):
            return None
        if self._answered is not None and self._answered[0] == view.index:
            return self._answered[1]
        before = self._last
        if self._due(view):
            self._last, self._looked = self._decide(view), view.index
        taken = before if self.rule.lagged else self._last
        self._answered = view.index, taken
        if taken is not None:
            self.log[view.index] = taken
        return taken

    def _acts(self, view: StepView) -> bool:
        low, high = self.rule.sigmas
        return low <= (view.sigma / view.alpha if view.alpha else math.inf) <= high

    def _due(self, view: StepView) -> bool:
        return self._looked is None or view.index - self._looked >= self.rule.every

    def _decide(self, view: StepView) -> Decision:
        with torch.no_grad():
            logits = self.read(view)
        self.classified += len(logits)
        return decide(
            logits,
            self.classes,
            self.rule.reference,
            self.rule.scale,
            self.rng.child("step", view.index),
            temperature=self.rule.temperature,
        )


def away_from_confusion(deciding: Deciding, told: Told) -> ChosenReferenceGuidance:
    """D* = D_c + (w − 1)(D_c − D_r). Only samples with w > 1 cost a row."""

    def choice(decision: Decision) -> Choice:
        return Choice(decision.scale, told(_where(decision.scale > 1, decision.reference, deciding.classes)))

    return _term(deciding, choice)


def mixed_reference(
    deciding: Deciding, told: Told, nothing: Condition, scale: float
) -> tuple[ChosenReferenceGuidance, ChosenReferenceGuidance]:
    """Classifier-free guidance whose reference turns from nothing to the competitor as the classifier gets confused.

    D* = D_c + (w_cfg − 1)(D_c − (1 − u) D_nothing − u D_r), as two terms that are linear in their references. The
    policy of the decisions must be :func:`mixing_policy` of the same scale.
    """

    def to_class(decision: Decision) -> Choice:
        return Choice(decision.scale, told(_where(decision.scale > 1, decision.reference, deciding.classes)))

    def to_nothing(decision: Decision) -> Choice:
        return Choice(1 + (scale - decision.scale), nothing)

    # Nothing is a reference in nearly every step and sample: it always shares the call of the own prediction.
    fixed = ChosenReferenceGuidance(
        lambda view: _made(deciding.at(view), to_nothing) or Choice(scale, nothing),
        foresee=lambda view: Choice(scale, nothing),
    )
    return fixed, _term(deciding, to_class)


def mixing_policy(policy: ScalePolicy, scale: float) -> ScalePolicy:
    """The policy by which w − 1 is the competitor's share u of w_cfg − 1."""
    return ScalePolicy(confusion=policy.confusion, rule="linear", lowest=1.0, highest=scale, threshold=policy.threshold)


def confused_autoguidance(
    deciding: Deciding, told: Told, weak: Denoiser, scale: float, threshold: float
) -> ChosenReferenceGuidance:
    """Autoguidance that asks the weak network for the competitor where the classifier is confused.

    D* = D_c + (w − 1)(D_c − D_weak(r)) for u > threshold, otherwise D_weak(c): one call of each network, as without a
    classifier. w is autoguidance's scale, and more where the decision's own scale is larger.
    """

    def choice(decision: Decision) -> Choice:
        confused = decision.confusion > threshold
        wanted = torch.where(confused, decision.scale.clamp_min(scale), scale)
        return Choice(wanted, told(_where(confused, decision.reference, deciding.classes)), weak)

    own = Choice(scale, denoiser=weak)
    term = _term(deciding, choice)
    return ChosenReferenceGuidance(lambda view: term.choose(view) or own, foresee=term.foresee)


def _term(deciding: Deciding, choice: Callable[[Decision], Choice]) -> ChosenReferenceGuidance:
    """A term of what decisions lead to; a decision that stays leads to the same condition object."""
    kept = dict[Decision, Choice]()

    def made(decision: Decision | None) -> Choice | None:
        if decision is None:
            return None
        if decision not in kept:
            kept.clear()
            kept[decision] = choice(decision)
        return kept[decision]

    return ChosenReferenceGuidance(
        lambda view: made(deciding.at(view)), foresee=lambda view: made(deciding.foreseen(view))
    )


def _made(decision: Decision | None, choice: Callable[[Decision], Choice]) -> Choice | None:
    return None if decision is None else choice(decision)


def _where(chosen: Tensor, reference: Tensor, classes: Tensor) -> Tensor:
    """The reference class of chosen samples, their own class for all others: int64 (n,) on the CPU."""
    return torch.where(chosen.cpu(), reference.cpu(), classes.cpu())
