"""How confused a classifier is of an image that shall show a class, with which class, and how far to push away from it.

Gradient-free classifier guidance, R. Shenoy et al. 2024, arXiv 2411.15393. The text is certain of this: the reference
is another *class*, it and the scale follow from a classifier's answer in each step, and no gradient is taken. The
formulas here are a reconstruction (R) that agrees with the text, for the paper's own could not be read; each choice is
therefore a policy that can be replaced.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness

#: Which other class to guide away from: the likeliest one, one drawn with its probability, one drawn evenly (a
#: baseline: the classifier has no say), the least likely one, or always the same.
ReferenceRule = Literal["strongest", "sampled", "even", "least-likely", "fixed"]

#: What confusion is: 1 − p_c, p_r, or max(0, p_r − p_c + 1) / 2.
ConfusionRule = Literal["doubt", "competitor", "margin"]

#: Scale from confusion u: 1 + gamma u, or w_min + (w_max − w_min) u.
ScaleRule = Literal["proportional", "linear"]


@dataclass(frozen=True)
class ReferencePolicy:
    """Which class to guide away from. It is never the class itself.

    Args:
        rule: see :data:`ReferenceRule`.
        fixed: class of the rule ``fixed``; samples of this class itself are guided away from their strongest one.
    """

    rule: ReferenceRule = "strongest"
    fixed: int | None = None

    def __post_init__(self) -> None:
        if (self.rule == "fixed") != (self.fixed is not None):
            raise InputError(f"a fixed class goes with the rule 'fixed', and only with it; got {self}")

    def __call__(self, probabilities: Tensor, classes: Tensor, rng: Randomness) -> Tensor:
        """Reference class of each sample, int64 (n,).

        Args:
            probabilities: of each class, float64 (n, k) with k > 1.
            classes: requested, int64 (n,). rng: bound to the samples and to the step, for the rules that draw.

        Raises:
            InputError: a single class, a fixed class that is not one of them.
        """
        count = probabilities.shape[1]
        if count < 2:
            raise InputError("guidance away from another class needs at least two classes; the classifier knows one")
        if self.rule == "sampled":
            return _drawn(others(probabilities, classes, 0.0), classes, rng)
        if self.rule == "even":
            return _drawn(others(torch.ones_like(probabilities), classes, 0.0), classes, rng)
        if self.rule == "least-likely":
            return others(probabilities, classes, math.inf).argmin(1)
        best = strongest_competitor(probabilities, classes)
        if self.fixed is None:
            return best
        if not 0 <= self.fixed < count:
            raise InputError(f"the fixed reference is one of the classes 0 to {count - 1}; got {self.fixed}")
        return torch.where(classes == self.fixed, best, torch.full_like(best, self.fixed))


@dataclass(frozen=True)
class ScalePolicy:
    """How far to push away: w for each sample, 1 where there is nothing to do.

    With ``linear`` and ``lowest`` = ``highest`` the scale does not depend on the classifier: a baseline.

    Args:
        gamma: w grows by this from a certain classifier to a wholly confused one, rule ``proportional``.
        confusion: see :data:`ConfusionRule`.
        rule: see :data:`ScaleRule`.
        lowest: w of a certain classifier, rule ``linear``.
        highest: w is never above this; with ``linear``, w of a wholly confused classifier.
        threshold: samples with w − 1 below this are not guided: w = 1.
    """

    gamma: float = 3.0
    confusion: ConfusionRule = "doubt"
    rule: ScaleRule = "proportional"
    lowest: float = 1.0
    highest: float = 5.0
    threshold: float = 0.02

    def __post_init__(self) -> None:
        numbers = (self.gamma, self.lowest, self.highest, self.threshold)
        if not all(math.isfinite(number) for number in numbers):
            raise InputError(f"gamma, the lowest and highest scale and the threshold are finite numbers; got {self}")
        if self.gamma < 0:
            raise InputError(
                f"gamma is at least 0: a negative one would push towards the other class; got {self.gamma}"
            )
        if not 1 <= self.lowest <= self.highest:
            raise InputError(f"scales are at least 1, the lowest not above the highest; got {self}")
        if self.threshold < 0:
            raise InputError(f"the threshold of w − 1 is at least 0; got {self.threshold}")

    def __call__(self, confusion: Tensor) -> Tensor:
        """Scales of confusions in [0, 1], both (n,).

        >>> ScalePolicy(gamma=2.0)(torch.tensor([0.0, 0.005, 0.5, 1.0]))
        tensor([1., 1., 2., 3.])
        """
        if self.rule == "linear":
            scale = self.lowest + (self.highest - self.lowest) * confusion
        else:
            scale = (1 + self.gamma * confusion).clamp(1, self.highest)
        return torch.where(scale - 1 < self.threshold, torch.ones_like(scale), scale)


@dataclass(frozen=True, eq=False)
class Decision:
    """What a classifier's answer leads to in one step; on the CPU, wherever the classifier runs.

    Args:
        reference: class to guide away from, int64 (n,); never the class itself.
        scale: w, float64 (n,).
        confusion: u in [0, 1], float64 (n,); 0 where the answer was not finite.
        broken: samples whose answer was not finite; they are not guided, bool (n,).
    """

    reference: Tensor
    scale: Tensor
    confusion: Tensor
    broken: Tensor


def decide(
    logits: Tensor,
    classes: Tensor,
    reference: ReferencePolicy,
    scale: ScalePolicy,
    rng: Randomness,
    *,
    temperature: float = 1.0,
) -> Decision:
    """Reference and scale of each sample, from a classifier's scores of its denoised estimate.

    >>> sure, torn = [9.0, -9.0, -9.0], [0.0, -9.0, 0.0]
    >>> scores, asked = torch.tensor([sure, torn]), torch.tensor([0, 0])
    >>> found = decide(scores, asked, ReferencePolicy(), ScalePolicy(), Randomness(0))
    >>> found.reference.tolist(), [round(w, 3) for w in found.scale.tolist()]
    ([1, 2], [1.0, 2.5])

    Args:
        logits: (n, k), k > 1; log-probabilities do as well.
        classes: requested, int64 (n,). reference: which class to guide away from.
        scale: how far.
        rng: bound to the samples and to the step.
        temperature: of the softmax; above 1 for a classifier that is surer of blurred estimates than it ought to be.

    Raises:
        InputError: a single class, classes that the classifier does not have, a temperature that is not positive.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise InputError(f"a temperature is a positive number; got {temperature}")
    # A few numbers for each sample, read one by one afterwards; and not every accelerator has float64.
    logits, classes = logits.to("cpu").double(), classes.to("cpu")
    if len(classes) != len(logits) or bool(((classes < 0) | (classes >= logits.shape[1])).any()):
        raise InputError(f"one class of 0 to {logits.shape[1] - 1} for each of {len(logits)} samples; got {classes}")
    given = (logits / temperature).softmax(1)
    broken = ~torch.isfinite(given).all(1)
    probabilities = torch.where(broken[:, None], 1 / logits.shape[1], given)
    chosen = reference(probabilities, classes, rng)
    doubt = torch.where(broken, 0.0, confusion(probabilities, classes, chosen, scale.confusion))
    return Decision(chosen, torch.where(broken, 1.0, scale(doubt)), doubt, broken)


def confusion(probabilities: Tensor, classes: Tensor, reference: Tensor, rule: ConfusionRule = "doubt") -> Tensor:
    """How unsure a classifier is that an image shows its class, in [0, 1]: (n,) from probabilities (n, k).

    >>> p, c, r = torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([0]), torch.tensor([1])
    >>> [round(float(confusion(p, c, r, rule)), 3) for rule in ("doubt", "competitor", "margin")]
    [0.3, 0.2, 0.25]
    """
    own, other = (probabilities.gather(1, which[:, None])[:, 0] for which in (classes, reference))
    if rule == "doubt":
        return (1 - own).clamp(0, 1)
    if rule == "competitor":
        return other
    return ((other - own + 1) / 2).clamp(0, 1)


def strongest_competitor(probabilities: Tensor, classes: Tensor) -> Tensor:
    """The likeliest class but the own one, int64 (n,); of equally likely ones the first.

    >>> strongest_competitor(torch.tensor([[0.6, 0.2, 0.2], [0.1, 0.8, 0.1]]), torch.tensor([0, 0])).tolist()
    [1, 1]
    """
    return others(probabilities, classes, -math.inf).argmax(1)


def others(values: Tensor, classes: Tensor, own: float) -> Tensor:
    """Values (n, k) with ``own`` at each sample's class."""
    return values.scatter(1, classes[:, None], own)


def _drawn(weights: Tensor, classes: Tensor, rng: Randomness) -> Tensor:
    """A class of each row, drawn with its weight; the strongest competitor where no weight is left."""
    summed = weights.cumsum(1)
    total = summed[:, -1:]
    at = rng.bind(len(weights)).uniform("reference", (1,)).to(summed) * total
    # The first class whose sum lies above the draw has a weight above 0, so it is never the class itself.
    return torch.where(total[:, 0] > 0, (summed > at).int().argmax(1), strongest_competitor(weights, classes))
