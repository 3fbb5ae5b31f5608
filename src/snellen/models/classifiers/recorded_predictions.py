"""Predictions that were made elsewhere, as a classifier that knows its answers for the given images alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.deep_picture import pixels_hash
from snellen.core.errors import InputError, ModelError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.data.files.labels import numbered_class_names
from snellen.data.objects.item_source import item_set
from snellen.data.objects.tables import columns_of, is_table
from snellen.models.classifiers.assembly import read_class_names
from snellen.models.classifiers.output_kind import log_of_probabilities, output_kind

#: Most predictions that one pixel of three bytes can distinguish.
MOST = 2**24

#: Size that images of several sizes are shown in, pixels.
SHOWN = (224, 224)


def recorded_classifier(
    predictions: object, images: ImageSet, *, class_names: Sequence[str] | None = None
) -> Classifier:
    """A classifier that gives each image the scores that were recorded for it.

    It cannot score other images: checks that change an image cannot run.

    Args:
        predictions: for each image, in order, scores or probabilities (n, k) or a label (n,): an array or tensor, a
            table whose columns are the classes, or a file of such a table (.csv or .parquet).
        images: the set, or that of :func:`unseen_images`.
        class_names: in the order of the scores; None: names of the columns, else those of the images.

    Raises:
        InputError: predictions of another shape, or not as many as images.
    """
    values, named = _values(predictions)
    names = read_class_names(class_names) if class_names is not None else named or images.class_names
    if len(values) != len(images):
        raise InputError(f"{len(values)} predictions came for {len(images)} images of {images.name}")
    if values.dtype.kind in "UO":
        names = names or tuple(sorted({str(value) for value in values}))
        values = _numbered(values, names)
    held = torch.from_numpy(np.ascontiguousarray(values))
    kind = output_kind(held if held.ndim == 1 or not held.is_floating_point() else held.float(), name="predictions")
    if kind == "labels":
        flat = held.reshape(len(held)).long()
        names = names or numbered_class_names(int(flat.max()) + 1)
        if int(flat.min()) < 0 or int(flat.max()) >= len(names):
            raise InputError(
                f"predictions hold labels from {int(flat.min())} to {int(flat.max())}; {len(names)} classes"
            )
        scores = torch.nn.functional.one_hot(flat, len(names)).float()
    else:
        scores = log_of_probabilities(held) if kind == "probabilities" else held.float()
        names = names or numbered_class_names(scores.shape[1])
    if scores.shape[1] != len(names):
        raise InputError(
            f"predictions have {scores.shape[1]} scores for each image, but {len(names)} classes are named"
        )
    preparation = _preparation(images)
    rows, doubles = _rows(images, preparation)
    notes = ["predictions were recorded elsewhere: checks that run the model are left out"]
    other = sum(not torch.equal(scores[row], scores[first]) for row, first in doubles)
    if other:
        notes.append(f"{other} images have the pixels of an earlier one, whose different predictions stand for theirs")
    made = Classifier(
        _Recorded(rows, scores),
        class_names=names,
        preparation=preparation,
        output="log-probabilities" if kind == "probabilities" else kind,
        name="predictions",
        identity=hashlib.sha256(scores.numpy().tobytes()).hexdigest(),
        notes=notes,
    )
    made.recorded = True
    return made


def unseen_images(count: int, labels: Sequence[object] | None, *, class_names: Sequence[str] | None = None) -> ImageSet:
    """A set of images with known labels and nothing else; pictures of one pixel stand for them.

    Raises:
        InputError: more than :data:`MOST`, or labels that cannot be.
    """
    if count > MOST:
        raise InputError(f"{count} predictions are more than {MOST}")

    def picture(index: int) -> Image.Image:
        return Image.frombytes("RGB", (1, 1), index.to_bytes(3, "big"))

    columns: dict[str, Sequence[object]] = {} if labels is None else {"label": labels}
    return item_set(picture, columns, count, name="predictions", shown_as="the predictions", class_names=class_names)


def prediction_count(predictions: object) -> int:
    """How many there are."""
    return len(_values(predictions)[0])


def class_count(predictions: object, labels: Sequence[object]) -> int:
    """How many classes numbered predictions and labels are of."""
    values = _values(predictions)[0]
    if values.ndim == 2 and values.shape[1] > 1:
        return int(values.shape[1])
    highest = [int(value) for value in (*values.flat, *labels) if isinstance(value, int | np.integer)]
    return max(highest, default=0) + 1


class _Recorded:
    """Images by their bytes → their scores."""

    def __init__(self, rows: Mapping[bytes, int], scores: Tensor) -> None:
        self.rows, self.scores = rows, scores

    def __call__(self, images: Tensor) -> Tensor:
        rows = [self.rows.get(pixels_hash(one)) for one in images]
        known = [row for row in rows if row is not None]
        if len(known) < len(rows):
            raise ModelError("predictions are known of the given images alone; a check needed others")
        return self.scores[known].to(images.device)


def _rows(images: ImageSet, preparation: Preprocessing) -> tuple[dict[bytes, int], list[tuple[int, int]]]:
    """Number of each image by the bytes of its prepared pixels, and images with the pixels of an earlier one.

    Those that cannot be read are left out.
    """
    found: dict[bytes, int] = {}
    doubles: list[tuple[int, int]] = []
    for row in range(len(images)):
        try:
            key = pixels_hash(preparation.pixels(images.read(row)))
        except RejectedImageError:
            continue
        if key in found:
            doubles.append((row, found[key]))
        else:
            found[key] = row
    return found, doubles


def _preparation(images: ImageSet) -> Preprocessing:
    sizes: set[tuple[int, int]] = set()
    for row in range(len(images)):
        try:
            sizes.add(images.read(row).size)
        except RejectedImageError:
            continue
        if len(sizes) > 1:
            return Preprocessing(size=SHOWN, resize="exact", resize_to=SHOWN)
    width, height = next(iter(sizes), (1, 1))
    return Preprocessing(size=(height, width))


def _values(predictions: Any) -> tuple[NDArray[Any], tuple[str, ...] | None]:  # noqa: ANN401 - of any library
    """Predictions as an array, and the names of the classes where a table has a column for each."""
    if isinstance(predictions, str | Path):
        predictions = _read(Path(predictions))
    if is_table(predictions):
        columns = columns_of(predictions)
        if len(columns) == 1:
            return np.asarray(next(iter(columns.values()))), None
        try:
            scores = np.array([[float(value) for value in column] for column in columns.values()]).T  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise InputError(
                f"a table of predictions has one column of labels, or a column of numbers for each class; it has "
                f"{', '.join(columns)}"
            ) from error
        return scores, tuple(columns)
    values = predictions.detach().cpu().numpy() if isinstance(predictions, Tensor) else np.asarray(predictions)
    if values.ndim not in (1, 2) or not len(values):
        raise InputError(f"predictions are scores (n, k) or labels (n,); got {values.dtype} {values.shape}")
    return values, None


def _numbered(values: NDArray[Any], names: Sequence[str]) -> NDArray[np.int64]:
    index = {name: number for number, name in enumerate(names)}
    strange = next((str(value) for value in values.flat if str(value) not in index), None)
    if strange is not None:
        raise InputError(f"prediction {strange!r} is none of the classes: {', '.join(names[:10])}")
    return np.array([index[str(value)] for value in values.flat], dtype=np.int64)


def _read(path: Path) -> pa.Table:
    if path.suffix.lower() not in (".csv", ".parquet") or not path.is_file():
        raise InputError(f"{path} is no table of predictions; expected a file FILE.csv or FILE.parquet")
    try:
        return pa.csv.read_csv(path) if path.suffix.lower() == ".csv" else pa.parquet.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error
