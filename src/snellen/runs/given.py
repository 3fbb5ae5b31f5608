"""What a call is handed, as a classifier and an image set: references, models of any library; folders, files, data."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, Stated
from snellen.core.progress import Progress
from snellen.data.factors import Columns, Factor, Groups
from snellen.data.files.manifest_table import holds_columns, read_header
from snellen.data.references import Array, Labels, load_images
from snellen.models.classifiers.foreign_calls import is_maite_model, maite_takes_bytes
from snellen.models.classifiers.own_models import own_model
from snellen.models.classifiers.references import load_classifier
from snellen.runs.maite_range import in_likelier_range

#: A classifier as a call takes it: see :func:`snellen.load_classifier`.
Model: TypeAlias = "Classifier | str | Path | nn.Module | Callable[[Tensor], Tensor] | object"

#: Images as a call takes them: see :func:`snellen.load_images`.
Images: TypeAlias = "ImageSet | str | os.PathLike[str] | Array | tuple[Array, Array] | object"

#: Images whose size is compared before a model is run that does not resize.
_SIZED = 16


def given_images(
    images: Images,
    labels: Labels | None = None,
    columns: Columns | None = None,
    class_names: Sequence[str] | None = None,
    groups: Groups | None = None,
) -> ImageSet:
    """An image set from a reference or from objects that hold images; arguments and errors as
    :func:`snellen.load_images`.
    """
    return load_images(images, labels, columns=columns, class_names=class_names, groups=groups)


def given_companion(images: Images, columns: Columns | None = None, progress: Progress | None = None) -> ImageSet:
    """Training or validation images, which go with others: columns hold for their table, too, as far as it has them.

    Args:
        images: see :func:`snellen.load_images`.
        columns: what the columns of the table of the others mean.
        progress: as of :func:`snellen.load_images`.
    """
    file = Path(os.fspath(images).rpartition("#")[0] or images) if isinstance(images, str | os.PathLike) else None
    if columns is None or file is None or file.suffix.lower() not in (".csv", ".parquet") or not file.is_file():
        return load_images(images, progress=progress)
    held = read_header(file)
    found: dict[str, str | list[str]] = {}
    for what, name in columns.items():
        several = [name] if isinstance(name, str) else list(name)
        # The label may be "labels of several columns"; a group may be a column with bands.
        there = [one for one in several if Factor.read(one, held).name in held or holds_columns(one, held)]
        if there:
            found[what] = there[0] if isinstance(name, str) else there
    return load_images(images, columns=found, progress=progress)


def given_classifier(
    model: Model, images: ImageSet | None = None, class_names: Sequence[str] | None = None
) -> Classifier:
    """A classifier from a reference or a model; the caller's own module stays as it is.

    What a model in memory does not say is taken from the images, and stands in its notes: the class names, in their
    order, and the size. That it wants no normalisation is assumed, and noted as well.

    Args:
        model: a classifier, which is returned unchanged; or what :func:`snellen.load_classifier` takes.
        images: that it is used on.
        class_names: in the order of the model's outputs.

    Raises:
        InputError: what :func:`snellen.load_classifier` refuses; no class names anywhere, or as many as the model has
            outputs they are not; or images of several sizes for a model that does not say which one it takes.
        ModelError: the model's outputs cannot be used.
    """
    if isinstance(model, Classifier | str | Path) or images is None:
        return load_classifier(model, class_names)
    stated = images.stated
    own = own_model(model, stated)
    borrowed = class_names is None and own.class_names is None and images.class_names is not None
    names = images.class_names if borrowed else class_names
    notes = ["the model names no classes: they are taken to be those of the images, in that order"] if borrowed else []
    preparation = None
    if own.preparation is not None and own.preparation.size is None and own.preparation.resize == "none":
        height, width = _one_size(own.name, images)
        preparation = Preprocessing(size=(height, width))
        notes.append(f"the model does not say which size it takes: that of the images, {height}x{width}, is assumed")
    whole_bytes = stated is not None and stated.whole_bytes
    if own.normalization is None and "normalization" not in own.assumed and not whole_bytes:
        notes.append("the model does not say how images are normalised: values in [0, 1] are given to it as they are")
    try:
        classifier = load_classifier(model, names, preparation=preparation, stated=stated)
    except (InputError, ModelError) as error:
        if not borrowed or "class names came" not in str(error):
            raise
        raise InputError(f"{error} (these names are those of the images; give class_names=[...])") from error
    if is_maite_model(model) and maite_takes_bytes(model) is None:
        turned = Stated("the images", whole_bytes=not whole_bytes)
        classifier = in_likelier_range(
            classifier, images, lambda: load_classifier(model, names, preparation=preparation, stated=turned)
        )
    classifier.notes = (*classifier.notes, *notes)
    return classifier


def _one_size(name: str, images: ImageSet) -> tuple[int, int]:
    """Height and width of the first images, which must have one."""
    sizes: dict[tuple[int, int], None] = {}
    for row in range(min(len(images), _SIZED)):
        try:
            width, height = images.read(row).size
        except RejectedImageError:
            continue
        sizes[height, width] = None
    if not sizes:
        raise InputError(f"none of the first {_SIZED} images of {images.name} can be read")
    if len(sizes) > 1:
        shown = ", ".join(f"{height}x{width}" for height, width in list(sizes)[:3])
        raise InputError(
            f"the images of {images.name} have several sizes ({shown}, …), and it is not known which one {name} "
            f"takes: give (model, transform) with the transform that it was evaluated with, or "
            f"snellen.load_classifier(model, class_names, preparation=snellen.Preprocessing(size=(224, 224)), "
            f"normalization=snellen.Normalization(mean, std)) with the model's own numbers"
        )
    return next(iter(sizes))
