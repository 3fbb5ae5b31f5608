"""Guidance: push a prediction away from a reference, or along a direction that a term computes.

One formula, D = D_c + (w − 1)(D_c − D_ref), serves three published rules, which differ in the reference alone:
*classifier-free guidance* (Ho and Salimans 2022: the same network without the prompt), *autoguidance* (Karras et al.
2024: a weaker network with the same prompt), and guidance away from another class. The formula is linear, so it gives
the same for predictions of noise, image and velocity. With w = 1 there is no guidance, and no reference is computed.

Lin et al., *Common Diffusion Noise Schedules and Sample Steps Are Flawed*, WACV 2024 (arXiv 2305.08891), eq. 15 and 16:
much guidance makes predictions of a larger standard deviation than those that the network learned, and images too
light or too dark.

Classifier guidance: with g = ∇_x log p(c | x_t) the noise becomes eps' = eps − sqrt(1 − abar) s g, and the estimate of
the image follows from it (their algorithm 2, for DDIM). The scale is that of every term here: w = 1 is no guidance, and
s = w − 1. The sampler runs without gradients; this term turns them on for itself alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from snellen.core.errors import InputError, ModelError
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.denoiser import Denoiser
from snellen.models.diffusion.step_view import Branch, StepView

#: One scale for all samples, or one for each.
Scale = float | Sequence[float] | Tensor

#: Lowest and highest timestep at which a term acts, both included; the training schedule counts from image to noise.
Interval = tuple[float, float]

ALWAYS: Interval = (-math.inf, math.inf)


class GuidanceTerm(Protocol):
    """One direction that is added to the predictions of a step."""

    def branches(self, view: StepView) -> Sequence[Branch]:
        """Predictions that will be needed and can be named before any is made; they share one network call."""
        ...

    def direction(self, view: StepView) -> Tensor | None:
        """What to add to the predictions, of the view's kind, (n, c, h, w); None for nothing."""
        ...


def guidance_direction(prediction: Tensor, reference: Tensor, scale: float | Tensor) -> Tensor:
    """(w − 1)(D_c − D_ref), for one w or one for each row.

    >>> guidance_direction(torch.tensor([[1.0]]), torch.tensor([[0.5]]), 3.0)
    tensor([[1.]])
    """
    if isinstance(scale, Tensor):
        scale = scale.to(prediction).reshape(-1, *[1] * (prediction.ndim - 1))
    return (scale - 1) * (prediction - reference)


def guide(view: StepView, terms: Sequence[GuidanceTerm]) -> Tensor:
    """The prediction of a step with all terms added, (n, c, h, w). What is known beforehand runs in one call."""
    view.prepare([Branch(view.condition), *(branch for term in terms for branch in term.branches(view))])
    prediction = view.prediction
    for term in terms:
        direction = term.direction(view)
        if direction is not None:
            prediction = prediction + direction
    return prediction


@dataclass(frozen=True, eq=False)
class ReferenceGuidance:
    """Guidance away from a fixed reference.

    Args:
        scale: w; 1 is no guidance. Samples with w = 1 cost nothing.
        condition: of the reference, a row for each sample; None is the batch's own.
        denoiser: of the reference; None is the generator's own.
        interval: timesteps at which it acts.

    Raises:
        InputError: an interval in which no timestep can lie.
    """

    scale: Scale
    condition: Condition | None = None
    denoiser: Denoiser | None = None
    interval: Interval = ALWAYS

    def __post_init__(self) -> None:
        check_interval(self.interval)

    def branches(self, view: StepView) -> Sequence[Branch]:
        """The reference, for the samples that are guided."""
        wanted = self._branch(view)
        return [] if wanted is None else [wanted]

    def direction(self, view: StepView) -> Tensor | None:
        """(w − 1)(D_c − D_ref)."""
        wanted = self._branch(view)
        if wanted is None:
            return None
        scales = row_scales(self.scale, len(view))
        reference = view.predict(wanted.condition, wanted.denoiser, wanted.rows)
        if wanted.rows is None:
            one = isinstance(self.scale, int | float)
            return guidance_direction(view.prediction, reference, float(self.scale) if one else scales)  # type: ignore[arg-type]
        rows = wanted.rows.to(reference.device)
        direction = torch.zeros_like(view.prediction)
        direction[rows] = guidance_direction(view.prediction[rows], reference, scales[wanted.rows])
        return direction

    def _branch(self, view: StepView) -> Branch | None:
        condition = view.condition if self.condition is None else self.condition
        same = condition is view.condition and self.denoiser in (None, view.generator.denoiser)
        if same or not acts_at(self.interval, view.timestep):
            return None
        guided = row_scales(self.scale, len(view)) != 1
        if not bool(guided.any()):
            return None
        return Branch(condition, self.denoiser, None if bool(guided.all()) else guided.nonzero().flatten())


def classifier_free(scale: Scale, negative: Condition, interval: Interval = ALWAYS) -> ReferenceGuidance:
    """Guidance away from no prompt, or from a negative one.

    >>> classifier_free(7.5, Condition(count=1)).scale
    7.5
    """
    return ReferenceGuidance(scale, condition=negative, interval=interval)


def autoguidance(scale: Scale, weak: Denoiser, interval: Interval = ALWAYS) -> ReferenceGuidance:
    """Guidance away from a weaker denoiser's prediction for the same prompt."""
    return ReferenceGuidance(scale, denoiser=weak, interval=interval)


def check_interval(interval: Interval) -> None:
    """Refuse an interval in which no timestep can lie: a term with it would silently do nothing.

    Raises:
        InputError: the higher end first, or an end that is no number.
    """
    low, high = interval
    if not low <= high:
        raise InputError(f"an interval of guidance goes from a lower to a higher timestep; got {low} to {high}")


def acts_at(interval: Interval, timestep: float) -> bool:
    """Whether a timestep lies in an interval, both ends included.

    >>> acts_at((0, 500), 500), acts_at(ALWAYS, 999), acts_at((0, 500), 501)
    (True, True, False)
    """
    low, high = interval
    return low <= timestep <= high


def row_scales(scale: Scale, count: int) -> Tensor:
    """One scale for each sample, float32 (n,) on the CPU.

    Raises:
        InputError: neither one scale nor one for each sample, or one that is not finite.
    """
    values = torch.as_tensor(scale, dtype=torch.float32, device="cpu").reshape(-1)
    if len(values) not in (1, count):
        raise InputError(f"{len(values)} guidance scales came for {count} samples; give one, or one for each")
    if not bool(torch.isfinite(values).all()):
        raise InputError(f"guidance scales are finite numbers; got {values.tolist()}")
    return values.expand(count)


def rescaled(guided: Tensor, conditional: Tensor, share: float) -> Tensor:
    """φ · guided · std(conditional) / std(guided) + (1 − φ) · guided, with one deviation for each sample.

    >>> rescaled(torch.tensor([[0.0, 4.0]]), torch.tensor([[0.0, 2.0]]), 0.5)
    tensor([[0., 3.]])

    Args:
        guided: (n, …).
        conditional: like ``guided``.
        share: φ in [0, 1].
    """
    wanted, found = (part.flatten(1).std(1) for part in (conditional, guided))
    # Written so that a sample whose deviation is right already is not touched to the bit.
    ratio = torch.where(found > 0, wanted / found, torch.ones_like(found))
    return guided * (1 + share * (ratio - 1)).view(-1, *(1,) * (guided.ndim - 1))


@dataclass(frozen=True, eq=False)
class Rescaled:
    """Terms, and what they make of the prediction rescaled. Terms that do nothing are not rescaled.

    Args:
        terms: guidance, all together.
        share: φ; 0 is the terms alone, 1 brings the deviation wholly back; the paper uses 0.7.

    Raises:
        InputError: a share outside [0, 1].
    """

    terms: Sequence[GuidanceTerm]
    share: float

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InputError(f"guided predictions are rescaled by a share from 0 to 1; got {self.share}")

    def branches(self, view: StepView) -> Sequence[Branch]:
        """Those of the terms."""
        return [branch for term in self.terms for branch in term.branches(view)]

    def direction(self, view: StepView) -> Tensor | None:
        """From the prediction to the guided and rescaled one."""
        found = [term.direction(view) for term in self.terms]
        directions = [direction for direction in found if direction is not None]
        if not directions:
            return None
        total = directions[0]
        for direction in directions[1:]:
            total = total + direction
        if not self.share:
            return total
        return rescaled(view.prediction + total, view.prediction, self.share) - view.prediction


@dataclass(frozen=True, eq=False)
class Choice:
    """A reference for one step.

    Args:
        scale: w for each sample; samples with w = 1 cost nothing.
        condition: of the reference, a row for each sample; None is the batch's own.
        denoiser: of the reference; None is the generator's own.
    """

    scale: Scale
    condition: Condition | None = None
    denoiser: Denoiser | None = None


@dataclass(frozen=True, eq=False)
class ChosenReferenceGuidance:
    """Guidance whose reference and scale are functions of the step: its predictions, its estimate of the image.

    Args:
        choose: what to guide away from; None is no guidance in this step. Called once a step, without gradients.
        interval: timesteps at which it acts.
        foresee: reference and samples that ``choose`` will surely name, known before the step's own prediction is made,
            with the same condition object; both predictions then share one call. None where that is unknown, which is
            the default.

    Raises:
        InputError: an interval in which no timestep can lie.
    """

    choose: Callable[[StepView], Choice | None]
    interval: Interval = ALWAYS
    foresee: Callable[[StepView], Choice | None] = lambda view: None

    def __post_init__(self) -> None:
        check_interval(self.interval)

    def branches(self, view: StepView) -> Sequence[Branch]:
        """The reference that is foreseen; otherwise nothing is known before the step's own prediction is."""
        foreseen = self.foresee(view) if acts_at(self.interval, view.timestep) else None
        return [] if foreseen is None else _guidance(foreseen).branches(view)

    def direction(self, view: StepView) -> Tensor | None:
        """(w − 1)(D_c − D_ref) with the reference of this step."""
        chosen = self.choose(view) if acts_at(self.interval, view.timestep) else None
        return None if chosen is None else _guidance(chosen).direction(view)


def _guidance(chosen: Choice) -> ReferenceGuidance:
    return ReferenceGuidance(chosen.scale, chosen.condition, chosen.denoiser)


@dataclass(eq=False)
class DroppedGradients:
    """Gradients that were not finite, and so were not followed.

    Attributes:
        steps: number of such steps of each sample, by the sample's id.
    """

    steps: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Of all samples."""
        return self.steps.total()

    def zeroed(self, gradient: Tensor, ids: Sequence[str], followed: Tensor) -> Tensor:
        """Gradients (n, c, h, w), zero for each sample in which one number is not finite; these samples are counted.

        >>> dropped = DroppedGradients()
        >>> gradients = torch.tensor([[1.0, 2.0], [1.0, float("nan")]])
        >>> dropped.zeroed(gradients, ["a", "b"], torch.tensor([True, True])), dropped.steps["b"]
        (tensor([[1., 2.],
                [0., 0.]]), 1)

        Args:
            gradient: of each sample.
            ids: of the samples.
            followed: which samples are guided, bool (n,); others are not counted.
        """
        finite = gradient.flatten(1).isfinite().all(1)
        if bool(finite.all()):
            return gradient
        self.steps.update(ids[row] for row in (~finite.cpu() & followed).nonzero().flatten().tolist())
        return torch.where(finite.view(-1, *(1,) * (gradient.ndim - 1)), gradient, torch.zeros_like(gradient))


@dataclass(frozen=True, eq=False)
class GradientGuidance:
    """Push the latents to where a score is higher.

    Args:
        score: (latents (n, c, h, w), view) → log-probability or another score, (n,). The latents are those of the
            view, with gradients. For a classifier of clean images use ``view.generator.decode(view.x0(prediction,
            latents))``: with ``view.prediction`` the gradient stops at the denoiser, with ``view.evaluate(latents)`` it
            goes through it.
        scale: w; 1 is no guidance, and the published scale of classifier guidance is w − 1. In a step where no
            sample is guided, no score is computed.
        interval: timesteps at which it acts.
        dropped: counts the steps of each sample whose gradient was not finite: it is not followed there.

    Raises:
        InputError: an interval in which no timestep can lie.
    """

    score: Callable[[Tensor, StepView], Tensor]
    scale: Scale
    interval: Interval = ALWAYS
    dropped: DroppedGradients = field(default_factory=DroppedGradients)

    def __post_init__(self) -> None:
        check_interval(self.interval)

    def branches(self, view: StepView) -> Sequence[Branch]:
        """None: the score requests what it needs."""
        return []

    def direction(self, view: StepView) -> Tensor | None:
        """−sqrt(1 − abar) (w − 1) g, turned into the view's kind of prediction; errors are :func:`score_gradient`'s.

        Nothing in pure noise (abar = 0, as in schedules of zero terminal signal): it says nothing of the image.
        """
        scales = row_scales(self.scale, len(view))
        guided = scales != 1
        if not acts_at(self.interval, view.timestep) or not view.alpha or not bool(guided.any()):
            return None
        gradient = score_gradient(self.score, view)
        gradient = self.dropped.zeroed(gradient, view.ids, guided)
        strength = view.sigma * (scales - 1).to(gradient).reshape(-1, 1, 1, 1)
        return view.direction(-strength * gradient, "epsilon")


def score_gradient(score: Callable[[Tensor, StepView], Tensor], view: StepView) -> Tensor:
    """The gradient g of a score at the latents of a view, (n, c, h, w): each sample's own.

    Raises:
        ModelError: scores that do not depend on the latents, or of the wrong shape.
    """
    with torch.enable_grad():
        latents = view.latents.detach().requires_grad_(True)
        scores = score(latents, view)
        if scores.shape != (len(view),):
            raise ModelError(f"a score is one number for each sample, ({len(view)},); got {tuple(scores.shape)}")
        if not scores.requires_grad:
            raise ModelError("the score does not depend on the latents, so it has no gradient to follow")
        (gradient,) = torch.autograd.grad(scores.sum(), latents)
    return gradient
