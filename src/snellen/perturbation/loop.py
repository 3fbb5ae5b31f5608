"""The loop under every gradient attack.

Each iteration evaluates the current candidates once; the same evaluation judges the criterion and feeds the gradient.
Images that met the criterion leave the batch, so a broken image costs nothing more. An attack that fails returns the
*clean* image and says so in the success mask: no caller can mistake a failed search for an adversarial image. One image
whose scores are not finite ends its own search, never that of its neighbours.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from snellen.classifier import Classifier
from snellen.criterion import Criterion
from snellen.errors import InputError, ModelError, UnsupportedError
from snellen.outcomes import Attacked
from snellen.perturbation.inputs import checked_inputs
from snellen.perturbation.objectives import Evaluation
from snellen.perturbation.projections import Projection
from snellen.perturbation.spaces import PixelSpace, Space
from snellen.perturbation.steps import StepRule
from snellen.randomness import Randomness

#: first: an image leaves with its first success. closest: all steps are taken, the nearest success is kept. last: all
#: steps are taken and every image returns its last iterate, successful or not (the inner maximisation of adversarial
#: training; the only choice under which a failed image is not the clean one, and a distance or score not of a success).
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
    """Search for a perturbation that meets a criterion. Works alike under ``torch.no_grad`` and in inference mode.

    Args:
        classifier: the model under attack; its query and gradient counts go up.
        images: prepared images, float32 or float64 (n, 3, h, w) in [0, 1]; n may be 0.
        labels: integers (n,), or 0/1 (n, k) for a multilabel classifier, on the device of the images; targets for a
            targeted criterion.
        evaluate: candidates → scores and values to climb; see :func:`snellen.perturbation.objectives.on_scores`.
        projection: allowed set around each clean image, and the norm of the distance; a success lies inside it.
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
        InputError: images or labels that do not fit, or restarts that would repeat or overwrite a search.
        ModelError: at the first look, no image of the batch has finite scores and a finite objective.
    """
    if not classifier.differentiable:
        raise UnsupportedError(f"{classifier.name} gives no gradients, which this attack needs")
    if restarts > 1 and (keep == "last" or not random_start):
        why = "each would overwrite the last iterate" if keep == "last" else "without a random start all are the same"
        raise InputError(f"got {restarts} restarts, but {why}; use restarts=1, or a random start with another keep")
    # The caller's grad mode is not ours: gradients are taken in one place only, and there they must work.
    with torch.inference_mode(False), torch.no_grad():
        images, labels = checked_inputs(classifier, images, labels)
        rng = rng.bind(len(images))
        search = _Search(classifier, images, labels, evaluate, criterion, projection, keep)
        if random_start and keep != "last" and len(images):
            search.judge_clean()
        for restart in range(restarts):
            positions = search.open_positions()
            if not len(positions):
                break
            search.ascend(
                positions, space or PixelSpace(), step_rule, steps, rng.child("restart", restart), random_start
            )
        return search.result()


class _Search:
    """The state of one call: best candidate, success, distance and counts of every image."""

    def __init__(
        self,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        evaluate: Evaluation,
        criterion: Criterion,
        projection: Projection,
        keep: Keep,
    ) -> None:
        self.classifier, self.images, self.labels = classifier, images, labels
        self.evaluate, self.criterion, self.projection, self.keep = evaluate, criterion, projection, keep
        count = len(images)
        self.looked = False
        self.best = images.clone()
        self.scores = images.new_full((count, len(classifier.class_names)), torch.nan)
        self.success = torch.zeros(count, dtype=torch.bool, device=images.device)
        self.already = torch.zeros_like(self.success)
        self.not_finite = torch.zeros_like(self.success)
        self.stepped = torch.zeros_like(self.success)
        self.sloped = torch.zeros_like(self.success)
        self.distance = images.new_zeros(count)
        self.queries = torch.zeros(count, dtype=torch.int64, device=images.device)
        self.gradients = torch.zeros_like(self.queries)

    def open_positions(self) -> Tensor:
        """Images that still want a search."""
        return (~(self.success | self.not_finite)).nonzero().flatten()

    def judge_clean(self) -> None:
        """Look at the clean images first: those that meet the criterion already need no search."""
        self.look(self.images, torch.arange(len(self.images), device=self.images.device), clean=True)

    def ascend(
        self,
        positions: Tensor,
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
            with torch.enable_grad():
                variables = variables.detach().requires_grad_(True)
                candidates = space.decode(variables, images)
                values, done = self.look(candidates, positions, clean=iteration == 0 and not random_start)
                if bool(done.all()):
                    return
                (gradient,) = torch.autograd.grad(self.criterion.direction * values.sum(), variables)
            self.gradients[positions] += 1
            variables = variables.detach()
            # Not finite where any entry is not, zero where all are: one pass answers both.
            steepest = gradient.abs().flatten(1).amax(1)
            lost = ~done & ~steepest.isfinite()
            self.not_finite[positions] |= lost
            done |= lost
            if bool(done.any()):
                left = (~done).nonzero().flatten()
                if not len(left):
                    return
                positions, images, steepest = positions[left], images[left], steepest[left]
                variables, gradient = variables[left], gradient[left]
                memory = {name: tensor[left] for name, tensor in memory.items()}
            # Only images that go on: a finished one has a gradient here or not depending on its neighbours.
            self.stepped[positions] = True
            self.sloped[positions] |= steepest > 0
            variables, memory = step_rule.step(variables, gradient, memory, iteration)
            variables = space.constrain(variables, images, self.projection)
        self.look(space.decode(variables, images), positions, clean=steps == 0 and not random_start)

    def look(self, candidates: Tensor, positions: Tensor, *, clean: bool) -> tuple[Tensor, Tensor]:
        """Evaluate candidates once, judge and keep them: values to climb, and which images are done, (m,) each."""
        scores, values = self.evaluate(candidates, self.labels[positions], positions)
        self.queries[positions] += 1
        # NaN compares as success with every label but one.
        finite = scores.detach().isfinite().flatten(1).all(1) & values.detach().isfinite()
        if not self.looked and not bool(finite.any()):
            raise ModelError(
                f"{self.classifier.name} gave scores or an attack objective that are not finite (NaN or infinity) for "
                f"all {len(finite)} images inside the attack; attack a numerically stable model, in float32"
            )
        self.looked = True
        return values, self.record(positions, candidates.detach(), scores.detach(), finite, clean=clean)

    def record(self, positions: Tensor, candidates: Tensor, scores: Tensor, finite: Tensor, *, clean: bool) -> Tensor:
        """Judge candidates and keep what is worth keeping; returns which images are done: bool (len(positions),)."""
        met = finite & self.criterion.success(scores, self.labels[positions])
        if clean:
            # The clean image itself is remembered already, at distance 0; a space may decode it with a rounding error.
            self.scores[positions], self.success[positions] = scores.to(self.scores.dtype), met
            if self.keep != "last":
                self.already[positions] = met
        else:
            if bool(met.any()):
                rows = met.nonzero().flatten()
                met[rows] = self.projection.contains(candidates[rows], self.images[positions[rows]])
            worth = (finite if self.keep == "last" else met).nonzero().flatten()
            if len(worth):
                self._keep(positions[worth], candidates[worth], scores[worth], met[worth])
        self.not_finite[positions] |= ~finite
        if self.keep == "last":
            return ~finite
        return ~finite | (met if self.keep == "first" else self.already[positions])

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
        """Pack up. A success that was kept stays one, whatever the search met afterwards."""
        flags = zip(self.already.tolist(), self.success.tolist(), self.not_finite.tolist(), strict=True)
        return Attacked(
            images=self.best,
            success=self.success,
            distance=self.distance,
            queries=self.queries,
            gradients=self.gradients,
            scores=self.scores,
            status=tuple(
                "already" if already else "found" if found else "not finite" if not_finite else "not found"
                for already, found, not_finite in flags
            ),
            zero_gradient=self.stepped & ~self.sloped,
        )
