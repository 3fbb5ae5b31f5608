"""DFR: min_w ‖w‖₁ + C Σ_i s(y_i) log(1 + exp(−y_i f_i)) on standardised features of group-balanced images.

Kirichenko, Izmailov and Wilson, *Last layer re-training is sufficient for robustness to spurious correlations*, ICLR
2023, arXiv 2204.02937, section 4, with the grid of ASPIRE (Ghosh et al. 2024): C and the weight of either class are
those with the best worst-group accuracy on validation images, and the coefficients are means over ten fits to fresh
balanced subsets. Images that are added, generated ones for instance, belong to every subset.

Features are standardised with mean and spread of the real training images alone: what is added never moves the others.
Of more than two classes, each is fitted against the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness


class DFR(BaseModel):
    """Numbers; the defaults are those of ASPIRE, but for the solver.

    >>> len(DFR().settings(2))
    91
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    costs: tuple[float, ...] = Field((1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01), min_length=1, description="values of C")
    weights: tuple[float, ...] = Field(
        (1.0, 2.0, 3.0, 10.0, 100.0, 300.0, 1000.0), min_length=1, description="weights of one class beside 1"
    )
    fits: int = Field(10, ge=1, description="balanced subsets whose coefficients are averaged")
    steps: int = Field(
        20_000, ge=1, description="steps of the solver at most, an accelerated proximal gradient (FISTA)"
    )

    def settings(self, classes: int) -> list[tuple[float, int, float]]:
        """All combinations: C, a class, and its weight beside 1 of the others."""
        found = [(cost, 0, 1.0) for cost in self.costs if 1.0 in self.weights]
        heavier = [weight for weight in self.weights if weight != 1]
        return found + [(cost, label, one) for cost in self.costs for one in heavier for label in range(classes)]


@dataclass(frozen=True, eq=False)
class Features:
    """What the last layer is given for some images.

    Attributes:
        values: float (n, d).
        targets: classes, int64 (n,).
        groups: of the images, int64 (n,): pairs of class and attribute; None where they are not known.
    """

    values: Tensor
    targets: Tensor
    groups: Tensor | None = None

    def select(self, rows: Tensor) -> Features:
        """Some of them."""
        return Features(self.values[rows], self.targets[rows], None if self.groups is None else self.groups[rows])


@dataclass(frozen=True, eq=False)
class Standard:
    """Mean and spread (d,) of the features that others are measured by."""

    mean: Tensor
    spread: Tensor

    @classmethod
    def of(cls, real: Features) -> Standard:
        """Of real training images; a feature that does not vary keeps its unit."""
        spread = real.values.double().std(0, correction=0)
        return cls(real.values.double().mean(0), torch.where(spread > 0, spread, 1.0))

    def __call__(self, features: Features) -> Features:
        """The features in these units, float64."""
        return Features((features.values.double() - self.mean) / self.spread, features.targets, features.groups)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A linear classifier of features.

    Attributes:
        standard: the units of the features.
        coefficients: float64 (d + 1, k); the last row is the intercept.
        cost: C that validation images chose.
        heavier: the class that counts more, and how much.
    """

    standard: Standard
    coefficients: Tensor
    cost: float
    heavier: tuple[int, float]

    def predict(self, features: Features) -> Tensor:
        """Decisions, int64 (n,)."""
        return _scores(self.standard(features).values, self.coefficients[None])[0].argmax(1)


def reweighted(
    train: Features,
    validation: Features,
    *,
    classes: int,
    added: Features | None = None,
    plan: DFR | None = None,
    rng: Randomness,
) -> Fitted:
    """Fit the last layer anew to group-balanced features.

    Args:
        train: of real training images with known groups; they give mean and spread.
        validation: with known groups; they choose C and the weights.
        classes: k.
        added: of further images, which belong to every balanced subset; their groups are not read.
        plan: numbers.
        rng: of the subsets.

    Raises:
        InputError: groups that are not known, or features of other widths.
    """
    numbers = plan or DFR()
    for name, one in (("training", train), ("validation", validation)):
        if one.groups is None:
            raise InputError(f"DFR needs the group of each {name} image")
    widths = {one.values.shape[1] for one in (train, validation, *([] if added is None else [added]))}
    if len(widths) > 1:
        raise InputError(f"features of one width are expected; got {', '.join(map(str, sorted(widths)))}")
    standard = Standard.of(train)
    own, judging = standard(train), standard(validation)
    more = None if added is None else standard(added)
    settings = numbers.settings(classes)
    tried = l1_logistic(_balanced(own, more, rng.child("choosing")), classes, settings, numbers.steps)
    worst = worst_group_accuracy(_scores(judging.values, tried).argmax(2), judging)
    best = int(worst.argmax())
    # The subset that chose is none of them.
    parts = [_balanced(own, more, rng.child("subset", number)) for number in range(numbers.fits)]
    fits = [l1_logistic(part, classes, [settings[best]], numbers.steps)[0] for part in parts]
    cost, label, weight = settings[best]
    return Fitted(standard, torch.stack(fits).mean(0), cost, (label, weight))


def worst_group_accuracy(decisions: Tensor, features: Features) -> Tensor:
    """min_g accuracy of group g, for decisions (s, n) or (n,).

    >>> found = Features(torch.zeros(3, 1), torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1]))
    >>> float(worst_group_accuracy(torch.tensor([0, 1, 1]), found))
    0.5
    """
    assert features.groups is not None, "worst-group accuracy is one of groups"
    right = (decisions == features.targets).double()
    return torch.stack([right[..., features.groups == group].mean(-1) for group in features.groups.unique()]).amin(0)


def _balanced(train: Features, added: Features | None, rng: Randomness) -> Features:
    """As many images of each group as the smallest has, and all that is added."""
    assert train.groups is not None
    values, counts = train.groups.unique(return_counts=True)
    rows = []
    for group in values.tolist():
        members = (train.groups == group).nonzero().flatten()
        order = torch.randperm(len(members), generator=rng.generator(f"group {group}"))
        rows.append(members[order[: int(counts.min())]])
    chosen = train.select(torch.cat(rows))
    if added is None:
        return chosen
    return Features(torch.cat([chosen.values, added.values]), torch.cat([chosen.targets, added.targets]))


#: Where the solver stops: the largest entry of the proximal gradient, as a share of that at the start.
TOLERANCE = 1e-7


def l1_logistic(features: Features, classes: int, settings: list[tuple[float, int, float]], steps: int) -> Tensor:
    """Coefficients of each setting, float64 (s, d + 1, k): the objective above, each class against the rest.

    The intercept is one more coefficient, of a constant feature 1, and is penalised as in liblinear.

    Args:
        features: in their units.
        classes: k.
        settings: C, a class, and its weight, s of them.
        steps: of FISTA with restarts, at most: a setting is done as soon as the largest entry of its proximal gradient
            is below :data:`TOLERANCE` of what it was at the start, and is not computed any further.
    """
    inputs = _with_one(features.values)
    signs = 2.0 * functional.one_hot(features.targets, classes).double() - 1.0
    # Of two classes, the second against the first is the first against the second with other signs.
    signs = signs[:, 1:] if classes == 2 else signs
    weights = torch.ones(len(settings), len(inputs), dtype=torch.float64)
    for number, (_, label, weight) in enumerate(settings):
        weights[number, features.targets == label] = weight
    costs = torch.tensor([cost for cost, _, _ in settings], dtype=torch.float64)
    # In units of the mean loss; the penalty is divided by the same number. Curvature of the logistic loss is 1/4.
    share = weights / weights.sum(1, keepdim=True)
    penalty = 1 / (costs * weights.sum(1))
    rate = 4 / _largest(inputs, share)
    solved = torch.zeros(len(settings), inputs.shape[1], signs.shape[1], dtype=torch.float64)
    at, found, first = torch.arange(len(settings)), solved.clone(), None
    ahead, pace = found.clone(), torch.ones(len(settings), dtype=torch.float64)
    for _ in range(steps):
        slopes = -signs * torch.sigmoid(-signs * _products(inputs, ahead))
        gradient = _products(inputs.T, share[:, :, None] * slopes)
        moved = ahead - rate[:, None, None] * gradient
        limit = (rate * penalty)[:, None, None]
        new = moved.sign() * (moved.abs() - limit).clamp_min(0)
        change = (ahead - new).abs().amax((1, 2)) / rate
        first = change if first is None else first
        # A step against the way that was taken: the pace begins anew.
        back = ((ahead - new) * (new - found)).sum((1, 2)) > 0
        next_pace = torch.where(back, 1.0, (1 + (1 + 4 * pace.square()).sqrt()) / 2)
        push = torch.where(back, 0.0, (pace - 1) / next_pace)
        ahead, found, pace = new + push[:, None, None] * (new - found), new, next_pace
        left = change > TOLERANCE * first
        if not bool(left.all()):
            solved[at[~left]] = found[~left]
            at, found, ahead, pace, first = at[left], found[left], ahead[left], pace[left], first[left]
            share, penalty, rate = share[left], penalty[left], rate[left]
        if not len(at):
            break
    solved[at] = found
    return torch.cat([-solved, solved], 2) if classes == 2 else solved


def _products(matrix: Tensor, parts: Tensor) -> Tensor:
    """(n, d) times each of (s, d, k), as one product of matrices."""
    flat = matrix @ parts.permute(1, 0, 2).reshape(parts.shape[1], -1)
    return flat.reshape(len(matrix), len(parts), -1).permute(1, 0, 2)


#: Steps of the power iteration, and how much more than its estimate the largest eigenvalue is taken to be.
POWERS, MARGIN = 30, 1.1


def _largest(inputs: Tensor, share: Tensor) -> Tensor:
    """Nearly the largest eigenvalue of Σ_i share_i x_i x_iᵀ for each of the shares (s, n), by power iteration."""
    vectors = (inputs.T @ share.T).T[:, :, None] + 1e-3 * inputs.abs().mean(0)[None, :, None]
    for _ in range(POWERS):
        vectors = vectors / vectors.norm(dim=1, keepdim=True)
        vectors = _products(inputs.T, share[:, :, None] * _products(inputs, vectors))
    return MARGIN * vectors.norm(dim=(1, 2))


def _with_one(values: Tensor) -> Tensor:
    return torch.cat([values.double(), torch.ones(len(values), 1, dtype=torch.float64)], 1)


def _scores(values: Tensor, coefficients: Tensor) -> Tensor:
    """Scores (s, n, k) by coefficients (s, d + 1, k)."""
    return torch.einsum("nd,sdk->snk", _with_one(values), coefficients)
