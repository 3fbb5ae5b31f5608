"""The change of one image that sends the smoothed classifier to a target: SmoothInv.

Sun and Kolter, "Single image backdoor inversion via robust smoothed classifiers", CVPR 2023, arXiv 2303.00215. Under
noise the classifier's gradient shows the trigger that it was trained to answer to, and not what happens to be near.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Targeted
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation.inputs import checked_inputs
from snellen.methods.attacks.perturbation.loop import ascend
from snellen.methods.attacks.perturbation.search import start_search
from snellen.methods.smoothing.branches import branches_of
from snellen.methods.smoothing.votes import CHUNK, vote_evaluation
from snellen.systems.smooth_inversion.steps import BoxThenBall, MomentumStep, Sure


@dataclass(frozen=True)
class Search:
    """How a change is searched for.

    Attributes:
        epsilon: largest l2 length over all channels and pixels, in [0, 1] pixel units.
        sigma: noise; 0 uses the bare classifier.
        samples: N, noisy copies at each step, drawn anew; their probabilities are averaged.
        steps: gradient steps.
        rate: size of the first steps, share of epsilon; 0.05 is the published 0.5 · epsilon / 10.
        momentum: of the steps.
        halve_every: steps after which the size is halved.
        sure: probability of the target that, for ``patience`` steps in a row, ends a search early; None: never.
        patience: see ``sure``.
    """

    epsilon: float = 5.0
    sigma: float = 0.25
    samples: int = 40
    steps: int = 400
    rate: float = 0.05
    momentum: float = 0.9
    halve_every: int = 300
    sure: float | None = 0.99
    patience: int = 20

    def __post_init__(self) -> None:
        if not self.epsilon > 0 or self.epsilon == float("inf"):
            raise InputError(
                f"the change needs a largest length epsilon > 0, in [0, 1] pixel units; got {self.epsilon}"
            )
        if not 0 <= self.sigma < float("inf"):
            raise InputError(f"noise has a standard deviation sigma of 0 or more; got {self.sigma}")
        for name in ("samples", "steps"):
            if getattr(self, name) < 1:
                raise InputError(f"a search needs at least one of its {name}, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class Inverted:
    """Changes that were found.

    Attributes:
        changes: (b, 3, h, w); image + change lies in [0, 1].
        probability: of the target under noise, at the last look (b,).
        steps: gradient steps taken, int64 (b,).
        history: probability of the target at each look, float (looks, b); NaN once a search has ended.
        zero_gradients: bool (b,), every gradient was exactly zero.
        sigma: noise of the search.
    """

    changes: Tensor
    probability: Tensor
    steps: Tensor
    history: Tensor
    zero_gradients: Tensor
    sigma: float


def invert(
    classifier: Classifier,
    images: Tensor,
    targets: Tensor,
    search: Search,
    *,
    rng: Randomness,
    grey: bool = False,
    denoise: Callable[[Tensor], Tensor] | None = None,
    chunk: int = CHUNK,
) -> Inverted:
    """Search for a change of each image towards its target; a batch is laid out as (b, N) and equals b single calls.

    −log of the *mean* probability of the target over N noisy copies is descended, from no change, along gradients of
    length 1 with momentum; the image is cut to [0, 1], and the change to the ball. The last iterate is returned.

    Args:
        classifier: one label, a module of torch, in evaluation mode.
        images: prepared images (b, 3, h, w) in [0, 1]; an image occurs once for each target.
        targets: int64 (b,).
        search: how.
        rng: bound to the b searches, or unbound.
        grey: one noise and one change for all three channels; images must be grey.
        denoise: noisy images → images before the network; the gradient goes through it.
        chunk: noisy images in one pass; sets memory.

    Raises:
        UnsupportedError: a classifier that cannot run under noise.
        InputError: images outside [0, 1], targets that are no classes, or a denoiser without noise.
    """
    if denoise is not None and search.sigma == 0:
        raise InputError(
            "without noise (sigma 0) there is nothing to denoise; leave the denoiser out, or take sigma > 0"
        )
    images, targets = checked_inputs(classifier, images, targets)
    if len(images):
        low, high = (float(end) for end in torch.aminmax(images))
        if not (low >= -1e-6 and high <= 1 + 1e-6):  # written so that NaN fails too
            raise InputError(f"expected images in [0, 1], got values from {low:.4g} to {high:.4g}; divide bytes by 255")
    own = rng.bind(len(images))
    branches = branches_of(classifier, split_pixels=False, grey=grey, denoise=denoise)
    history: list[Tensor] = []

    def note(values: Tensor, positions: Tensor) -> None:
        row = values.new_full((len(images),), torch.nan)
        row[positions] = (-values).exp()
        history.append(row)

    votes = vote_evaluation(branches, sigma=search.sigma, samples=search.samples, rng=own, chunk=chunk, watch=note)
    stop = None if search.sure is None else Sure(len(images), probability=search.sure, patience=search.patience)
    step_rule = MomentumStep(search.rate * search.epsilon, search.momentum, search.halve_every)
    with start_search(
        classifier,
        images,
        targets,
        projection=BoxThenBall(search.epsilon),
        criterion=Targeted(),
        rng=own,
        keep="last",
        evaluate=votes,
    ) as (account, bound):
        ascend(account, bound.child("restart", 0), step_rule=step_rule, steps=search.steps, stop=stop)
        found = account.result()
    told = torch.stack(history) if history else images.new_zeros(0, len(images))
    looks = told.isfinite().sum(0)
    last = (
        told.nan_to_num(0.0).gather(0, (looks - 1).clamp(min=0)[None])[0] if len(told) else told.new_zeros(len(images))
    )
    return Inverted(
        changes=found.images - images,
        probability=last,
        steps=(looks - 1).clamp(min=0),
        history=told,
        zero_gradients=found.zero_gradient,
        sigma=search.sigma,
    )
