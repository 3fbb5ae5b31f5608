"""A mask and a pattern that send images to a target, the smaller mask the better: the baseline Neural Cleanse.

Wang et al., "Neural Cleanse: identifying and mitigating backdoor attacks in neural networks", IEEE S&P 2019, section
IV. From many images as published, or from a single one. Rates and factors are given from memory of the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation.inputs import checked_inputs

#: Where masks start: small, so that the images are seen.
FIRST_LOGIT = -2.0


@dataclass(frozen=True)
class MaskSearch:
    """How masks are searched for.

    Attributes:
        steps: of Adam.
        learning_rate: of Adam.
        batch: images in each step and target, at most all.
        cost: first weight of the mask's size.
        factor: by which the weight grows while enough images arrive, and falls while they do not.
        patience: steps in a row before the weight changes.
        success: share of the images that must arrive.
    """

    steps: int = 200
    learning_rate: float = 0.1
    batch: int = 32
    cost: float = 1e-3
    factor: float = 1.5
    patience: int = 2
    success: float = 0.99


@dataclass(frozen=True, eq=False)
class MaskPattern:
    """Masks and patterns of k targets.

    Attributes:
        masks: (k, 1, h, w) in [0, 1].
        patterns: (k, 3, h, w) in [0, 1].
        sizes: sum of each mask (k,).
        reached: bool (k,), whether enough images arrived at any step; else the masks are those of the last step.
    """

    masks: Tensor
    patterns: Tensor
    sizes: Tensor
    reached: Tensor

    def applied(self, images: Tensor, number: int) -> Tensor:
        """(1 − m) x + m p of images (n, 3, h, w)."""
        return images + self.masks[number] * (self.patterns[number] - images)


def invert_masks(
    classifier: Classifier, images: Tensor, targets: Tensor, search: MaskSearch, *, rng: Randomness
) -> MaskPattern:
    """Minimise cross-entropy to the target plus cost · ‖m‖₁ over masks m and patterns p, for all targets together.

    Args:
        classifier: with gradients.
        images: (n, 3, h, w), shown to every target; or (k, n, 3, h, w), to each its own.
        targets: int64 (k,).
        search: how.
        rng: draws the batches.

    Raises:
        InputError: no images, or others than a classifier takes.
    """
    count = len(targets)
    shown = images if images.ndim == 5 else images.expand(count, *images.shape)
    if not shown.numel():
        raise InputError("a mask is searched for on images, got none")
    checked_inputs(classifier, shown.flatten(0, 1), targets.repeat_interleave(shown.shape[1]))
    height, width = shown.shape[-2:]
    logits = shown.new_full((count, 1, height, width), FIRST_LOGIT)
    colours = shown.new_zeros(count, 3, height, width)
    with torch.inference_mode(False), torch.enable_grad():
        logits.requires_grad_(True)
        colours.requires_grad_(True)
        optimizer = torch.optim.Adam([logits, colours], lr=search.learning_rate, betas=(0.5, 0.9))
        cost = shown.new_full((count,), search.cost)
        up, down = (torch.zeros(count, dtype=torch.int64, device=shown.device) for _ in range(2))
        best = shown.new_full((count,), torch.inf)
        kept = torch.zeros(count, 4, height, width, device=shown.device)
        taken = min(search.batch, shown.shape[1])
        for step in range(search.steps):
            order = torch.randperm(shown.shape[1], generator=rng.child(step).generator("batch"))[:taken]
            masks, patterns = logits.sigmoid(), colours.sigmoid()
            mixed = shown[:, order] * (1 - masks[:, None]) + masks[:, None] * patterns[:, None]
            scores = classifier(mixed.flatten(0, 1)).view(count, taken, -1)
            wanted = targets[:, None].expand(count, taken)
            losses = (
                F.cross_entropy(scores.flatten(0, 1), wanted.flatten(), reduction="none").view(count, taken).mean(1)
            )
            sizes = masks.flatten(1).sum(1)
            (losses + cost * sizes).sum().backward()
            arrived = (scores.detach().argmax(2) == wanted).double().mean(1) >= search.success
            better = arrived & (sizes.detach() < best)
            best[better] = sizes.detach()[better]
            kept[better] = torch.cat([masks, patterns], 1).detach()[better]
            optimizer.step()
            optimizer.zero_grad()
            up, down = torch.where(arrived, up + 1, 0), torch.where(arrived, 0, down + 1)
            cost = torch.where(up >= search.patience, cost * search.factor, cost)
            cost = torch.where(down >= search.patience, cost / search.factor, cost)
            up[up >= search.patience], down[down >= search.patience] = 0, 0
        reached = best.isfinite()
        last = torch.cat([logits.sigmoid(), colours.sigmoid()], 1).detach()
    kept[~reached] = last[~reached]
    return MaskPattern(kept[:, :1], kept[:, 1:], kept[:, :1].flatten(1).sum(1), reached)
