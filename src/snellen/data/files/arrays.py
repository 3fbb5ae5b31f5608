"""Images that are arrays in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet, Split
from snellen.data.files.class_labels import label_columns
from snellen.data.files.grey_range import SIXTEEN_BIT, checked_range, grey_to_bytes


class ArraySource:
    """Images in one array.

    Args:
        images: uint8 (n, h, w) or (n, h, w, 3), or uint16 (n, h, w).
        grey_range: values of black and white in uint16 images.
    """

    def __init__(self, images: NDArray[np.generic], *, grey_range: tuple[int, int] = SIXTEEN_BIT) -> None:
        self.images = images.view()
        self.images.flags.writeable = False
        self.grey_range = checked_range(grey_range)

    def read(self, index: int) -> Image.Image:
        """One image as RGB. Raises RejectedImageError when uint16 values leave the declared range."""
        pixels = self.images[index]
        if pixels.dtype != np.uint8:
            pixels = grey_to_bytes(pixels.astype(np.uint16), self.grey_range)  # also brings it to the machine's order
        return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")

    def content_hash(self, index: int) -> str:
        """Hash of type, shape and values of one image (sha256, hex)."""
        pixels = np.ascontiguousarray(self.images[index])
        digest = hashlib.sha256(f"{pixels.dtype.str} {pixels.shape} ".encode())
        digest.update(pixels.tobytes())
        return digest.hexdigest()


def load_arrays(
    images: NDArray[np.generic] | Tensor,
    labels: NDArray[np.generic] | Tensor | Sequence[int] | None = None,
    *,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
    grey_range: tuple[int, int] = SIXTEEN_BIT,
) -> ImageSet:
    """Make an image set of arrays. Ids are positions: "000000", "000001" and so on.

    >>> load_arrays(np.zeros((2, 8, 8, 3), dtype=np.uint8), [1, 0])
    ImageSet('arrays', 2 images, 2 classes, split=None)

    Args:
        images: uint8 (n, h, w), (n, h, w, 3) or (n, 3, h, w), or uint16 grey (n, h, w); NumPy or torch.
        labels: integers (n,) or (n, 1), −1 where unknown; or 0/1 (n, k).
        class_names: names of the classes; None names them "0" … "k−1".
        name: shown in reports.
        grey_range: values of black and white in uint16 images.

    Raises:
        InputError: another type or shape, or one that can be read in two ways.
    """
    pixels = image_array(_numpy(images), what="images", labelled=labels is not None)
    ids = [f"{position:06d}" for position in range(len(pixels))]
    given = None if labels is None else _numpy(labels)
    return array_set(
        pixels, given, ids, name=name or "arrays", class_names=class_names, what="labels", grey_range=grey_range
    )


def array_set(
    pixels: NDArray[np.generic],
    labels: NDArray[np.generic] | None,
    ids: Sequence[str],
    *,
    name: str,
    what: str,
    class_names: Sequence[str] | None = None,
    split: Split | None = None,
    grey_range: tuple[int, int] = SIXTEEN_BIT,
) -> ImageSet:
    """Build the set from checked pixels (see :func:`image_array`) and labels as they came."""
    columns = {"id": pa.array(ids, COLUMNS["id"])}
    names: tuple[str, ...] | None = None
    if labels is not None:
        found, names = label_columns(labels, len(pixels), what=what, class_names=class_names)
        columns |= found
    if split is not None:
        columns["split"] = pa.array([split] * len(pixels), COLUMNS["split"])
    return ImageSet(ArraySource(pixels, grey_range=grey_range), pa.table(columns), names, name, split=split)


def image_array(images: NDArray[np.generic], *, what: str, labelled: bool = True) -> NDArray[np.generic]:
    """Check an array of images and bring the channels last: uint8 (n, h, w) or (n, h, w, 3), or uint16 (n, h, w).

    >>> image_array(np.zeros((2, 3, 8, 9), dtype=np.uint8), what="images").shape
    (2, 8, 9, 3)

    Raises:
        InputError: another type or shape, no pixels, or a shape that can be read in two ways.
    """
    came = f"{what}: got {images.dtype} {images.shape}"
    if images.dtype.kind == "f":
        raise InputError(
            f"{came}; pass bytes (uint8, 0 to 255). Rounding floating-point images here would change them silently: "
            f"for values in [0, 1], pass (images * 255).round().astype('uint8')"
        )
    sixteen_bit = images.dtype.kind == "u" and images.dtype.itemsize == 2
    if images.dtype != np.uint8 and not sixteen_bit:
        raise InputError(f"{came}; expected uint8, or uint16 for grey images")
    if images.ndim not in (3, 4):
        raise InputError(f"{came}; {_EXPECTED}")
    if 0 in images.shape:
        raise InputError(f"{came}, which holds no pixels; {_EXPECTED}")
    if images.ndim == 3:
        if not labelled and 3 in (images.shape[0], images.shape[2]):  # with n labels, they are n images
            raise InputError(
                f"{came}, which may be grey images or a single colour image; pass a single colour image as images[None]"
                f", and such grey images repeated to three channels"
            )
        return images
    if sixteen_bit:
        raise InputError(f"{came}; 16 bits are read for grey images (n, h, w) only")
    last, first = images.shape[3] == 3, images.shape[1] == 3
    if last and first:
        raise InputError(f"{came}, in which either axis may be the channels; pass images that are not 3 pixels high")
    if not last and not first:
        raise InputError(f"{came}; {_EXPECTED}. Drop a single channel or an alpha channel first")
    return images if last else images.transpose(0, 2, 3, 1)


_EXPECTED = "expected (n, h, w), (n, h, w, 3) or (n, 3, h, w)"


def _numpy(values: NDArray[np.generic] | Tensor | Sequence[int]) -> NDArray[np.generic]:
    if isinstance(values, Tensor):
        if values.dtype == torch.bfloat16:
            values = values.float()
        return values.detach().cpu().numpy()
    return np.asarray(values)
