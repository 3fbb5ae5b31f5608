"""Images with the class of each pixel, in memory: from masks of objects, or from masks that hold classes."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress, Silent
from snellen.models.segmenters.pixel_maps import Masks, PixelMaps
from snellen.training.batches import ImageStore


def pixel_store(
    images: ImageSet,
    preparation: Preprocessing,
    *,
    masks: Masks,
    class_count: int,
    progress: Progress | None = None,
) -> ImageStore:
    """Images as bytes and their maps of classes, int64 (n, h, w), −1 where no class is known.

    With masks of objects, class 0 is the background, and an object has the number of its image's class plus 1. Images
    without a usable mask are left out and named in ``rejected``.

    Args:
        images: none of them test images, with masks.
        preparation: gives all images one size.
        masks: what they hold.
        class_count: k; a mask with another class is refused by name.
        progress: callback that receives progress updates.

    Raises:
        InputError: test images, or no usable image.
    """
    images, listener = images.for_fitting(), progress or Silent()
    held = PixelMaps(images, preparation, masks=masks, class_count=class_count, object_classes=range(1, class_count))
    pixels, maps, ids, rejected = list[Tensor](), list[Tensor](), list[str](), dict[str, str]()
    listener.begin("prepare images", len(images))
    for index, key in enumerate(images.ids):
        listener.advance("prepare images", 1)
        try:
            prepared = preparation.pixels(images.read(index))
            found = held.of(index, prepared)
        except RejectedImageError as error:
            rejected[key] = str(error)
            continue
        pixels.append(prepared)
        maps.append(found)
        ids.append(key)
    listener.finish("prepare images")
    if not pixels:
        key, reason = next(iter(rejected.items()))
        raise InputError(f"none of the {len(images)} images of {images.name} can be used: {key} ({reason})")
    return ImageStore(
        images=torch.stack(pixels),
        targets=torch.stack(maps).long(),
        ids=tuple(ids),
        weights=torch.ones(len(ids)),
        split=images.split,
        rejected=rejected,
    )
