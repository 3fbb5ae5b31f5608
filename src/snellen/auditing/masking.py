"""Signs of masked gradients: attacks that need no such gradients, and what plain ones leave standing beside them.

Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security", ICML 2018, arXiv 1802.00420, section
3.1, and Carlini et al., "On evaluating adversarial robustness", 2019, arXiv 1902.06705, section 5, list the signs: one
step or a black-box attack does better than many white-box steps, unbounded attacks do not succeed, larger changes break
less. Each is tested here on paired images, so that the rule was written before any model was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray

from snellen.auditing.threat import Threat
from snellen.checks.check import Batch
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.outcomes import Attacked
from snellen.methods.attacks.perturbation import cross_entropy, negative_margin
from snellen.methods.attacks.perturbation.objectives import Objective
from snellen.methods.attacks.perturbation.rescaled_objectives import standardised_cross_entropy, tempered_cross_entropy
from snellen.methods.attacks.pgd import PGD
from snellen.methods.attacks.square import Square
from snellen.methods.attacks.steepest_ascent import many_steps, one_step
from snellen.methods.attacks.transfer import transferred
from snellen.metrics.clustered import clustered_mean
from snellen.metrics.incomplete_beta import regularised_incomplete_beta
from snellen.metrics.paired_test import mcnemar
from snellen.models.classifiers.references import load_classifier

#: An attack on the labelled images of a batch.
BatchAttack = Callable[[Batch], Attacked]


def masking_attacks(
    threat: Threat,
    *,
    steps: int,
    queries: int,
    temperature: float | None = None,
    surrogate: Classifier | None = None,
) -> dict[str, BatchAttack]:
    """What is run under one threat, by name.

    ``fgsm`` and ``pgd`` follow cross-entropy at temperature 1; ``pgd_twice`` and ``pgd_unbounded`` do so at twice the
    size and without a bound. All searches of PGD start from the same points of their balls.

    >>> sorted(masking_attacks(Threat(norm="linf", size=8), steps=5, queries=10))[:4]
    ['fgsm', 'fgsm_margin', 'fgsm_rescaled', 'pgd']

    Args:
        threat: norm and size.
        steps: of PGD.
        queries: of Square, for each image.
        temperature: what ``fgsm_rescaled`` divides logits by; None: the spread of each image's own logits.
        surrogate: what the images of ``transfer`` are made on; without it there is no such attack.
    """
    divided = standardised_cross_entropy if temperature is None else tempered_cross_entropy(temperature)

    def step(batch: Batch, *, objective: Objective) -> Attacked:
        return one_step(
            batch.classifier,
            batch.images,
            batch.labels,
            objective=objective,
            norm=threat.norm,
            epsilon=threat.epsilon,
        )

    def search(batch: Batch, *, objective: Objective, epsilon: float) -> Attacked:
        # Within this size every image can become every other one.
        whole = 1.0 if threat.norm == "linf" else math.sqrt(batch.images[0].numel())
        return many_steps(
            batch.classifier,
            batch.images,
            batch.labels,
            objective=objective,
            norm=threat.norm,
            epsilon=min(epsilon, whole),
            steps=steps,
            rng=batch.rng,
        )

    def square(batch: Batch) -> Attacked:
        attack = Square(norm=threat.norm, epsilon=threat.epsilon, queries=queries)
        return attack.attack(batch.classifier, batch.images, batch.labels, rng=batch.rng)

    attacks: dict[str, BatchAttack] = {
        "fgsm": partial(step, objective=cross_entropy),
        "fgsm_rescaled": partial(step, objective=divided),
        "fgsm_margin": partial(step, objective=negative_margin),
        "pgd": partial(search, objective=cross_entropy, epsilon=threat.epsilon),
        "pgd_margin": partial(search, objective=negative_margin, epsilon=threat.epsilon),
        "pgd_twice": partial(search, objective=cross_entropy, epsilon=2 * threat.epsilon),
        "pgd_unbounded": partial(search, objective=cross_entropy, epsilon=math.inf),
        "square": square,
    }
    if surrogate is not None:
        made_by = PGD(norm=threat.norm, epsilon=threat.epsilon, steps=steps)

        def moved(batch: Batch) -> Attacked:
            return transferred(made_by, surrogate, batch.classifier, batch.images, batch.labels, rng=batch.rng)

        attacks["transfer"] = moved
    return attacks


@lru_cache(maxsize=1)
def surrogate_model(reference: str, device: torch.device) -> Classifier:
    """The surrogate of a reference, loaded once for all batches of a run."""
    return load_classifier(reference, device=str(device))


@dataclass(frozen=True, eq=False)
class Sign:
    """One sign, tested.

    Attributes:
        name: short, the same in every run.
        words: what was seen, with its shares.
        p_value: one-sided, of no masking.
        values: (n,) in {−1, 0, 1}: what the images say for (1) or against (−1) the sign.
        units: (n,), unit code of each image, or None.
    """

    name: str
    words: str
    p_value: float
    values: NDArray[np.float64]
    units: NDArray[np.int64] | None

    def harm(self, confidence: float) -> float:
        """One-sided lower bound of the mean value: the share of the images whose resistance is only apparent."""
        return clustered_mean(self.values, self.units, pseudo_units=1.0).lower(confidence)


def share_above(
    name: str, words: str, seen: NDArray[np.bool_], tolerance: float, units: NDArray[np.int64] | None = None
) -> Sign:
    """The sign that a share of the images exceeds a tolerance: exact binomial test of "it does not".

    >>> share_above("zero", "", np.ones(5, dtype=bool), 0.1).p_value
    1e-05

    Args:
        name: of the sign.
        words: ``{share}`` stands for the share.
        seen: bool (n,), n > 0.
        tolerance: share in (0, 1) that is not reported. units: (n,), codes; of each unit the first image is tested.
    """
    tested = seen[_one_of_each(units, len(seen))]
    p_value = binomial_tail(int(tested.sum()), len(tested), tolerance)
    return Sign(name, words.format(share=f"{seen.mean():.1%}"), round(p_value, 15), seen.astype(np.float64), units)


def breaks_more(
    name: str,
    words: str,
    again: NDArray[np.bool_],
    plain: NDArray[np.bool_],
    tolerance: float,
    units: NDArray[np.int64] | None = None,
    useless: NDArray[np.bool_] | None = None,
) -> Sign:
    """The sign that another attack breaks images which the plain one leaves standing.

    Two exact tests have to refuse (an intersection–union test, so that the larger p value counts): McNemar's of "either
    breaks alone equally often", and the binomial one of "the share that only the other one breaks is within the
    tolerance". The first alone would report every attack that is a little stronger.

    Two objectives differ in strength also where gradients are sound: on adversarially trained models the margin beats
    cross-entropy by far. For such a comparison ``useless`` names the images on which the plain gradient is known to be
    damaged, and only there does a break by the other attack alone count.

    >>> again, plain = np.ones(20, dtype=bool), np.arange(20) < 8
    >>> sign = breaks_more("margin", "{again} beside {plain}", again, plain, 0.1)
    >>> sign.words, sign.p_value < 0.001
    ('100.0% beside 40.0%', True)

    Args:
        name: of the sign.
        words: ``{again}`` and ``{plain}`` stand for the shares.
        again: images that the other attack breaks, bool (n,), n > 0.
        plain: images that the plain one breaks, bool (n,).
        tolerance: share in (0, 1) that is not reported. units: (n,), codes; of each unit the first image is tested.
            useless: bool (n,), where a break by the other attack alone counts; None: everywhere.
    """
    chosen = _one_of_each(units, len(again))
    for_it = again & ~plain if useless is None else again & ~plain & useless
    against = plain & ~again
    only_again, only_plain = int(for_it[chosen].sum()), int(against[chosen].sum())
    p_value = max(
        mcnemar(only_again, only_plain, alternative="greater"), binomial_tail(only_again, len(chosen), tolerance)
    )
    sentence = words.format(again=f"{again.mean():.1%}", plain=f"{plain.mean():.1%}")
    return Sign(name, sentence, round(p_value, 15), for_it.astype(np.float64) - against, units)


def joint_p_value(signs: Sequence[Sign]) -> float:
    """P value of "no sign at all": the smallest one times their number, at most 1 (Bonferroni)."""
    return min(min(sign.p_value for sign in signs) * len(signs), 1.0)


def established(signs: Sequence[Sign], level: float = 0.05) -> list[Sign]:
    """Signs that stand after Holm's correction (1979) among them, in the order given."""
    standing, ordered = [], sorted(signs, key=lambda sign: sign.p_value)
    for place, sign in enumerate(ordered):
        if sign.p_value * (len(ordered) - place) > level:
            break
        standing.append(sign)
    return [sign for sign in signs if any(sign is one for one in standing)]


def binomial_tail(count: int, n: int, share: float) -> float:
    """P(X ≥ count) for X from Binomial(n, share).

    >>> round(binomial_tail(2, 3, 0.5), 12)
    0.5

    Raises:
        InputError: a count outside 0 … n, or a share outside (0, 1).
    """
    if not (0 <= count <= n and 0 < share < 1):
        raise InputError(f"expected a count in 0 … {n} and a share in (0, 1), got {count} and {share}")
    return 1.0 if count == 0 else regularised_incomplete_beta(share, count, n - count + 1)


def _one_of_each(units: NDArray[np.int64] | None, n: int) -> NDArray[np.int64]:
    """Positions of the first image of each unit: images of one unit are not independent."""
    if not n:
        raise InputError("a sign needs at least one image, got none")
    return np.arange(n) if units is None else np.sort(np.unique(units, return_index=True)[1])
