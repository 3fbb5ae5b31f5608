"""Images with the class of each pixel, in memory: from masks of objects, or from masks that hold classes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from snellen.core.criterion import VOID
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preparation import Preparation
from snellen.core.progress import Progress, Silent
from snellen.models.segmenters.object_masks import ObjectMasks
from snellen.training.batches import ImageStore

#: What a mask holds: an object of the image's class, or the number of a class for each pixel.
Masks = Literal["object", "class"]

#: The value that files of classes have where no class is known.
VOID_BYTE = 255


def pixel_store(
    images: ImageSet,
    preparation: Preparation,
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
    objects = ObjectMasks(images, preparation)
    labels = images.labels.tolist() if masks == "object" else [0] * len(images)
    pixels, maps, ids, rejected = list[Tensor](), list[Tensor](), list[str](), dict[str, str]()
    listener.begin("prepare images", len(images))
    for index, key in enumerate(images.ids):
        listener.advance("prepare images", 1)
        try:
            prepared = preparation.pixels(images.read(index))
            if masks == "object":
                if labels[index] < 0:
                    raise RejectedImageError("no label")
                if labels[index] >= class_count - 1:
                    raise RejectedImageError(f"its class {_named(images, labels[index])} is none of {class_count - 1}")
                found = torch.where(objects.of(index, prepared), labels[index] + 1, 0)
            else:
                found = _classes(images, index, preparation, class_count)
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


def _named(images: ImageSet, label: int) -> str:
    names = images.class_names or ()
    return repr(names[label]) if label < len(names) else f"number {label}"


def _classes(images: ImageSet, index: int, preparation: Preparation, class_count: int) -> Tensor:
    """The map of a mask whose values are numbers of classes: int64 (h, w)."""
    mask, size = images.read_mask(index), images.read(index).size
    if mask is None:
        raise RejectedImageError("it has no mask (column mask)")
    if mask.size != size:
        raise RejectedImageError(f"its mask is {mask.size[0]}×{mask.size[1]} pixels, and the image {size[0]}×{size[1]}")
    # Of the mask as it is: what scaling and cropping lose is a mistake all the same.
    unknown = np.setdiff1d(np.array(mask), [*range(class_count), VOID_BYTE])
    if len(unknown):
        raise RejectedImageError(
            f"its mask holds the value {unknown[0]}, and there are {class_count} classes, 0 to {class_count - 1}, and "
            f"{VOID_BYTE} for none"
        )
    fill = (VOID_BYTE,) * 3
    nearest = preparation.model_copy(update={"interpolation": "nearest", "fill": fill})
    values = nearest.pixels(Image.merge("RGB", [mask] * 3))[0].long()
    return torch.where(values == VOID_BYTE, VOID, values)
