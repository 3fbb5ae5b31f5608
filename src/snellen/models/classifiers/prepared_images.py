"""Images of a set, prepared for a classifier and of one size, and whether a batch of images is what a model takes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.deep_picture import stack_pixels
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.data.loading import prepared_batches


def check_prepared(images: Tensor, size: tuple[int, int] | None, *, name: str) -> None:
    """See that a batch holds prepared images: float (n, 3, h, w) in [0, 1], of the model's own size where it has one.

    Raises:
        InputError: another shape, type, size or range, or no images.
    """
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        is_tensor = isinstance(images, Tensor)
        came = f"{images.dtype} {tuple(images.shape)}" if is_tensor else f"a {type(images).__name__}, not a tensor"
        raise InputError(
            f"{name} takes prepared images: float (n, 3, h, w) in [0, 1]; got {came}. Use its preparation on one image "
            f"at a time, and torch.stack"
        )
    if not len(images):
        raise InputError(f"{name} got an empty batch")
    if size is not None and tuple(images.shape[-2:]) != tuple(size):
        height, width = images.shape[-2:]
        raise InputError(f"{name} takes images of {size[0]}x{size[1]} pixels (height x width), got {height}x{width}")
    low, high = (float(value) for value in torch.aminmax(images.detach()))
    # Written so that NaN fails too.
    if not (low >= -1e-6 and high <= 1 + 1e-6):
        raise InputError(
            f"{name} takes images in [0, 1], got values from {low:.4g} to {high:.4g}. Normalisation happens inside: "
            f"pass prepared images, not normalised ones"
        )


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
    stacked = to_unit(stack_pixels(pixels)) if pixels else torch.empty(0, 3, 1, 1)
    return stacked.to(classifier.device), torch.from_numpy(labels[kept].astype(np.int64)), tuple(ids), rejected
