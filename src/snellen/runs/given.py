"""What a call is handed, as a classifier and an image set: references, modules, callables; folders, files, arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.data.references import Array, load_images
from snellen.models.classifiers.references import load_classifier

#: A classifier as a call takes it: see :func:`snellen.load_classifier`.
Model: TypeAlias = "Classifier | str | Path | nn.Module | Callable[[Tensor], Tensor]"

#: Images as a call takes them: see :func:`snellen.load_images`.
Images: TypeAlias = "ImageSet | str | os.PathLike[str] | Array | tuple[Array, Array]"

#: Images whose size is compared before a model is run that does not resize.
_SIZED = 16


def given_images(images: Images, labels: Array | Sequence[int] | None = None) -> ImageSet:
    """An image set from whatever names or holds images.

    Args:
        images: a set, which is returned unchanged; a reference, path, array or tensor; or (images, labels).
        labels: of images that are an array or tensor.

    Raises:
        InputError: what :func:`snellen.load_images` refuses, or labels beside something that has its own.
    """
    if labels is None:
        return load_images(images)
    if not isinstance(images, np.ndarray | Tensor):
        raise InputError("labels are given beside images that are an array or tensor; folders and files tell their own")
    held: Array = labels if isinstance(labels, np.ndarray | Tensor) else np.asarray(labels)
    return load_images((images, held))


def given_classifier(
    model: Model, images: ImageSet | None = None, class_names: Sequence[str] | None = None
) -> Classifier:
    """A classifier from whatever is one; the caller's own module stays as it is.

    A module or callable that names no classes takes those of the images, in their order, and says so in its notes.

    Args:
        model: a classifier, which is returned unchanged; a reference or path; a torch module; a callable.
        images: that it is used on: their class names stand in where the model brings none, and their sizes are looked
            at where the model does not resize.
        class_names: in the order of the model's outputs.

    Raises:
        InputError: what :func:`snellen.load_classifier` refuses; no class names anywhere; as many as the model has
            outputs they are not; or images of several sizes for a model that takes one.
        ModelError: the model's outputs cannot be used.
    """
    own = not isinstance(model, Classifier | str | Path)
    borrowed = class_names is None and own and images is not None and images.class_names is not None
    try:
        classifier = load_classifier(model, images.class_names if borrowed and images is not None else class_names)
    except (InputError, ModelError) as error:
        if not borrowed or "class names came" not in str(error):
            raise
        raise InputError(f"{error} (the names are those of the images; give class_names=[...])") from error
    if borrowed:
        note = "the model names no classes: they are taken to be those of the images, in that order"
        classifier.notes = (*classifier.notes, note)
    if images is not None and classifier.preparation.size is None and not isinstance(model, Classifier):
        _check_one_size(classifier, images)
        _check_outputs(classifier, images, borrowed=borrowed)
    return classifier


def _check_outputs(classifier: Classifier, images: ImageSet, *, borrowed: bool) -> None:
    """Ask a model that was not probed, because its size is not known, about the first image that can be read."""
    for row in range(len(images)):
        try:
            prepared = classifier.prepare(images.read(row))
        except RejectedImageError:
            continue
        try:
            with torch.no_grad():
                classifier(prepared[None].to(classifier.device))
        except ModelError as error:
            if not borrowed:
                raise
            raise InputError(f"{error} (these names are those of the images; give class_names=[...])") from error
        return


def _check_one_size(classifier: Classifier, images: ImageSet) -> None:
    """Refuse images of several sizes for a model of which nobody knows which size it takes."""
    sizes: dict[tuple[int, int], None] = {}
    for row in range(min(len(images), _SIZED)):
        try:
            width, height = images.read(row).size
        except RejectedImageError:
            continue
        sizes[height, width] = None
    if len(sizes) > 1:
        shown = ", ".join(f"{height}x{width}" for height, width in list(sizes)[:3])
        raise InputError(
            f"the images of {images.name} have several sizes ({shown}, …), and nobody said which one {classifier.name} "
            f"takes: load it with load_classifier(model, preparation=Preparation(size=(height, width)), "
            f"normalization=Normalization(mean, std))"
        )
