"""Images of a set, prepared for a classifier and of one size, all at once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.preparation import to_unit
from snellen.data.loading import prepared_batches

#: Images in one decoding batch.
_BATCH = 100


def read_prepared(
    images: ImageSet, classifier: Classifier
) -> tuple[Tensor, Tensor, tuple[str, ...], list[tuple[str, str]]]:
    """Prepared images of one size, their labels (−1 where unknown), their ids, and what could not be used."""
    labels = np.asarray(images.labels) if images.has_labels else np.full(len(images), -1)
    pixels, kept, ids, rejected = list[Tensor](), list[int](), list[str](), list[tuple[str, str]]()
    for batch in prepared_batches(images, classifier.preparation, _BATCH):
        rejected += batch.rejected
        for row, picture in enumerate(batch.pixels):
            if pixels and picture.shape != pixels[0].shape:
                rejected.append((batch.ids[row], "its prepared size differs from that of the first image"))
                continue
            pixels.append(picture)
            kept.append(batch.indices[row])
            ids.append(batch.ids[row])
    stacked = to_unit(torch.stack(pixels)) if pixels else torch.empty(0, 3, 1, 1)
    return stacked.to(classifier.device), torch.from_numpy(labels[kept].astype(np.int64)), tuple(ids), rejected
