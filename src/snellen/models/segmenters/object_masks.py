"""Where the object is in an image as a model sees it: from the set's masks, or from a segmenter."""

from __future__ import annotations

from functools import lru_cache

import torch
from PIL import Image
from torch import Tensor

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.models.references import load_segmenter
from snellen.models.segmenters.protocol import Segmenter

#: Sides of a mask and of its image may differ in proportion by the rounding of one pixel.
ROUNDING = 1.0


class ObjectMasks:
    """The objects of the images of a set, prepared as the images are.

    Args:
        images: the set.
        preparation: of the images.
        segmenter: finds objects by itself, or, if it wants a point, the object in the middle; None: the masks are those
            of the set.
    """

    def __init__(self, images: ImageSet, preparation: Preprocessing, segmenter: Segmenter | None = None) -> None:
        self._images, self._preparation, self._segmenter = images, preparation, segmenter
        self._position = {key: index for index, key in enumerate(images.ids)}
        # A mask has no colours in between, and no object in what is padded.
        self._masks = preparation.model_copy(update={"interpolation": "nearest", "fill": (0, 0, 0)})

    def read(self, example_id: str) -> tuple[Tensor, Tensor] | None:
        """An image (3, h, w) in [0, 1] and its object, bool (h, w); None where it cannot be read or has no mask."""
        index = self._position[example_id]
        try:
            pixels = self._preparation.pixels(self._images.read(index))
            return to_unit(pixels), self.of(index, pixels)
        except (RejectedImageError, InputError):
            return None

    def of(self, index: int, pixels: Tensor) -> Tensor:
        """The object of one image, bool (h, w).

        Args:
            index: position in the set.
            pixels: the image as prepared, uint8 (3, h, w).

        Raises:
            RejectedImageError: it has no mask, or one that cannot be read or is of another shape than the image.
            InputError: the source of the set cannot read masks.
        """
        if self._segmenter is not None:
            return segmented(self._segmenter, to_unit(pixels)[None])[0]
        mask = self._images.read_mask(index)
        if mask is None:
            raise RejectedImageError("it has no mask (column mask)")
        as_it_is = self._preparation.resize == "none" and self._preparation.size is None
        size = (pixels.shape[2], pixels.shape[1]) if as_it_is else self._images.read(index).size
        return self._masks.pixels(_of_size(mask, size))[0] > 127


def segmented(segmenter: Segmenter, images: Tensor) -> Tensor:
    """What a segmenter takes for the object of each image, bool (n, h, w) on the CPU; its prompt is the middle.

    Args:
        segmenter: takes points, or no prompts.
        images: (n, 3, h, w) in [0, 1].
    """
    height, width = images.shape[2:]
    middle = torch.tensor([[[width // 2, height // 2]]] * len(images)) if "points" in segmenter.prompts else None
    return segmenter.segment(images, points=middle).regions.cpu()


def fitting_segmenter(reference: str, device: torch.device | str = "cpu") -> Segmenter:
    """The segmenter of a reference; loaded once.

    Raises:
        InputError: it cannot be loaded, or wants boxes.
        MissingExtraError: its library is not installed.
    """
    segmenter = _loaded(reference, str(device))
    if segmenter.prompts and "points" not in segmenter.prompts:
        raise InputError(
            f"{segmenter.name} takes {' or '.join(sorted(segmenter.prompts))}, and nobody draws them here; use one "
            f"that finds objects by itself (isnet:FILE.onnx) or takes points (bundled:scene-sam, hf:FOLDER, grabcut)"
        )
    return segmenter


def _of_size(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A mask in the size of its image: the nearest pixels of one of the same proportions."""
    if mask.size == size:
        return mask
    (width, height), (across, down) = size, mask.size
    if abs(across * height / width - down) > ROUNDING and abs(down * width / height - across) > ROUNDING:
        raise RejectedImageError(f"its mask is {across}×{down} pixels, and the image {width}×{height}")
    return mask.resize(size, Image.Resampling.NEAREST)


@lru_cache(maxsize=1)
def _loaded(reference: str, device: str) -> Segmenter:
    return load_segmenter(reference, device=device)
