"""The loop under every gradient attack.

Each iteration evaluates the current candidates once; the same evaluation judges the criterion and feeds the gradient.
Images that met the criterion leave the batch, so a broken image costs nothing more. An attack that fails returns the
*clean* image and says so in the success mask: no caller can mistake a failed search for an adversarial image.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from snellen.classifier import Classifier
from snellen.criterion import Criterion
from snellen.errors import InputError, ModelError, UnsupportedError
from snellen.outcomes import Attacked
from snellen.perturbation.objectives import Evaluation
from snellen.perturbation.projections import Projection
from snellen.perturbation.spaces import PixelSpace, Space
from snellen.perturbation.steps import StepRule
from snellen.randomness import Randomness

#: first: an image leaves with its first success. closest: all steps are taken, the nearest success is kept. last: all
#: steps are taken and every image returns its last iterate, successful or not (the inner maximisation of adversarial
#: training; the only choice under which a failed image is not the clean one).
Keep = Literal["first", "closest", "last"]


def perturb(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    *,
    evaluate: Evaluation,
    projection: Projection,
    step_rule: StepRule,
    criterion: Criterion,
    steps: int,
    rng: Randomness,
    space: Space | None = None,
    random_start: bool = False,
    restarts: int = 1,
    keep: Keep = "first",
) -> Attacked:
    """Search for a perturbation that meets a criterion.

    Args:
        classifier: the model under attack; its query and gradient counts go up.
        images: prepared images (n, 3, h, w) in [0, 1].
        labels: (n,) or (n, k), on the device of the images; targets for a targeted criterion.
        evaluate: candidates → scores and values to climb; see :func:`snellen.perturbation.objectives.on_scores`.
        projection: allowed set around each clean image, and the norm of the distance.
        step_rule: how variables move.
        criterion: what counts as success; its direction turns the objective round.
        steps: gradient steps of each restart.
        rng: randomness of the starts, per image.
        space: what the variable is; pixels by default.
        random_start: start from a random allowed candidate instead of the clean image.
        restarts: independent starts; only images without success go on to the next.
        keep: which candidate of an image is returned, see :data:`Keep`.

    Raises:
        UnsupportedError: the classifier gives no gradients.
        ModelError: values of the objective are not finite.
    """
    if not classifier.differentiable:
        raise UnsupportedError(f"{classifier.name} gives no gradients, which this attack needs")
    if len(labels) != len(images):
        raise InputError(f"{len(images)} images came with {len(labels)} labels")
    rng = rng.bind(len(images))
    search = _Search(classifier, images, labels, criterion, projection, keep)
    if random_start and keep != "last":
        search.judge_clean(evaluate)
    for restart in range(restarts):
        positions = search.open_positions()
        if not len(positions):
            break
        search.ascend(
            positions, evaluate, space or PixelSpace(), step_rule, steps, rng.child("restart", restart), random_start
        )
    return search.result()


class _Search:
    """The state of one call: best candidate, success, distance and counts of every image."""

    def __init__(
        self,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        criterion: Criterion,
        projection: Projection,
        keep: Keep,
    ) -> None:
        self.classifier, self.criterion, self.projection, self.keep = classifier, criterion, projection, keep
        self.images, self.labels = images, labels
        count = len(images)
        self.best = images.clone()
        self.scores = images.new_zeros(count, len(classifier.class_names))
        self.success = torch.zeros(count, dtype=torch.bool, device=images.device)
        self.already = torch.zeros_like(self.success)
        self.distance = images.new_zeros(count)
        self.queries = torch.zeros(count, dtype=torch.int64, device=images.device)
        self.gradients = torch.zeros_like(self.queries)

    def open_positions(self) -> Tensor:
        """Images that still want a search."""
        wanted = torch.ones_like(self.success) if self.keep == "last" else ~self.success
        return wanted.nonzero().flatten()

    def judge_clean(self, evaluate: Evaluation) -> None:
        """Look at the clean images first: those that meet the criterion already need no search."""
        everyone = torch.arange(len(self.images), device=self.images.device)
        with torch.no_grad():
            scores, _ = self.look(evaluate, self.images, everyone)
        self.record(everyone, self.images, scores, clean=True)

    def ascend(
        self,
        positions: Tensor,
        evaluate: Evaluation,
        space: Space,
        step_rule: StepRule,
        steps: int,
        rng: Randomness,
        random_start: bool,
    ) -> None:
        """One start and its steps."""
        images = self.images[positions]
        start = self.projection.sample(images, rng[positions]) if random_start else images
        variables = space.encode(start, images)
        memory = step_rule.start(variables)
        for iteration in range(steps):
            variables = variables.detach().requires_grad_(True)
            candidates = space.decode(variables, images)
            scores, values = self.look(evaluate, candidates, positions)
            clean = iteration == 0 and not random_start
            done = self.record(positions, candidates.detach(), scores.detach(), clean=clean)
            if bool(done.all()):
                return
            (gradient,) = torch.autograd.grad(self.criterion.direction * values.sum(), variables)
            self.gradients[positions] += 1
            variables = variables.detach()
            if bool(done.any()):
                left = (~done).nonzero().flatten()
                positions, images = positions[left], images[left]
                variables, gradient = variables[left], gradient[left]
                memory = {name: tensor[left] for name, tensor in memory.items()}
            variables, memory = step_rule.step(variables, gradient, memory, iteration)
            variables = space.constrain(variables, images, self.projection)
        with torch.no_grad():
            candidates = space.decode(variables, images)
            scores, _ = self.look(evaluate, candidates, positions)
        self.record(positions, candidates, scores, clean=steps == 0 and not random_start)

    def look(self, evaluate: Evaluation, candidates: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate candidates, count the queries, and refuse NaN: it compares as success with every label but one."""
        scores, values = evaluate(candidates, self.labels[positions], positions)
        self.queries[positions] += 1
        if not bool(torch.isfinite(scores).all()) or not bool(torch.isfinite(values).all()):
            raise ModelError(
                f"{self.classifier.name} gave scores or an attack objective that are not finite (NaN or infinity) "
                f"inside the attack; attack a numerically stable model, in float32"
            )
        return scores, values

    def record(self, positions: Tensor, candidates: Tensor, scores: Tensor, *, clean: bool) -> Tensor:
        """Judge candidates and keep what is worth keeping; returns which images are done: bool (len(positions),)."""
        met = self.criterion.success(scores, self.labels[positions])
        if clean:
            self.already[positions] = met
            # A failed search returns the clean image, so it returns these scores.
            self.scores[positions] = scores.to(self.scores.dtype)
        worth = torch.ones_like(met) if self.keep == "last" else met
        if bool(worth.any()):
            rows = worth.nonzero().flatten()
            self._keep(positions[rows], candidates[rows], scores[rows], met[rows])
        if self.keep == "last":
            return torch.zeros_like(met)
        return met if self.keep == "first" else met & self.already[positions]

    def _keep(self, positions: Tensor, candidates: Tensor, scores: Tensor, met: Tensor) -> None:
        """Remember candidates; under ``closest`` only those that are nearer than what is remembered."""
        distance = self.projection.distance(candidates, self.images[positions])
        if self.keep == "closest":
            nearer = ~self.success[positions] | (distance < self.distance[positions])
            positions, candidates, scores = positions[nearer], candidates[nearer], scores[nearer]
            distance, met = distance[nearer], met[nearer]
        self.best[positions] = candidates
        self.distance[positions] = distance.to(self.distance.dtype)
        self.scores[positions] = scores.to(self.scores.dtype)
        self.success[positions] = met

    def result(self) -> Attacked:
        """Pack up."""
        status = [
            "already" if already else "found" if success else "not found"
            for already, success in zip(self.already.tolist(), self.success.tolist(), strict=True)
        ]
        return Attacked(
            images=self.best,
            success=self.success,
            distance=self.distance,
            queries=self.queries,
            gradients=self.gradients,
            scores=self.scores,
            status=tuple(status),
        )
