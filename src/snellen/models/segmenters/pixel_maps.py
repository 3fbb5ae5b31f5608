"""The class of each pixel of an image, from a mask of its object or from a mask that holds numbers of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from snellen.core.criterion import VOID
from snellen.core.errors import RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.models.segmenters.object_masks import ObjectMasks

#: What a mask holds: an object of the image's class, or the number of a class for each pixel.
Masks = Literal["object", "class"]

#: The value that files of classes have where no class is known.
VOID_BYTE = 255


class PixelMaps:
    """Maps of classes of the images of a set, prepared as the images are.

    Args:
        images: with masks.
        preparation: of the images.
        masks: what they hold.
        class_count: k; a mask with another class is refused by name.
        object_classes: class of the pixels of an object, by the label of its image.
        ground: class of the other pixels.
    """

    def __init__(
        self,
        images: ImageSet,
        preparation: Preprocessing,
        *,
        masks: Masks,
        class_count: int,
        object_classes: Sequence[int] = (),
        ground: int = 0,
    ) -> None:
        self._images, self._preparation, self._masks = images, preparation, masks
        self._count, self._object_classes, self._ground = class_count, object_classes, ground
        self._objects = ObjectMasks(images, preparation)
        self._labels = images.labels.tolist() if masks == "object" else [0] * len(images)

    def of(self, index: int, pixels: Tensor) -> Tensor:
        """The map of one image: int64 (h, w), −1 where no class is known.

        Args:
            index: position in the set.
            pixels: the image as prepared, uint8 (3, h, w).

        Raises:
            RejectedImageError: it has no label, class or mask that can be used.
        """
        if self._masks == "class":
            return self._classes(index)
        label = self._labels[index]
        if label < 0:
            raise RejectedImageError("no label")
        if label >= len(self._object_classes):
            raise RejectedImageError(f"its class {self._named(label)} is none of {len(self._object_classes)}")
        if self._object_classes[label] == self._ground:
            raise RejectedImageError(f"its class {self._named(label)} is that of the background")
        return torch.where(self._objects.of(index, pixels), self._object_classes[label], self._ground)

    def _classes(self, index: int) -> Tensor:
        """The map of a mask whose values are numbers of classes."""
        mask, size, count = self._images.read_mask(index), self._images.read(index).size, self._count
        if mask is None:
            raise RejectedImageError("it has no mask (column mask)")
        if mask.size != size:
            raise RejectedImageError(
                f"its mask is {mask.size[0]}×{mask.size[1]} pixels, and the image {size[0]}×{size[1]}"
            )
        # Of the mask as it is: what scaling and cropping lose is a mistake all the same.
        unknown = np.setdiff1d(np.array(mask), [*range(count), VOID_BYTE])
        if len(unknown):
            raise RejectedImageError(
                f"its mask holds the value {unknown[0]}, and there are {count} classes, 0 to {count - 1}, and "
                f"{VOID_BYTE} for none (colours and palettes are read as grey: save the numbers as a grey file)"
            )
        fill = (VOID_BYTE,) * 3
        nearest = self._preparation.model_copy(update={"interpolation": "nearest", "fill": fill})
        values = nearest.pixels(Image.merge("RGB", [mask] * 3))[0].long()
        return torch.where(values == VOID_BYTE, VOID, values)

    def _named(self, label: int) -> str:
        names = self._images.class_names or ()
        return repr(names[label]) if label < len(names) else f"number {label}"
