"""Views as a classifier gets them: rendered, prepared like any image, and known to be blank."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.preprocessing import to_image
from snellen.core.view_renderer import ViewRenderer

#: An image of any size, as bytes → float32 (3, h, w) in [0, 1], or bytes, as the classifier takes it.
Prepare = Callable[[Image.Image], Tensor]


class Views(NamedTuple):
    """Views of an object.

    Args:
        images: prepared, (n, 3, h, w).
        blank: bool (n,), the object is not seen.
    """

    images: Tensor
    blank: Tensor


#: Viewpoints float64 (n, 6) → views of one object.
Look = Callable[[Tensor], Views]


def look_of(renderer: ViewRenderer, object_id: str, *, prepare: Prepare, least_coverage: float) -> Look:
    """One object as a function of viewpoints; see :func:`views_of_object`."""

    def look(viewpoints: Tensor) -> Views:
        return views_of_object(renderer, object_id, viewpoints, prepare=prepare, least_coverage=least_coverage)

    return look


def views_of_object(
    renderer: ViewRenderer, object_id: str, viewpoints: Tensor, *, prepare: Prepare, least_coverage: float
) -> Views:
    """Draw an object, and prepare the view as other images are: as bytes, resized, cropped.

    Args:
        renderer: draws the object; nothing in it needs a gradient.
        object_id: the object.
        viewpoints: float64 (n, 6), n at least 1.
        prepare: the classifier's own preparation.
        least_coverage: share of the picture that the object must cover; less is blank, and so is a picture of one
            colour.

    Raises:
        InputError: the renderer gives other shapes, or values that are not finite.
    """
    with torch.no_grad():
        images, coverage = renderer.render(object_id, viewpoints)
    count = len(viewpoints)
    if images.ndim != 4 or images.shape[:2] != (count, 3) or coverage.shape != (count, *images.shape[2:]):
        raise InputError(
            f"a renderer gives images ({count}, 3, h, w) and coverage ({count}, h, w) of {count} viewpoints; got "
            f"{tuple(images.shape)} and {tuple(coverage.shape)}"
        )
    if not bool(torch.isfinite(images).all()):
        raise InputError(f"the renderer gave a picture of {object_id} with values that are not finite")
    flat = images.flatten(1)
    blank = (coverage.flatten(1).mean(1) < least_coverage) | (flat.amax(1) == flat.amin(1))
    return Views(torch.stack([prepare(to_image(image)) for image in images]), blank.cpu())
