"""Guidance by a classifier's scores of the denoised estimate, without its gradients: away from what it confuses.

R. Shenoy et al. 2024, arXiv 2411.15393; the formulas are a reconstruction, see
:mod:`snellen.systems.gradient_free_guidance.confusion`. In each step the estimate of the image is decoded and
classified, the class that competes becomes the reference, and D* = D_c + (w − 1)(D_c − D_r): the formula of
classifier-free guidance, at the same latents and the same level of noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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

#: A classifier's scores of the estimate of the image in a step: logits (n, k).
Read = Callable[[StepView], Tensor]

#: Classes, int64 (n,) → a condition with a row for each sample of the batch.
ConditionOf = Callable[[Tensor], Condition]


@dataclass(frozen=True)
class GradientFreeRule:
    """How a step's reference and scale follow from what a classifier says.

    Args:
        reference: which class to guide away from.
        scale: how far.
        temperature: of the classifier's softmax.
        sigmas: lowest and highest level of noise at which it acts, as sigma / alpha (the sigma of EDM).
        every: the classifier scores each m-th step; reference and scale stay in between, where both predictions share
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
        classes: requested, int64 (n,).
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
    #: Number of the last requested step, and its result: a second term gets the same.
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


def away_from_confusion(deciding: Deciding, condition_of: ConditionOf) -> ChosenReferenceGuidance:
    """D* = D_c + (w − 1)(D_c − D_r). Only samples with w > 1 cost a row."""

    def choice(decision: Decision) -> Choice:
        return Choice(decision.scale, condition_of(_where(decision.scale > 1, decision.reference, deciding.classes)))

    return _term(deciding, choice)


def mixed_reference(
    deciding: Deciding, condition_of: ConditionOf, nothing: Condition, scale: float
) -> tuple[ChosenReferenceGuidance, ChosenReferenceGuidance]:
    """Classifier-free guidance whose reference turns from nothing to the competitor as the classifier gets confused.

    D* = D_c + (w_cfg − 1)(D_c − (1 − u) D_nothing − u D_r), as two terms that are linear in their references. The
    policy of the decisions must be :func:`mixing_policy` of the same scale.
    """

    def to_class(decision: Decision) -> Choice:
        return Choice(decision.scale, condition_of(_where(decision.scale > 1, decision.reference, deciding.classes)))

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
    deciding: Deciding, condition_of: ConditionOf, weak: Denoiser, scale: float, threshold: float
) -> ChosenReferenceGuidance:
    """Autoguidance that conditions the weak network on the competitor where the classifier is confused.

    D* = D_c + (w − 1)(D_c − D_weak(r)) for u > threshold, otherwise D_weak(c): one call of each network, as without a
    classifier. w is autoguidance's scale, and more where the decision's own scale is larger.
    """

    def choice(decision: Decision) -> Choice:
        confused = decision.confusion > threshold
        wanted = torch.where(confused, decision.scale.clamp_min(scale), scale)
        return Choice(wanted, condition_of(_where(confused, decision.reference, deciding.classes)), weak)

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


def decision_rows(deciding: Deciding, class_names: Sequence[str]) -> list[dict[str, object]]:
    """JSON values for each image of a batch that was made.

    Returns:
        For each: ``guided``, of each step in which w > 1 its number, the class that was guided away from, w and the
        confusion u; ``mean scale`` over the steps in which the classifier had a say; and ``unread``, the number of
        answers that were not finite, where there are any.
    """
    rows: list[dict[str, object]] = []
    for row in range(len(deciding.classes)):
        guided: list[object] = []
        scales = []
        for step, decision in sorted(deciding.log.items()):
            scale = float(decision.scale[row])
            scales.append(scale)
            if scale > 1:
                away = class_names[int(decision.reference[row])]
                guided.append([step, away, round(scale, 4), round(float(decision.confusion[row]), 4)])
        unread = sum(bool(answer.broken[row]) for answer in _answers(deciding))
        mean = round(sum(scales) / len(scales), 6) if scales else 1.0
        rows.append({"guided": guided, "mean scale": mean, **({"unread": unread} if unread else {})})
    return rows


def _answers(deciding: Deciding) -> list[Decision]:
    """Decisions that were followed, each once, for how many steps it may have stood."""
    return list(dict.fromkeys(deciding.log.values()))


@dataclass
class Tally:
    """What a method made since it was built. Two methods are equal even if they made other images: nothing here is
    compared.

    Attributes:
        images: number of images.
        decisions: steps of images in which the classifier had a say.
        guided: those with w > 1.
        scale: sum of w over them all.
        unread: answers that were not finite; each may stand for several steps.
        classified: images that the classifier was shown.
        decoded: of these, those that a decoder had to make of latents.
        judged: images that the judge was shown.
        right: of these, those in which it sees the requested class.
    """

    images: int = field(default=0, compare=False)
    decisions: int = field(default=0, compare=False)
    guided: int = field(default=0, compare=False)
    scale: float = field(default=0.0, compare=False)
    unread: int = field(default=0, compare=False)
    classified: int = field(default=0, compare=False)
    decoded: int = field(default=0, compare=False)
    judged: int = field(default=0, compare=False)
    right: int = field(default=0, compare=False)

    def add(self, deciding: Deciding, *, decodes: bool) -> None:
        """Count a batch that was made."""
        self.images += len(deciding.classes)
        self.classified += deciding.classified
        self.decoded += deciding.classified if decodes else 0
        for decision in deciding.log.values():
            self.decisions += len(decision.scale)
            self.guided += int((decision.scale > 1).sum())
            self.scale += float(decision.scale.sum())
        self.unread += sum(int(answer.broken.sum()) for answer in _answers(deciding))

    def lines(self, guide: str, judge: str | None) -> tuple[str, ...]:
        """The figures in words; nothing where no image was made."""
        if not self.images:
            return ()
        mean, share = self.scale / max(self.decisions, 1), self.guided / max(self.decisions, 1)
        decoded = f", {self.decoded:,} of them decoded for it" if self.decoded else ""
        lines = [
            f"of the {self.images:,} images made now, mean w {mean:.3f}; guided in {share:.1%} of their steps; {guide} "
            f"was shown {self.classified:,} estimates{decoded}"
        ]
        if self.unread:
            lines.append(f"{self.unread:,} answers of {guide} were not finite: these steps were not guided")
        if self.judged:
            lines.append(f"{judge} sees the requested class in {self.right:,} of {self.judged:,} images")
        return tuple(lines)
