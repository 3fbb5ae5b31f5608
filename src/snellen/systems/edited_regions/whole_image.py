"""The rival for whole images: a network that sees the same pixels, and learns "edited or not" alone.

arXiv 2511.19111 compares a segmenter, used as a classifier of whole images, with classifiers of forgeries. A comparison
says something only where both saw the same images in as many steps, so this one has the first half of the small
segmenter and its plan.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import derive_seed
from snellen.systems.edited_regions.fitting import LabelledImages
from snellen.systems.edited_regions.networks import DEVIATION, MEAN, SmallUNet, residual
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch, ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: What is left of the channels of a picture.
Pooling = Literal["both", "mean"]

POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


class WholeImageNetwork(nn.Module):
    """Images (n, 3, h, w) in [0, 1] → logits of "edited", (n,).

    Args:
        width: channels of the first block, as of the segmenter.
        pooling: what is left of each channel of a picture: its mean and largest value, or its mean alone.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, *, width: int = 16, pooling: Pooling = "both") -> None:
        super().__init__()
        self.pooling = pooling
        body = SmallUNet(1, width=width)
        self.first, self.at_full, self.at_half, self.at_quarter = (
            body.first,
            body.at_full,
            body.at_half,
            body.at_quarter,
        )
        self.last = nn.Linear((6 if pooling == "both" else 3) * width, 1)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the pooled channels."""
        shown = (images - self.mean) / self.deviation
        full = self.at_full(self.first(torch.cat([shown, residual(shown)], 1)))
        half = self.at_half(functional.avg_pool2d(full, 2, ceil_mode=True))
        quarter = self.at_quarter(functional.avg_pool2d(half, 2, ceil_mode=True))
        pooled = [quarter.mean((2, 3)), *([quarter.amax((2, 3))] if self.pooling == "both" else [])]
        logits: Tensor = self.last(torch.cat(pooled, 1))[:, 0]
        return logits


def fit_whole_image(
    examples: LabelledImages,
    *,
    plan: TrainingPlan,
    width: int = 16,
    pooling: Pooling = "both",
    progress: Progress | None = None,
) -> WholeImageNetwork:
    """Train the rival on the images of a segmenter, by the same plan: as many steps of as many images.

    Args:
        examples: as :func:`~snellen.systems.edited_regions.fitting.fit_segmenter` takes them; an image with an edited
            pixel is an edited one. Images are not cropped: a part of an edited image may hold no edit.
        plan: all numbers of the training.
        width: channels of the first block.
        pooling: see :class:`WholeImageNetwork`.
        progress: callback that receives progress updates.
    """
    with seeded(derive_seed(plan.seed, "whole image"), torch.device("cpu")):
        network = WholeImageNetwork(width=width, pooling=pooling)
    store = ImageStore.of_tensors(examples.images, examples.edited.long(), ids=examples.ids)

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        rng = batch.rng.generator(f"flip {batch.epoch} {batch.rng.ids and batch.rng.ids[0]}")
        images = batch.images.flip(-1) if bool(torch.rand((), generator=rng) < 0.5) else batch.images
        losses: Tensor = functional.binary_cross_entropy_with_logits(
            model(images), batch.targets.float(), reduction="none"
        )
        return losses

    trained = train(network, store, plan=plan, objective=objective, progress=progress)
    network.load_state_dict(dict(trained.weights))
    return network.eval().requires_grad_(False)


@torch.no_grad()
def edited_scores(network: WholeImageNetwork, images: Tensor, *, batch_size: int = 64) -> Tensor:
    """Probabilities of "edited" of byte images (n, 3, h, w): float32 (n,)."""
    return torch.cat([network(to_unit(part)).sigmoid() for part in images.split(batch_size)])
