"""Where the object is in an image as the model sees it: from the set's masks, or from a segmenter."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from snellen.classifier import Classifier
from snellen.errors import InputError, RejectedImageError
from snellen.images import ImageSet
from snellen.models.segmenters.protocol import Segmenter
from snellen.models.segmenters.references import load_segmenter
from snellen.preparation import Preparation, to_unit


class ObjectMasks:
    """Prepared images with the masks of their objects, read one at a time.

    Args:
        images: the set.
        classifier: whose preparation they get.
        segmenter: reference of a segmenter that finds objects by itself, or, if it wants a point, the object in the
            middle; None: the masks are those of the set.
    """

    def __init__(self, images: ImageSet, classifier: Classifier, segmenter: str | None = None) -> None:
        self._images, self._classifier = images, classifier
        self._position = {key: index for index, key in enumerate(images.ids)}
        self._segmenter = None if segmenter is None else fitting_segmenter(segmenter, classifier)
        preparation = classifier.preparation
        # A mask has no colours in between, and no object in what is padded.
        self._masks = preparation.model_copy(update={"interpolation": "nearest", "fill": (0, 0, 0)})

    def read(self, example_id: str) -> tuple[Tensor, Tensor] | None:
        """An image (3, h, w) in [0, 1] and its object, bool (h, w); None where it cannot be read or has no mask."""
        index = self._position[example_id]
        try:
            image = to_unit(self._classifier.preparation.pixels(self._images.read(index)))
            if self._segmenter is not None:
                return image, _segmented(self._segmenter, image)
            mask = self._images.read_mask(index)
        except (RejectedImageError, InputError):
            return None
        return None if mask is None else (image, _prepared(mask, self._masks))


def fitting_segmenter(reference: str, classifier: Classifier) -> Segmenter:
    """The segmenter of a reference, on the classifier's device; loaded once.

    Raises:
        InputError: it cannot be loaded, or wants boxes.
        MissingExtraError: its library is not installed.
    """
    segmenter = _loaded(reference, str(classifier.device))
    if segmenter.prompts and "points" not in segmenter.prompts:
        raise InputError(
            f"{segmenter.name} takes {' or '.join(sorted(segmenter.prompts))}, and nobody draws them here; use one "
            f"that finds objects by itself (isnet:FILE.onnx) or takes points (bundled:scene-sam, hf:FOLDER, grabcut)"
        )
    return segmenter


def _prepared(mask: object, preparation: Preparation) -> Tensor:
    return preparation.pixels(mask)[0] > 127  # type: ignore[arg-type]


def _segmented(segmenter: Segmenter, image: Tensor) -> Tensor:
    height, width = image.shape[1:]
    middle = torch.tensor([[[width // 2, height // 2]]]) if "points" in segmenter.prompts else None
    return segmenter.segment(image[None], points=middle).regions[0].cpu()


@lru_cache(maxsize=1)
def _loaded(reference: str, device: str) -> Segmenter:
    return load_segmenter(reference, device=device)
