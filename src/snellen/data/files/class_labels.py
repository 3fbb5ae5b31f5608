"""Labels as they come (numbers, names, 0/1 per class), brought to table columns and class names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS

#: Most classes that numbers may imply: a label of 2,000,000,000 is an identifier, not a class.
MAX_CLASSES = 100_000


def numbered_class_names(count: int) -> tuple[str, ...]:
    """Names of classes that are only numbered.

    >>> numbered_class_names(3)
    ('0', '1', '2')
    """
    return tuple(str(number) for number in range(count))


def label_columns(
    labels: NDArray[np.generic], count: int, *, what: str, class_names: Sequence[str] | None = None
) -> tuple[dict[str, pa.Array], tuple[str, ...]]:
    """Turn an array of labels for ``count`` images into a column of the image table, and class names.

    Args:
        labels: integers (n,) or (n, 1): a class for each image, −1 where unknown, giving the column ``label``; or 0/1
            (n, k), giving the column ``labels``.
        count: how many images there are.
        what: how errors name the labels.
        class_names: names of the classes; None names them "0" … "k−1".

    Raises:
        InputError: not integers, a wrong number of them, or values that cannot be classes.
    """
    if labels.dtype.kind not in "iu" or labels.ndim not in (1, 2):
        raise InputError(
            f"{what} must be integers of shape (n,), (n, 1) or, for several labels per image, 0/1 of shape (n, k); "
            f"got {labels.dtype} {labels.shape}"
        )
    if len(labels) != count:
        raise InputError(f"{what}: {len(labels)} labels for {count} images")
    if labels.ndim == 2 and labels.shape[1] != 1:
        return _multilabel(labels, what, class_names)
    flat = labels.reshape(-1).astype(object if labels.dtype == np.uint64 else np.int64)
    low, high = (int(flat.min()), int(flat.max())) if count else (0, -1)
    if low < -1:
        raise InputError(f"{what}: {low} is no class; classes are numbered from 0, −1 means unknown")
    known = len(class_names) if class_names is not None else checked_class_count(high + 1, what)
    if high >= known:
        raise InputError(f"{what}: class {high} is out of range for {known} class names")
    column = pa.array([None if label < 0 else int(label) for label in flat.tolist()], COLUMNS["label"])
    return {"label": column}, tuple(class_names) if class_names is not None else numbered_class_names(known)


def checked_class_count(count: int, what: str) -> int:
    """The number of classes, if it is one that classes can have."""
    if count > MAX_CLASSES:
        raise InputError(
            f"{what}: class number {count - 1} implies {count} classes, more than {MAX_CLASSES}; are these identifiers?"
        )
    return count


def _multilabel(
    labels: NDArray[np.generic], what: str, class_names: Sequence[str] | None
) -> tuple[dict[str, pa.Array], tuple[str, ...]]:
    k = checked_class_count(labels.shape[1], what)
    odd = np.argwhere((labels != 0) & (labels != 1))
    if not k or len(odd):
        got = f"{labels[tuple(odd[0])]} for image {odd[0][0]}" if len(odd) else "no class at all"
        raise InputError(f"{what} of shape (n, k) are 0 or 1 for each class; got {got}")
    if class_names is not None and len(class_names) != k:
        raise InputError(f"{what}: {k} values for each image, but {len(class_names)} class names")
    column = pa.array(labels.astype(np.int8).tolist(), COLUMNS["labels"])
    return {"labels": column}, tuple(class_names) if class_names is not None else numbered_class_names(k)
