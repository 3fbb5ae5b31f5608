"""Training on random crops whose targets are the label maps at exactly these crops.

Yun et al., CVPR 2021, arXiv 2101.05022, sections 3.2 and 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.systems.label_maps.matched_maps import MatchedMaps
from snellen.systems.label_maps.sparse import Missing, pooled_scores, whole_boxes
from snellen.training.batches import Batch
from snellen.training.mixing import cutmix
from snellen.training.objectives import Objective, cross_entropy
from snellen.training.transforms import cut_boxes, draw_boxes, random_flips

#: What a crop is to be called. localized_multi is ReLabel; the others are the arms of its ablation (table 6): the whole
#: image's soft label for every crop; the crop's most likely class alone; the whole image's.
Targets = Literal["localized_multi", "global_multi", "localized_single", "global_single"]


@dataclass(frozen=True)
class CropPlan:
    """How crops are drawn and named.

    Attributes:
        side: of the crops, pixels.
        smallest: least share of the image's area in a crop.
        flips: whether half of the crops are mirrored; that changes no target.
        targets: see :data:`Targets`.
        missing: what a class counts where a place did not keep it.
        cutmix_probability: of pasting another crop into a crop; 0 is no CutMix.
        cutmix_alpha: of the Beta distribution of the share that is kept.
        last_mixed_epoch: CutMix is off after this epoch.
    """

    side: int
    smallest: float
    flips: bool
    targets: Targets
    missing: Missing
    cutmix_probability: float = 0.0
    cutmix_alpha: float = 1.0
    last_mixed_epoch: int = 0


@dataclass(frozen=True, eq=False)
class Crops:
    """A batch as the model sees it.

    Attributes:
        images: (n, 3, side, side).
        targets: probabilities (n, k).
        boxes: (n, 4): left, top, right, bottom of what was cut, as shares.
    """

    images: Tensor
    targets: Tensor
    boxes: Tensor


def cut_and_name(batch: Batch, matched: MatchedMaps, plan: CropPlan) -> Crops:
    """Cut a random box of each squeezed frame, and pool the label map over that box.

    With CutMix, each target is that of a whole crop, mixed by the area that was really pasted after clipping; boxes are
    those before mixing. An example without a map has its label as target.

    Args:
        batch: images (n, 3, h, w), whole images squeezed into frames; targets int64 (n,).
        matched: maps by position.
        plan: what is drawn.

    Raises:
        InputError: targets that are no class indices.
    """
    if batch.targets.ndim != 1 or batch.targets.is_floating_point():
        raise InputError("training on label maps takes images with one label each")
    rng = batch.rng.child("transform")  # as the loop gives it to a transform: the same crops as without maps
    boxes = draw_boxes(rng, smallest=plan.smallest, aspects=matched.aspects[batch.positions])
    images = cut_boxes(batch.images, boxes, plan.side)
    targets = box_targets(batch.positions, batch.targets, matched, boxes, plan).to(images)
    if plan.flips:
        images, _ = random_flips(images, targets, rng)
    if plan.cutmix_probability and batch.epoch <= plan.last_mixed_epoch:
        mix = cutmix(targets.shape[1], plan.cutmix_alpha, plan.cutmix_probability)
        images, targets = mix(images, targets, rng.child("cutmix"))
    return Crops(images, targets, boxes)


def box_targets(positions: Tensor, labels: Tensor, matched: MatchedMaps, boxes: Tensor, plan: CropPlan) -> Tensor:
    """Targets of boxes of the examples at these positions: probabilities (n, k), on the CPU."""
    count = len(matched.maps.class_names)
    targets = F.one_hot(labels.cpu().clamp(min=0), count).float()
    maps, having = matched.of(positions)
    if not len(having):
        return targets
    seen = boxes.cpu()[having] if plan.targets.startswith("localized") else whole_boxes(len(having))
    scores = pooled_scores(maps, seen, count, plan.missing)
    single = plan.targets.endswith("single")
    targets[having] = F.one_hot(scores.argmax(1), count).float() if single else scores.softmax(1)
    return targets


def on_label_maps(matched: MatchedMaps, plan: CropPlan) -> Objective:
    """Mean over classes of −t log p of the model's scores for random crops, with t from the label maps: (n,)."""

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        crops = cut_and_name(batch, matched, plan)
        return cross_entropy(model(crops.images), crops.targets)

    return objective


def right_crops(targets: Tensor, shown: Tensor) -> Tensor:
    """Whether the likeliest class of each target is among those shown: bool (n,).

    Args:
        targets: probabilities (n, k).
        shown: bool (n, k), classes that a crop really shows.

    >>> import torch
    >>> right_crops(torch.tensor([[0.7, 0.3]]), torch.tensor([[False, True]]))
    tensor([False])
    """
    return shown.gather(1, targets.argmax(1, keepdim=True)).squeeze(1)
