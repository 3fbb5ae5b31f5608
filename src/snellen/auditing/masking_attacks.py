"""The attacks that the check for masked gradients compares: plain ones, and those that need no such gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial

import torch

from snellen.auditing.threat import Threat
from snellen.checks.check import Batch
from snellen.core.classifier import Classifier
from snellen.core.outcomes import Attacked
from snellen.methods.attacks.perturbation import cross_entropy, negative_margin
from snellen.methods.attacks.perturbation.objectives import Objective
from snellen.methods.attacks.perturbation.rescaled_objectives import standardised_cross_entropy, tempered_cross_entropy
from snellen.methods.attacks.pgd import PGD
from snellen.methods.attacks.square import Square
from snellen.methods.attacks.steepest_ascent import many_steps, one_step
from snellen.methods.attacks.transfer import transferred
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
