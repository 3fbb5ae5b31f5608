"""Noisy votes: which class a network names for an image under noise, counted (hard) or as mean probabilities (soft).

Noise is drawn in blocks of :data:`BLOCK` samples, each a function of (run seed, example id, branch, stream, number of
the block) alone. How many samples are drawn at once, in which order, and which other images are run therefore cannot
change a vote. Memory follows from the chunk, not from the number of samples or images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness, derive_seed
from snellen.methods.smoothing.branches import Branch

#: Samples whose noise comes from one seed.
BLOCK = 50

#: The same for soft votes; few are drawn.
SOFT_BLOCK = 4

#: Noisy images in one pass through the network, by default.
CHUNK = 500


def hard_votes(
    branch: Branch,
    images: Tensor,
    *,
    sigma: float,
    first: int,
    last: int,
    class_count: int,
    rng: Randomness,
    stream: str,
    chunk: int = CHUNK,
) -> Tensor:
    """How often each class has the highest score, among the samples ``first`` to ``last`` of each image.

    A sample whose scores are not finite counts for no class, which can only lower a bound.

    Args:
        branch: who votes.
        images: prepared images (n, 3, h, w) in [0, 1].
        sigma: standard deviation of the noise, in [0, 1] pixel units.
        first, last: numbers of the samples, the last one not included.
        class_count: k.
        rng: bound to the images.
        stream: names the noise; another one is independent.
        chunk: noisy images in one pass.

    Returns:
        int64 (n, k), on the CPU.

    Raises:
        InputError: see :func:`check_noise`.
    """
    check_noise(images, sigma)
    votes = torch.zeros(len(images) * class_count, dtype=torch.int64)
    if not len(images) or last <= first:
        return votes.view(-1, class_count)
    assert rng.ids is not None
    with torch.inference_mode():
        parts = branch.part(images)
        blocks = max(chunk // BLOCK, 1)
        noise = parts.new_empty(blocks * BLOCK, *parts.shape[1:])
        generator = torch.Generator(parts.device)
        for tasks in _grouped(len(images), first, last, blocks):
            for number, (row, block) in enumerate(tasks):
                seed = derive_seed(rng.seed, *rng.path, stream, branch.name, block, rng.ids[row])
                sample = noise[number * BLOCK : (number + 1) * BLOCK]
                sample.normal_(0.0, sigma, generator=generator.manual_seed(seed)).add_(parts[row])
            drawn = torch.arange(BLOCK)
            chosen = torch.cat([drawn + block * BLOCK for _, block in tasks])
            rows = torch.tensor([row for row, _ in tasks]).repeat_interleave(BLOCK)
            wanted = (chosen >= first) & (chosen < last)
            used = noise[: len(chosen)] if bool(wanted.all()) else noise[: len(chosen)][wanted.to(noise.device)]
            scores = branch.scores(used)
            # A score that is not a number would win every comparison.
            named, finite = scores.argmax(1).cpu(), scores.isfinite().all(1).cpu()
            places = rows[wanted] * class_count + named
            votes += torch.bincount(places[finite], minlength=len(votes))
    return votes.view(-1, class_count)


def soft_votes(
    branch: Branch,
    images: Tensor,
    *,
    sigma: float,
    samples: int,
    rng: Randomness,
    stream: str,
    chunk: int = CHUNK,
) -> Tensor:
    """Mean probabilities under noise, as a differentiable function of the images: (n, 3, h, w) → (n, k).

    The gradient of chunks is taken one after the other, from the same noise: the number of samples sets no memory.

    Args:
        branch: who votes.
        images: (n, 3, h, w).
        sigma: standard deviation of the noise; 0 is no noise.
        samples: N, for each image.
        rng: bound to the images.
        stream: names the noise; another one is independent.
        chunk: noisy images in one pass.

    Raises:
        InputError: no samples.
    """
    if samples < 1:
        raise InputError(f"votes need at least one sample, got {samples}")
    parts = branch.part(images)
    together = max(chunk // max(len(images), 1) // SOFT_BLOCK, 1)
    numbers = range(-(-samples // SOFT_BLOCK))
    groups = [numbers[start : start + together] for start in numbers[::together]]
    total: Tensor | None = None
    for group in groups:

        def summed(parts: Tensor, group: range = group) -> Tensor:
            noise = soft_noise(branch, parts, samples, rng, stream, group)
            scores = branch.scores((parts[:, None] + sigma * noise).flatten(0, 1))
            return scores.softmax(1).view(len(parts), -1, scores.shape[1]).sum(1)

        alone = len(groups) == 1 or not parts.requires_grad
        votes: Tensor = summed(parts) if alone else checkpoint(summed, parts, use_reentrant=False)
        total = votes if total is None else total + votes
    assert total is not None
    return total / samples


def soft_noise(
    branch: Branch, parts: Tensor, samples: int, rng: Randomness, stream: str, blocks: range | None = None
) -> Tensor:
    """The noise of :func:`soft_votes` before it is scaled, for those who need the same again: (n, samples, …).

    Args:
        branch: who votes.
        parts: what of the images the branch depends on, (n, …).
        samples: for each image.
        rng: bound to the images.
        stream: names the noise.
        blocks: only these, each of :data:`SOFT_BLOCK` samples, as far as there are so many.
    """
    chosen = range(-(-samples // SOFT_BLOCK)) if blocks is None else blocks
    drawn = [
        rng.child(stream, branch.name, block).normal("noise", (SOFT_BLOCK, *parts.shape[1:]), like=parts)
        for block in chosen
    ]
    return torch.cat(drawn, 1)[:, : samples - chosen[0] * SOFT_BLOCK]


def check_noise(images: Tensor, sigma: float) -> None:
    """Refuse images outside [0, 1] or not numbers, and noise that is none.

    Raises:
        InputError: as above.
    """
    if not sigma > 0 or sigma == float("inf"):
        raise InputError(f"the noise needs a standard deviation sigma > 0, in [0, 1] pixel units; got {sigma}")
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f"expected prepared images (n, 3, h, w), got {tuple(images.shape)}")
    if len(images):
        low, high = (float(end) for end in torch.aminmax(images))
        if not (low >= -1e-6 and high <= 1 + 1e-6):
            raise InputError(f"expected images in [0, 1], got values from {low:.4g} to {high:.4g}")


def _grouped(images: int, first: int, last: int, size: int) -> Iterator[list[tuple[int, int]]]:
    """(row, block) of all blocks that hold a wanted sample, in groups."""
    group: list[tuple[int, int]] = []
    for row in range(images):
        for block in range(first // BLOCK, -(-last // BLOCK)):
            group.append((row, block))
            if len(group) == size:
                yield group
                group = []
    if group:
        yield group


#: (candidates (n, 3, h, w), labels (n,), positions (n,)) → scores (n, k) and values (n,).
VoteEvaluation = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def vote_evaluation(
    branches: Sequence[Branch],
    *,
    sigma: float,
    samples: int,
    rng: Randomness,
    fresh: bool = True,
    chunk: int = CHUNK,
    watch: Callable[[Tensor, Tensor], None] | None = None,
) -> VoteEvaluation:
    """−log of the label's mean probability over all noisy copies of all branches: SmoothAdv's objective.

    Salman et al., "Provably robust deep learning via adversarially trained smoothed classifiers", NeurIPS 2019, arXiv
    1906.04584, equation 3. Scores are the logarithms of these means, so that the largest is the majority's.

    Args:
        branches: who votes.
        sigma: standard deviation of the noise.
        samples: noisy copies in each branch.
        rng: bound to the images of the attack.
        fresh: new noise at every look; else the same throughout, that of the stream "look 0".
        chunk: noisy images in one pass.
        watch: is given the values of every look, and the positions that they are of.
    """
    looks = 0

    def evaluate(candidates: Tensor, labels: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal looks
        own, stream = rng[positions.cpu()], f"look {looks}"
        looks += fresh
        each = []
        for branch in branches:
            votes = soft_votes(branch, candidates, sigma=sigma, samples=samples, rng=own, stream=stream, chunk=chunk)
            each.append(votes)
        logarithms = torch.stack(each).mean(0).clamp_min(1e-20).log()
        values = F.nll_loss(logarithms, labels, reduction="none")
        if watch is not None:
            watch(values.detach(), positions)
        return logarithms, values

    return evaluate


def length_in(branches: Sequence[Branch], epsilon: float) -> float:
    """The l2 length over all three channels of what is ``epsilon`` long in the measure of a certificate.

    Where the noise is grey, radii are of one channel, and a change that is the same in three is longer by √3.
    """
    return epsilon * 3**0.5 if branches[0].grey else epsilon
