"""The loop under every gradient attack.

Each iteration evaluates the current candidates once; the same evaluation judges the criterion and feeds the gradient.
Images that met the criterion leave the batch, so a broken image costs nothing more. An attack that fails returns the
*clean* image and says so in the success mask: no caller can mistake a failed search for an adversarial image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation.objectives import Evaluation
from snellen.methods.attacks.perturbation.projections import Projection, largest_entry
from snellen.methods.attacks.perturbation.search import Keep, Search, start_search
from snellen.methods.attacks.perturbation.spaces import PixelSpace, Space
from snellen.methods.attacks.perturbation.steps import StepRule, WatchingStepRule
from snellen.methods.attacks.perturbation.stopping import Stopping


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
    stop: Stopping | None = None,
) -> Attacked:
    """Search for a perturbation that meets a criterion. Works alike under ``torch.no_grad`` and in inference mode.

    Args:
        classifier: the model under attack; its query and gradient counts go up.
        images: prepared images, float32 or float64 (n, 3, h, w) in [0, 1]; n may be 0.
        labels: integers (n,), or 0/1 (n, k) for a multilabel classifier, on the device of the images; targets for a
            targeted criterion.
        evaluate: candidates → scores and values to climb; see
            :func:`snellen.methods.attacks.perturbation.objectives.on_scores`.
        projection: allowed set around each clean image, and the norm of the distance; a success lies inside it.
        step_rule: how variables move.
        criterion: what counts as success; its direction turns the objective round.
        steps: gradient steps of each restart.
        rng: randomness of the starts, per image.
        space: what the variable is; pixels by default.
        random_start: start from a random allowed candidate instead of the clean image.
        restarts: independent starts; only images without success go on to the next.
        keep: which candidate of an image is returned, see :data:`snellen.methods.attacks.perturbation.search.Keep`.
        stop: which images are given up before the last step, see :mod:`snellen.methods.attacks.perturbation.stopping`.

    Raises:
        UnsupportedError: the classifier gives no gradients.
        InputError: images or labels that do not fit, or restarts that would repeat or overwrite a search.
        NotFiniteError: at the first look, no image of the batch has finite scores and a finite objective.
    """
    if not classifier.differentiable:
        raise UnsupportedError(f"{classifier.name} gives no gradients, which this attack needs")
    if restarts > 1 and (keep == "last" or not random_start):
        why = "each would overwrite the last iterate" if keep == "last" else "without a random start all are the same"
        raise InputError(f"got {restarts} restarts, but {why}; use restarts=1, or a random start with another keep")
    with start_search(
        classifier, images, labels, projection=projection, criterion=criterion, rng=rng, keep=keep, evaluate=evaluate
    ) as (search, rng):
        if random_start and keep != "last":
            search.judge_clean()
        for restart in range(restarts):
            ascend(
                search,
                rng.child("restart", restart),
                step_rule=step_rule,
                steps=steps,
                space=space,
                random_start=random_start,
                stop=stop,
            )
        return search.result()


def ascend(
    search: Search,
    rng: Randomness,
    *,
    step_rule: StepRule,
    steps: int,
    space: Space | None = None,
    random_start: bool = False,
    stop: Stopping | None = None,
) -> None:
    """One start and its steps, for the images that still want a search. Call it under ``torch.no_grad``.

    Args:
        search: the account that is kept; its evaluation and criterion say what is climbed.
        rng: randomness of the start, bound to the whole batch.
        step_rule: how variables move.
        steps: gradient steps.
        space: what the variable is; pixels by default.
        random_start: start from a random allowed candidate instead of the clean image.
        stop: which images are given up before the last step.
    """
    positions = search.open_positions()
    if not len(positions):
        return
    space = space or PixelSpace()
    images = search.images[positions]
    start = search.projection.sample(images, rng[positions]) if random_start else images
    variables = space.encode(start, images)
    memory = step_rule.start(variables)
    # Once, not at every step: to compare an object with a protocol takes as long as a small step.
    watching = step_rule if isinstance(step_rule, WatchingStepRule) else None
    for iteration in range(steps + 1):
        # After the last step, candidates are judged and no gradient is taken.
        last = iteration == steps
        with torch.set_grad_enabled(not last):
            variables = variables.detach().requires_grad_(not last)
            candidates = space.decode(variables, images)
            scores, values = search.evaluate(candidates, search.labels[positions], positions)
            clean = iteration == 0 and not random_start
            done = search.judge(candidates, positions, scores, values, clean=clean)
            if last:
                return
            if stop is not None:
                done = done | stop(values.detach(), positions, iteration)
            if bool(done.all()):
                return
            values = search.criterion.direction * values
            gradient = search.differentiate(values, variables, positions)
        variables, values = variables.detach(), values.detach()
        # Not finite where any entry is not, zero where all are.
        steepest = largest_entry(gradient)
        lost = ~done & ~steepest.isfinite()
        search.not_finite[positions] |= lost
        done |= lost
        if bool(done.any()):
            left = (~done).nonzero().flatten()
            if not len(left):
                return
            positions, images, steepest = positions[left], images[left], steepest[left]
            variables, gradient, values = variables[left], gradient[left], values[left]
            memory = {name: tensor[left] for name, tensor in memory.items()}
        # Only images that go on: a finished one has a gradient here or not depending on its neighbours.
        search.stepped[positions] = True
        search.sloped[positions] |= steepest > 0
        if watching is not None:
            memory = watching.watch(values, images, memory)
        variables, memory = step_rule.step(variables, gradient, memory, iteration)
        variables = space.constrain(variables, images, search.projection)
