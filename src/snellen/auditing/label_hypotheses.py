"""What may be wrong with a model of several labels an image: a label not seen, one found more rarely, a threshold."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snellen.auditing.label_figures import statistic_of
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.independent import in_first_half
from snellen.checks.label_sets import LabelSets, sigmoid
from snellen.checks.per_image import PerImage
from snellen.core.errors import InputError
from snellen.core.finding import Finding, FindingExample
from snellen.metrics.bootstrap import paired_bootstrap
from snellen.metrics.clustered import clustered_share
from snellen.metrics.incomplete_beta import student_t_probability, student_t_quantile
from snellen.metrics.label_scaling import best_threshold
from snellen.metrics.unit_jackknife import design_effect
from snellen.metrics.units import dense_codes
from snellen.metrics.weighted import WeightedStatistic

#: Fewer units with a label, or without it, are not tested.
FEWEST = 10

#: Share of the way from guessing to a perfect area below which a label counts as not seen.
SIGHT = 0.1


class Fitted(NamedTuple):
    """A threshold of a label that was fitted on other images.

    Attributes:
        threshold: mean of those that were fitted, as a probability.
        decisions: with it, bool (n,).
        where: on which images, in words.
    """

    threshold: float
    decisions: NDArray[np.bool_]
    where: str


def tested(sets: LabelSets, place: int, units: NDArray[np.int64] | None) -> bool:
    """Whether enough units have a label, and enough do not."""
    codes = np.arange(len(sets.labels)) if units is None else units
    return all(len(np.unique(codes[sets.labels[:, place] == one])) >= FEWEST for one in (0, 1))


def not_seen(known: PerImage, sets: LabelSets, place: int, name: str, *, seed: int, examples: int) -> Hypothesis | None:
    """That scores separate: of what an area can be above guessing, a label has at least a tenth."""
    area = statistic_of("auroc", sets, place)
    if area is None:
        return None
    bar = 0.5 + SIGHT * 0.5
    found = _paired(lambda _: bar, area, known, seed)
    if found is None:
        return None
    value, of = bar - found.value, sets.labels[:, place] >= 0
    wrong = sets.labels[of, place] != sets.decisions[of, place]
    return _hypothesis(
        found,
        Finding(
            kind="accuracy",
            subject=name,
            harm=0.0,
            title=f"{name}: an area under the ROC curve of {value:.2f} is hardly above guessing (0.50)",
            facts={"label": name, "auroc": value, "images": int((sets.labels[:, place] == 1).sum())},
            examples=missed_examples(known, sets, place, name, examples),
        ),
        lambda confidence: clustered_share(wrong, known.units_of(of), 2 * confidence - 1).low,
    )


def found_more_rarely(
    known: PerImage, sets: LabelSets, place: int, names: tuple[str, ...], others: list[int], *, seed: int, examples: int
) -> Hypothesis | None:
    """That a label is found no more rarely than the others on average, where images have them."""
    own = statistic_of("sensitivity", sets, place)
    recalls = [one for other in others if (one := statistic_of("sensitivity", sets, other)) is not None]
    if own is None or not recalls:
        return None

    def mean(weights: NDArray[np.float64]) -> float:
        return float(np.mean([recall(weights) for recall in recalls]))

    found = _paired(mean, own, known, seed)
    if found is None:
        return None
    n, name = len(sets.labels), names[place]
    recall, elsewhere = own(np.ones(n)), mean(np.ones(n))
    have = sets.labels[:, place] == 1
    found = _at_least_by_chance(found, elsewhere, sets.decisions[have, place] == 1, known.units_of(have))
    share = float(have.sum() / (sets.labels[:, place] >= 0).sum())
    what = "is never given" if not sets.decisions[:, place].any() else f"recall is {recall:.2f}"
    return _hypothesis(
        found,
        Finding(
            kind="worst_class",
            subject=name,
            harm=0.0,
            title=f"{name}: {what}, that of the other labels {elsewhere:.2f} on average",
            facts={
                "label": name,
                "recall": recall,
                "recall_of_others": elsewhere,
                "images": int(have.sum()),
                "missed": int((have & (sets.decisions[:, place] == 0)).sum()),
            },
            examples=missed_examples(known, sets, place, name, examples),
        ),
        lambda confidence: found.lower(confidence) * share,
    )


def other_threshold(
    known: PerImage, sets: LabelSets, place: int, name: str, used: float, fitted: Fitted, *, seed: int
) -> Hypothesis | None:
    """That no other threshold, fitted on other images, gains balanced accuracy."""
    now = statistic_of("balanced_accuracy", sets, place)
    changed = sets.decisions.copy()
    changed[:, place] = fitted.decisions
    then = statistic_of("balanced_accuracy", LabelSets(sets.labels, changed, sets.logits), place)
    if now is None or then is None:
        return None
    found = _paired(then, now, known, seed)
    if found is None:
        return None
    whole = np.ones(len(known))
    stated = stated_threshold(fitted.threshold)
    shown = fitted.threshold if stated is None else stated
    option = f"labels.thresholds={json.dumps({name: stated}, ensure_ascii=False)}"
    rarer = float((sets.labels[:, place] == 1).sum() / (sets.labels[:, place] >= 0).sum())
    return _hypothesis(
        found,
        Finding(
            kind="threshold",
            subject=name,
            harm=0.0,
            title=f"{name}: a threshold of {shown} in place of {used} brings balanced accuracy from "
            f"{now(whole):.2f} to {then(whole):.2f}",
            facts={
                "label": name,
                "threshold": used,
                "other_threshold": fitted.threshold,
                "balanced_accuracy": now(whole),
                "balanced_accuracy_with_it": then(whole),
                "fitted_on": fitted.where,
            },
            treatments=()
            if stated is None
            else (f"audit with it and see what else changes: --set {shlex.quote(option)}",),
        ),
        # A balanced gain is one of each side: on the rarer side it is of so many images.
        lambda confidence: found.lower(confidence) * min(rarer, 1 - rarer),
    )


def fitted_threshold(known: PerImage, sets: LabelSets, val: LabelSets | None, place: int) -> Fitted | None:
    """The threshold with the best balanced accuracy on validation images, or else on one half of the images.

    None where one of the sides has no image to fit on.
    """
    if sets.logits is None:
        return None
    own = sets.logits[:, place]
    if val is not None and val.logits is not None:
        folds = [(val.labels[:, place], val.logits[:, place], np.ones(len(own), dtype=bool))]
        where = "the validation images"
    else:
        first = in_first_half(known.unit_ids)
        folds = [(sets.labels[half, place], own[half], ~half) for half in (first, ~first)]
        where = "one half of the images, judged on the other, in turn"
    decisions, chosen = np.zeros(len(own), dtype=bool), list[float]()
    for labels, logits, judged in folds:
        at = best_threshold(labels, logits)
        if at is None:
            return None
        decisions[judged] = own[judged] > at
        chosen.append(at)
    return Fitted(float(sigmoid(np.array([np.mean(chosen)]))[0]), decisions, where)


def stated_threshold(threshold: float) -> float | None:
    """The same in as few digits as say how far it lies from 0 and 1; None where no number between them does.

    >>> stated_threshold(0.03125), stated_threshold(0.99996875), stated_threshold(1.0)
    (0.0312, 0.99997, None)
    """
    for digits in range(3, 17):
        found = float(f"{threshold:.{digits}g}")
        if 0 < found < 1 and abs(found - threshold) <= 0.05 * min(threshold, 1 - threshold):
            return found
    return None


def missed_examples(known: PerImage, sets: LabelSets, place: int, name: str, count: int) -> tuple[FindingExample, ...]:
    """Images that have a label and were not given it, the surest first."""
    rows = np.flatnonzero((sets.labels[:, place] == 1) & (sets.decisions[:, place] == 0))
    logits = np.zeros(len(sets.labels)) if sets.logits is None else sets.logits[:, place]
    ordered = sorted(rows.tolist(), key=lambda row: (logits[row], known.ids[row]))
    return tuple(
        FindingExample(
            example_id=known.ids[row],
            caption=f"shows {name}; given {sigmoid(logits[row : row + 1])[0]:.0%}" if sets.logits is not None else name,
        )
        for row in ordered[:count]
    )


class _Loss(NamedTuple):
    """A difference of two figures, with its standard error and the independent units that it rests on."""

    value: float
    error: float
    units: float

    def p_value(self) -> float:
        """One-sided, that it is zero or less, by Student's t."""
        return student_t_probability(self.value / max(self.error, 1e-9), max(self.units - 1, 1))

    def lower(self, confidence: float) -> float:
        """One-sided lower bound, zero or more."""
        return max(self.value - student_t_quantile(confidence, max(self.units - 1, 1)) * self.error, 0.0)


def _paired(first: WeightedStatistic, second: WeightedStatistic, known: PerImage, seed: int) -> _Loss | None:
    try:
        found = paired_bootstrap(first, second, len(known), known.units, rng=np.random.default_rng(seed))
    except InputError:
        return None  # so few images have the label that most resamples hold none
    return _Loss(found.value, found.standard_error, found.units)


def _at_least_by_chance(
    found: _Loss, recall: float, given: NDArray[np.bool_], units: NDArray[np.int64] | None
) -> _Loss:
    """The same, with no less chance than so many images have under the others' recall.

    Resamples of images that were all missed are all missed: they do not know that a few more could have been found.
    """
    images = len(given) / design_effect(given.astype(np.float64), dense_codes(units, len(given)))
    usual = (recall * images + 1) / (images + 2)
    return found._replace(error=max(found.error, float(np.sqrt(usual * (1 - usual) / images))), units=images)


def _hypothesis(found: _Loss, finding: Finding, harm: Callable[[float], float]) -> Hypothesis:
    """That a difference is zero or less."""
    p_value = found.p_value()
    named = finding.model_copy(update={"p_value": p_value})
    return Hypothesis(p_value, harm, lambda size: named.model_copy(update={"harm": size}))
