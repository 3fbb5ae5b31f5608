"""Images with several labels each: their labels as a table, and how well a model tells them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.metrics.auroc import multilabel_auroc
from snellen.training.batches import Examples
from snellen.training.evaluation import score_examples
from snellen.training.objectives import label_cross_entropy


def label_table(images: ImageSet) -> Tensor:
    """The labels of a set with several labels per image: float32 (n, l), 0 and 1.

    Raises:
        InputError: an image without labels.
    """
    rows = images.column("labels")
    unknown = [example_id for example_id, row in zip(images.ids, rows, strict=True) if row is None]
    if unknown:
        raise InputError(f"{images.name}: {len(unknown)} images have no labels, the first is {unknown[0]!r}")
    return torch.tensor(rows, dtype=torch.float32)


def label_figures(model: nn.Module, examples: Examples) -> Mapping[str, float]:
    """Share of right label decisions at probability ½, mean area under the ROC curve, and loss (for the tune split).

    The area is 0.5 when no label has both values.
    """
    scores, targets = score_examples(model, examples)
    area = multilabel_auroc(targets.numpy().astype(int), scores.numpy()).value
    return {
        "accuracy": float(((scores > 0) == (targets > 0.5)).double().mean()),
        "auroc": 0.5 if math.isnan(area) else area,
        "loss": float(label_cross_entropy(scores, targets).double().mean()),
    }
