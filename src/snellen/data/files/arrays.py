"""Images that are arrays in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from snellen.core.deep_picture import DeepPicture
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import COLUMNS, ImageSet, Split
from snellen.core.preprocessing import Preprocessing, Stated
from snellen.data.files.decoding import SIXTEEN_BIT, checked_range, to_sixteen_bits
from snellen.data.files.labels import label_columns
from snellen.data.files.pictures import Values


class ArraySource:
    """Images in one array.

    Args:
        images: uint8 or uint16, (n, h, w) or (n, h, w, 3).
        grey_range: values of black and white in uint16 images.
    """

    def __init__(self, images: NDArray[np.generic], *, grey_range: tuple[int, int] = SIXTEEN_BIT) -> None:
        self.images = images.view()
        self.images.flags.writeable = False
        self.grey_range = checked_range(grey_range)

    def read(self, index: int) -> Image.Image:
        """One image as RGB. Raises RejectedImageError when uint16 values leave the declared range."""
        pixels = self.images[index]
        if pixels.dtype != np.uint8:  # also brought to the machine's order
            return DeepPicture(to_sixteen_bits(pixels.astype(np.uint16), self.grey_range))
        return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")

    def content_hash(self, index: int) -> str:
        """Hash of type, shape and values of one image (sha256, hex)."""
        pixels = np.ascontiguousarray(self.images[index])
        digest = hashlib.sha256(f"{pixels.dtype.str} {pixels.shape} ".encode())
        digest.update(pixels.tobytes())
        return digest.hexdigest()


def load_arrays(
    images: NDArray[np.generic] | Tensor,
    labels: NDArray[np.generic] | Tensor | Sequence[int] | Sequence[str] | None = None,
    *,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
    grey_range: tuple[int, int] = SIXTEEN_BIT,
    values: Values | None = None,
) -> ImageSet:
    """Make an image set of arrays. Ids are positions: "000000", "000001" and so on.

    >>> load_arrays(np.zeros((2, 8, 8, 3), dtype=np.uint8), [1, 0])
    ImageSet('arrays', 2 images, 2 classes, split=None)

    Args:
        images: uint8, uint16 or floats (n, h, w), (n, h, w, c) or (n, c, h, w) with c of 1 or 3; NumPy or torch.
        labels: integers (n,) or (n, 1), −1 where unknown; 0/1 (n, k); or names (n,).
        class_names: names of the classes; None names them "0" … "k−1".
        name: shown in reports.
        grey_range: values of black and white in uint16 images.
        values: what floating-point pixels mean; they are rounded to bytes.

    Raises:
        InputError: another type or shape, one that can be read in two ways, or floats that leave the declared range.
    """
    held, notes = _numpy(images), list[str]()
    if values is not None and held.dtype.kind == "f":
        held, notes = _rounded(held, values)
    pixels = image_array(held, what="images", labelled=labels is not None)
    ids = [f"{position:06d}" for position in range(len(pixels))]
    given = None if labels is None else _numpy(labels)
    if given is not None and given.dtype.kind in "UO" and all(isinstance(label, str) for label in given.flat):
        given, class_names = _numbered(given, class_names)
    made = array_set(
        pixels, given, ids, name=name or "arrays", class_names=class_names, what="labels", grey_range=grey_range
    )
    first = pixels is not held and held.ndim == 4 and held.shape[1] in (1, 3)
    height, width = pixels.shape[1:3]
    stated = Stated("the tensors", Preprocessing(size=(height, width))) if first else None
    return replace(made, notes=tuple(notes), stated=stated)


def _rounded(images: NDArray[np.generic], values: Values) -> tuple[NDArray[np.uint8], list[str]]:
    """Floating-point images as bytes, and what to note where they were none before."""
    try:
        whole = np.stack([values.to_bytes(one) for one in images]) if len(images) else images.astype(np.uint8)
    except RejectedImageError as error:
        raise InputError(f"images: {error}") from error
    first = images[:16].astype(np.float64)
    back = whole[:16] / 255 * (values.high - values.low) + values.low
    exact = bool(np.abs(first - back).max(initial=0.0) <= 1e-5 * (values.high - values.low))
    return whole, [] if exact else ["floating-point pixels of the images are rounded to bytes"]


def _numbered(
    labels: NDArray[np.generic], class_names: Sequence[str] | None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Names of classes as numbers, and the names that these index: those given, or those that occur, sorted."""
    flat = [str(label) for label in labels.flat]
    names = tuple(class_names) if class_names is not None else tuple(sorted(set(flat)))
    index = {name: number for number, name in enumerate(names)}
    strange = next((label for label in flat if label not in index), None)
    if strange is not None:
        raise InputError(f"labels: {strange!r} is none of the class names: {', '.join(names[:10])}")
    return np.array([index[label] for label in flat], dtype=np.int64), names


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
    """Check an array of images and bring the channels last: uint8 or uint16, (n, h, w) or (n, h, w, 3).

    >>> image_array(np.zeros((2, 3, 8, 9), dtype=np.uint8), what="images").shape
    (2, 8, 9, 3)

    Raises:
        InputError: another type or shape, no pixels, or a shape that can be read in two ways.
    """
    came = f"{what}: got {images.dtype} {images.shape}"
    if images.dtype.kind == "f":
        raise InputError(
            f"{came}; pass bytes (uint8, 0 to 255), or say what floats mean: snellen.load_images(images, "
            f"value_range=(0, 1)), with the values of black and white. Rounding them here would change them silently"
        )
    sixteen_bit = images.dtype.kind == "u" and images.dtype.itemsize == 2
    if images.dtype != np.uint8 and not sixteen_bit:
        raise InputError(f"{came}; expected uint8 or uint16")
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
    last, first = images.shape[3] in (1, 3), images.shape[1] in (1, 3)
    if last and images.shape[1] == 3:  # images that are 1 pixel high are read as they are documented first
        raise InputError(f"{came}, in which either axis may be the channels; pass images that are not 3 pixels high")
    if not last and not first:
        raise InputError(f"{came}; {_EXPECTED}. Drop an alpha channel first")
    ordered = images if last else images.transpose(0, 2, 3, 1)
    return ordered[..., 0] if ordered.shape[3] == 1 else ordered


_EXPECTED = "expected (n, h, w), (n, h, w, c) or (n, c, h, w) with 1 or 3 channels c"


def _numpy(values: NDArray[np.generic] | Tensor | Sequence[int] | Sequence[str]) -> NDArray[np.generic]:
    if isinstance(values, Tensor):
        if values.dtype == torch.bfloat16:
            values = values.float()
        return values.detach().cpu().numpy()
    return np.asarray(values)
