"""Classifiers, image sets, shifts and figures as the objects that MAITE's tasks take, without a dependency on MAITE.

MAITE (MIT Lincoln Laboratory) fixes protocols, not values. What these objects hold, for image classification:

- an image is an array (3, h, w), RGB: bytes from 0 to 255, or floating-point numbers in [0, 1]; the type shows which;
- a target is a float array (k,): one for the label, zero elsewhere; predictions are probabilities that add up to one,
  or one-hot where a classifier gives labels only, or one probability for each class where it gives several labels;
- an id of a model or data set ends in a hash of its content, so that a cache cannot answer for another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Shift, build
from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.data.files.labels import align_labels
from snellen.metrics.clustered import clustered_share
from snellen.metrics.units import unit_codes
from snellen.verbs.on_tensors import MethodGiven

#: What the metadata of a model and of a data set say about values.
VALUE_RANGE = "bytes 0 to 255, or floats 0 to 1"

#: Digits of a hash in an id.
_DIGITS = 16

#: Columns of an image set that the metadata of an image hold, where they are known.
_KNOWN = ("unit_id", "group", "split", "caption", "bag_id")

Batch = tuple[Sequence[Any], Sequence[Any], Sequence[Mapping[str, Any]]]


class MaiteClassifier:
    """A classifier as a model of MAITE.

    Attributes:
        metadata: ``id``, ``index2label``, and ``value_range``, in words.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self.metadata: dict[str, Any] = {
            "id": _identified(classifier.name, classifier.fingerprint()),
            "index2label": dict(enumerate(classifier.class_names)),
            "value_range": VALUE_RANGE,
        }

    def __call__(self, batch: Sequence[Any], /) -> list[NDArray[np.float64]]:
        """Images (c, h, w), of any sizes → probabilities (k,) of each.

        The classifier's own resize, crop and normalisation are done here. Floats are rounded to bytes, unless they
        have the size that the classifier takes.
        """
        if not len(batch):
            return []
        images = torch.stack([self._prepared(one) for one in batch]).to(self._classifier.device)
        with torch.no_grad():
            scores = self._classifier(images)
        if self._classifier.output == "labels":
            return list(scores.cpu().double().numpy())
        return list(self._classifier.probabilities(scores).cpu().numpy())

    def _prepared(self, image: Any) -> torch.Tensor:  # noqa: ANN401 - an array of any library
        pixels = _colour(image)
        if pixels.dtype.kind == "f" and pixels.shape[1:] == self._classifier.preparation.size:
            return torch.from_numpy(np.array(pixels, dtype=np.float32))
        return self._classifier.prepare(Image.fromarray(np.ascontiguousarray(_bytes(pixels).transpose(1, 2, 0))))


class MaiteImages:
    """An image set as a data set of MAITE, also field by field.

    Attributes:
        metadata: ``id``, ``index2label`` and ``value_range``, in words.
    """

    def __init__(self, images: ImageSet) -> None:
        if images.class_names is None or not images.has_labels or len(images.known_labels) < len(images):
            raise InputError(f"{images.name}: MAITE's data sets have one label for each image; select those with one")
        self._images, self._labels = images, images.labels
        self._columns = {name: images.column(name) for name in _KNOWN if name in images.table.column_names}
        self.metadata: dict[str, Any] = {
            "id": _identified(images.name, images.fingerprint()),
            "index2label": dict(enumerate(images.class_names)),
            "value_range": "bytes 0 to 255",
        }

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, ind: int, /) -> tuple[NDArray[np.uint8], NDArray[np.float32], dict[str, Any]]:
        """Bytes (3, h, w) of the image as it is, one-hot target (k,), and what is known of it.

        Raises:
            IndexError: no such image.
            RejectedImageError: the image cannot be read.
        """
        return self.get_input(ind), self.get_target(ind), self.get_metadata(ind)

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32], dict[str, Any]]]:
        return (self[index] for index in range(len(self)))

    def get_input(self, ind: int, /) -> NDArray[np.uint8]:
        """Bytes (3, h, w)."""
        return np.ascontiguousarray(np.asarray(self._images.read(self._row(ind)).convert("RGB")).transpose(2, 0, 1))

    def get_target(self, ind: int, /) -> NDArray[np.float32]:
        """One for the label, zero elsewhere: (k,)."""
        return np.eye(len(self.metadata["index2label"]), dtype=np.float32)[int(self._labels[self._row(ind)])]

    def get_metadata(self, ind: int, /) -> dict[str, Any]:
        """``id`` and ``sha256`` of the image; unit, group, split, caption and bag where they are known."""
        row = self._row(ind)
        known = {name: values[row] for name, values in self._columns.items() if values[row] is not None}
        return {"id": self._images.ids[row], "sha256": self._images.content_hash(row), **known}

    def _row(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return int(index) % len(self)


class MaiteShift:
    """A shift at one severity as an augmentation of MAITE. What is random belongs to the id of an image.

    Attributes:
        metadata: ``id``, with method, parameters and severity.
    """

    def __init__(self, shift: Shift, severity: float, seed: int, record: Mapping[str, Any]) -> None:
        self._shift, self._severity, self._seed = shift, severity, seed
        words = ", ".join(f"{key}={value}" for key, value in record.items() if key != "method")
        self.metadata: dict[str, Any] = {"id": f"{record['method']}({words}) at severity {severity:g}, seed {seed}"}

    def __call__(self, batch: Batch, /) -> Batch:
        """Images, targets and metadata → the same with other images, of the type that they came in."""
        images, targets, metadata = batch
        changed = [self._changed(one, str(row["id"])) for one, row in zip(images, metadata, strict=True)]
        return changed, targets, metadata

    def _changed(self, image: Any, example_id: str) -> NDArray[Any]:  # noqa: ANN401
        pixels = _colour(image)
        floats = torch.from_numpy(pixels.astype(np.float32)) if pixels.dtype.kind == "f" else None
        unit = floats if floats is not None else to_unit(torch.from_numpy(np.array(pixels)))
        rng = Randomness(self._seed).for_examples([example_id])
        shifted = self._shift.shift(unit[None], self._severity, rng=rng)[0].detach().cpu().numpy()
        return shifted.astype(pixels.dtype) if floats is not None else _bytes(shifted)


class MaiteAccuracy:
    """Accuracy with its 95 % interval as a metric of MAITE; images of one ``unit_id`` count as one unit.

    Attributes:
        metadata: ``id``.
    """

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {"id": "snellen-accuracy"}
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._right: list[bool] = []
        self._units: list[str] = []

    def update(
        self,
        pred_batch: Sequence[Any],
        target_batch: Sequence[Any],
        metadata_batch: Sequence[Mapping[str, Any]],
        /,
    ) -> None:
        """Add predictions (k,) with their targets (k,); one that is not finite is wrong."""
        for scores, target, metadata in zip(pred_batch, target_batch, metadata_batch, strict=True):
            values = np.asarray(scores)
            # The largest of values with NaN among them is the first NaN.
            decided = bool(np.isfinite(values).all())
            self._right.append(decided and bool(values.argmax() == np.asarray(target).argmax()))
            self._units.append(str(metadata.get("unit_id", f"{len(self._units)}/{metadata['id']}")))

    def compute(self) -> dict[str, Any]:
        """``accuracy``, ``accuracy_low``, ``accuracy_high`` and ``images``.

        Raises:
            InputError: nothing was added.
        """
        if not self._right:
            raise InputError("no predictions were given to the metric")
        right = np.array(self._right, dtype=bool)
        alone = len(set(self._units)) == len(self._units)
        low, high = clustered_share(right, None if alone else unit_codes(self._units))
        return {"accuracy": float(right.mean()), "accuracy_low": low, "accuracy_high": high, "images": len(right)}


def as_maite_model(classifier: Classifier) -> MaiteClassifier:
    """A classifier as a model of MAITE.

    >>> import snellen
    >>> model = as_maite_model(snellen.load_classifier("bundled:fashion-cnn"))
    >>> model([np.zeros((3, 40, 30), dtype=np.uint8)])[0].shape
    (10,)

    Args:
        classifier: of :func:`snellen.load_classifier`; it is used as it is.
    """
    return MaiteClassifier(classifier)


def as_maite_dataset(images: ImageSet, class_names: Sequence[str] | None = None) -> MaiteImages:
    """An image set as a data set of MAITE.

    Args:
        images: with a label for each.
        class_names: of the model that it is used with: labels are matched to them by name. None: those of the images.

    Raises:
        InputError: an image without a label, several labels an image, or a class that the model does not have.
    """
    return MaiteImages(images if class_names is None else align_labels(images, class_names))


def as_maite_augmentation(shift: MethodGiven, severity: float, *, seed: int = 0) -> MaiteShift:
    """A shift at one severity as an augmentation of MAITE.

    Images are changed as they are, before a model resizes them; an audit changes them after.

    Args:
        shift: of the area ``shifts``: an object, or ``{"method": "corruption", "kind": "fog"}``.
        severity: in [0, 5]; 0 changes nothing.
        seed: of everything random.

    Raises:
        InputError: no shift of whole images, or another severity.
    """
    built = build("shifts", shift)
    if not isinstance(built, Shift):
        raise InputError(f"{type(built).__name__} needs more than images; give a shift of whole images, as corruption")
    if not 0 <= severity <= 5:
        raise InputError(f"severity is from 0 to 5, got {severity:g}")
    built.load()
    return MaiteShift(built, severity, seed, built.record())


def as_maite_metric() -> MaiteAccuracy:
    """Accuracy with its interval as a metric of MAITE."""
    return MaiteAccuracy()


def _identified(name: str, content: str | None) -> str:
    """A name and the hash of the content; the name alone where there is no hash."""
    return name if content is None else f"{name} {content[:_DIGITS]}"


def _colour(image: Any) -> NDArray[Any]:  # noqa: ANN401
    """An image as an array (3, h, w) of bytes or floats.

    Raises:
        InputError: another shape, type or range.
    """
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or not (pixels.dtype == np.uint8 or pixels.dtype.kind == "f"):
        raise InputError(f"images are (3, h, w) or (1, h, w), {VALUE_RANGE}; got {pixels.dtype} {tuple(pixels.shape)}")
    # Written so that NaN fails too.
    if pixels.dtype.kind == "f" and not (pixels.min() >= 0 and pixels.max() <= 1):
        raise InputError(f"floating-point images are in [0, 1]; got {pixels.min():.4g} to {pixels.max():.4g}")
    return np.broadcast_to(pixels, (3, *pixels.shape[1:]))


def _bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    return (255 * pixels.clip(0, 1)).round().astype(np.uint8) if pixels.dtype.kind == "f" else pixels
