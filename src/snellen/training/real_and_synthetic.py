"""Real and synthetic images in one training: L = λ · mean over the real ones + (1 − λ) · mean over the synthetic ones.

The two means are those of each batch (Kim et al., *DataDream*, ECCV 2024, arXiv 2407.10910, λ = 0.8). A batch without
real or without synthetic images has a term of 0 in its place: the other one keeps its weight. A column says which image
is which, and never a path. :func:`snellen.data.class_balance.mixture_weights` has the form for a whole set.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.deep_picture import join_pixels
from snellen.core.errors import InputError
from snellen.training.batches import Batch, ImageStore
from snellen.training.fine_tuning import Term
from snellen.training.mixing import cutmix, mixup
from snellen.training.objectives import Objective, classify, cross_entropy

#: λ, the share of the real images, as published.
REAL_SHARE = 0.8


def weighed(losses: Tensor, synthetic: Tensor, real_share: float = REAL_SHARE, weights: Tensor | None = None) -> Tensor:
    """Losses whose (weighted) mean over the batch is λ · mean of the real ones + (1 − λ) · mean of the synthetic ones.

    >>> losses = torch.tensor([1.0, 2.0, 4.0])
    >>> round(float(weighed(losses, torch.tensor([False, True, True]), 0.8).mean()), 6)  # 0.8 * 1 + 0.2 * 3
    1.4
    >>> round(float(weighed(losses, torch.tensor([True, True, True]), 0.5).sum()), 6)  # no real one: 0 in its place
    3.5

    Args:
        losses: of each example, (n,).
        synthetic: whether each was generated, bool (n,).
        real_share: λ, in [0, 1].
        weights: of each example, as the training applies them, (n,); 1 by default.

    Returns:
        (n,); never infinite or NaN where the losses are neither.
    """
    counts = torch.ones_like(losses) if weights is None else weights.to(losses)
    total, made = counts.sum(), (counts * synthetic.to(counts)).sum()
    # A part that is empty, or whose weights are all 0, counts 0.
    of_real, of_made = (
        torch.where(part > 0, share * total / part.clamp_min(torch.finfo(part.dtype).eps), 0)
        for share, part in ((real_share, total - made), (1 - real_share, made))
    )
    return losses * torch.where(synthetic.to(losses.device), of_made, of_real)


def check_real_share(real_share: float) -> None:
    """Refuse a λ outside of [0, 1].

    Raises:
        InputError: as above.
    """
    if not 0 <= real_share <= 1:
        raise InputError(f"the share of the real images in the loss is in [0, 1]; got {real_share}")


def by_source(synthetic: Tensor, real_share: float = REAL_SHARE, objective: Objective = classify) -> Objective:
    """An objective whose losses are weighed in each batch.

    Args:
        synthetic: of all training examples, bool (n,), in their order.
        real_share: λ.
        objective: losses of the examples of a batch.

    Raises:
        InputError: a share outside of [0, 1].
    """
    check_real_share(real_share)

    def losses(model: nn.Module, batch: Batch) -> Tensor:
        return weighed(objective(model, batch), synthetic[batch.positions], real_share, batch.weights)

    return losses


def term_of_sources(synthetic: Tensor, real_share: float = REAL_SHARE) -> Term:
    """The same as a term of a fine-tuning, for a treatment that adds synthetic images.

    Args:
        synthetic: of all training examples, bool (n,), in their order.
        real_share: λ.

    Raises:
        InputError: a share outside of [0, 1].
    """
    check_real_share(real_share)

    def weigh(_model: nn.Module, batch: Batch, losses: Tensor) -> Tensor:
        return weighed(losses, synthetic[batch.positions], real_share, batch.weights)

    return Term(weigh=weigh)


def mixed_in_parts(synthetic: Tensor, class_count: int, probability: float) -> Objective:
    """Cross-entropy; a share of the batches is mixed by CutMix or mixup, real and synthetic images separately.

    Args:
        synthetic: of all training examples, bool (n,).
        class_count: k.
        probability: of mixing a batch.
    """

    def losses(model: nn.Module, batch: Batch) -> Tensor:
        images, targets = batch.images, batch.targets
        draws = torch.rand(2, generator=batch.rng.generator("mixing"))
        if float(draws[0]) < probability:
            mix = cutmix(class_count) if float(draws[1]) < 0.5 else mixup(class_count)
            flags, images = synthetic[batch.positions], images.clone()
            targets = F.one_hot(targets, class_count).to(images.dtype)
            for part in (flags, ~flags):
                rows = part.nonzero().flatten()
                if len(rows) > 1:
                    images[rows], targets[rows] = mix(images[rows], targets[rows], batch.rng[rows])
        return cross_entropy(model(images).float(), targets)

    return losses


def pooled(real: ImageStore, made: ImageStore, *, repeat: bool = True) -> tuple[ImageStore, Tensor]:
    """Real and synthetic examples as one store, and which are synthetic.

    Args:
        real: n examples.
        made: m examples of the same classes and size.
        repeat: take each real example round(m / n) times, once at least, so that a batch holds about as many of both.

    Returns:
        The store, and bool (examples,).

    Raises:
        InputError: images of different sizes.
    """
    if real.images.shape[1:] != made.images.shape[1:]:
        raise InputError(
            f"real images are {tuple(real.images.shape[1:])} after preparation, and synthetic ones "
            f"{tuple(made.images.shape[1:])}; prepare both alike"
        )
    times = max(round(len(made) / len(real)), 1) if repeat else 1
    ids = [f"real/{one}" if turn == 0 else f"real/{one}#{turn}" for turn in range(times) for one in real.ids]
    store = ImageStore(
        join_pixels([real.images] * times + [made.images]),
        torch.cat([real.targets] * times + [made.targets]),
        (*ids, *(f"synthetic/{one}" for one in made.ids)),
        torch.cat([real.weights] * times + [made.weights]),
        real.split,
        {**real.rejected, **made.rejected},
    )
    return store, torch.arange(len(store)) >= times * len(real)
