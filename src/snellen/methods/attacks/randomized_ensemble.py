"""Auto-PGD on the average over a classifier's own draws: what claims of robustness by randomness are measured with.

Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks", ICML
2020, arXiv 2003.01690 (AutoAttack, version "rand": Auto-PGD on cross-entropy and on the difference of logits ratio,
each gradient the mean of 20); Athalye, Carlini and Wagner, ICML 2018, arXiv 1802.00420, section 4.2 (the expectation).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.method import Need
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.norms import uphill
from snellen.methods.attacks.perturbation import (
    Search,
    ascend,
    cross_entropy,
    difference_of_logits_ratio,
    negative_margin,
    on_scores,
)
from snellen.methods.attacks.perturbation.auto_step import AutoStep
from snellen.methods.attacks.perturbation.contested_classes import refuse_without_pairs
from snellen.methods.attacks.perturbation.expectation import over_transformations
from snellen.methods.attacks.perturbation.objectives import Evaluation, Objective
from snellen.methods.attacks.reliability import changed_scores
from snellen.methods.attacks.search_attack import BallAttack


class RandomizedEnsemble(BallAttack):
    """Two kinds of Auto-PGD in a row on the mean over a classifier's draws, each on what the other left.

    Scores that judge, and gradients that are followed, are means over ``draws`` passes. A candidate counts only when
    the mean over new passes confirms it; else its search continues: one of many passes of a random model is wrong by
    luck. AutoAttack judges by one pass each. The classifier's draws are its own, so that a run is not repeated to the
    bit. One that answers twice alike is deterministic and gets one pass each; ``standard_ensemble`` is the stronger
    attack on it.

    An image costs at most ``(steps + 1) · (draws + confirming_draws)`` queries and ``steps · draws`` gradients a stage.
    Confirming passes are spent on clean images, on candidates that look like a success, and once more on each success
    at the end, which alone decides.

    >>> from torch import nn
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 5))
    >>> noisy = Classifier(lambda x: model(x + 0.1 * torch.rand_like(x)), class_names="abcde", differentiable=True)
    >>> images = torch.rand(4, 3, 4, 4)
    >>> attack = RandomizedEnsemble(epsilon=0.5, steps=10, draws=5)
    >>> attack.attack(noisy, images, model(images).argmax(1)).success.tolist()
    [True, True, True, True]
    """

    name: ClassVar[str] = "randomized_ensemble"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "gradients", "scores"})

    steps: int = Field(100, ge=1, description="steps of both kinds of Auto-PGD")
    draws: int = Field(20, ge=1, description="passes that a score and a gradient are the mean of")
    confirming_draws: int = Field(
        100, ge=1, description="passes whose mean judges clean images, and new ones that must confirm a success"
    )

    def stages(self, classes: int = 10) -> Mapping[str, Objective]:
        """What is climbed, by name, in order, for a model with so many classes.

        >>> list(RandomizedEnsemble().stages()), list(RandomizedEnsemble().stages(2))
        (['apgd-ce', 'apgd-dlr'], ['apgd-ce', 'apgd-margin'])
        """
        # Below three classes the ratio is not defined, and the difference of the two scores takes its place.
        last = ("apgd-dlr", difference_of_logits_ratio) if classes > 2 else ("apgd-margin", negative_margin)
        return dict([("apgd-ce", cross_entropy), last])

    def _search(self, search: Search, rng: Randomness) -> Attacked:
        classifier = search.classifier
        refuse_without_pairs(classifier, self.name)
        search.judge_clean()
        draws = self.draws if bool(changed_scores(search).any()) else 1
        if draws > 1:
            search.evaluate = _mean(classifier, negative_margin, self.confirming_draws, rng)
            search.judge_clean()
        clean = search.scores.clone()
        found_by = ["clean" if already else "" for already in search.already.tolist()]
        for name, objective in self.stages(len(classifier.class_names)).items():
            positions = search.open_positions()
            mean = _mean(classifier, objective, draws, rng)
            again = _mean(classifier, objective, self.confirming_draws, rng.child("confirming"))
            search.evaluate = _Confirmed(mean, again, search, draws, self.confirming_draws) if draws > 1 else mean
            step_rule = AutoStep(search.projection, partial(uphill, self.norm), 2 * self.epsilon, self.steps)
            ascend(search, rng.child(name), step_rule=step_rule, steps=self.steps, random_start=True)
            for position in positions[search.success[positions]].tolist():
                found_by[position] = name
        result = replace(search.result(), found_by=tuple(found_by))
        if draws == 1:
            return result
        last = _mean(classifier, negative_margin, self.confirming_draws, rng.child("at last"))
        return _stood(result, last, self.confirming_draws, search, clean)


def _stood(result: Attacked, last: Evaluation, more: int, search: Search, clean: Tensor) -> Attacked:
    """Ask for each success once more: of many looks one confirms by luck, and this one was not chosen among many."""
    found = torch.tensor([status == "found" for status in result.status]).nonzero().flatten().to(clean.device)
    if not len(found):
        return result
    scores, _ = last(result.images[found], search.labels[found], found)
    fallen = found[~search.criterion.success(scores, search.labels[found])]
    kept, fell = result.images.clone(), set(fallen.tolist())
    success, distance, queries = result.success.clone(), result.distance.clone(), result.queries.clone()
    kept[fallen], success[fallen], distance[fallen] = search.images[fallen], False, 0.0
    queries[found] += more
    judged = result.scores.clone()
    judged[found] = scores.to(judged.dtype)
    judged[fallen] = clean[fallen].to(judged.dtype)
    return replace(
        result,
        images=kept,
        success=success,
        distance=distance,
        queries=queries,
        scores=judged,
        status=tuple("not found" if row in fell else status for row, status in enumerate(result.status)),
        found_by=tuple("" if row in fell else name for row, name in enumerate(result.found_by)),
    )


class _Confirmed:
    """An evaluation whose scores are those of new draws wherever the first ones met the criterion."""

    def __init__(self, mean: Evaluation, confirming: Evaluation, search: Search, draws: int, more: int) -> None:
        self.mean, self.confirming, self.search = mean, confirming, search
        self.calls_per_candidate, self.more = draws, more

    def __call__(self, candidates: Tensor, labels: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (n, k) that judge, and mean values (n,) to climb."""
        scores, values = self.mean(candidates, labels, positions)
        rows = self.search.criterion.success(scores.detach(), labels).nonzero().flatten()
        if not len(rows):
            return scores, values
        with torch.no_grad():
            again, _ = self.confirming(candidates[rows].detach(), labels[rows], positions[rows])
        self.search.queries[positions[rows]] += self.more
        return scores.detach().index_copy(0, rows, again.to(scores.dtype)), values


def _mean(classifier: Classifier, objective: Objective, draws: int, rng: Randomness) -> Evaluation:
    """The mean over the classifier's own draws."""
    return over_transformations(on_scores(classifier, objective), None, draws=draws, rng=rng)
