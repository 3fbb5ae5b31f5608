"""What a search may start from: images and labels that every later line can rely on."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import VOID
from snellen.core.errors import InputError


def gives_maps(classifier: Classifier) -> bool:
    """Whether scores are maps, (n, k, h, w): of classes (task ``segment``), or of values (task ``score``)."""
    return classifier.task in ("segment", "score")


def checked_inputs(classifier: Classifier, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Refuse images and labels that cannot be searched; give them back without the caller's graph, classes as int64.

    Args:
        classifier: says the task and the number k of classes.
        images: float32 or float64 (n, 3, h, w); n may be 0. The classifier itself checks the range.
        labels: integers (n,) in [0, k), or 0/1 of any type (n, k) where the task is multilabel; where it is segment,
            integers (n, h, w) in [0, k), −1 for pixels that are not counted; where it is score, floats (n, k, h, w). On
            the same device.

    Raises:
        InputError: anything else, a bare model too; coarser floats too, whose rounding alone would carry candidates out
            of a ball.
    """
    if not isinstance(classifier, Classifier):
        raise InputError(
            f"an attack takes a snellen classifier, which knows its classes and its preprocessing; got a "
            f'{type(classifier).__name__}. Wrap it: snellen.load_classifier(model, ["cat", "dog"])'
        )
    name, classes = classifier.name, len(classifier.class_names)
    precise = isinstance(images, Tensor) and images.dtype in (torch.float32, torch.float64)
    if not precise or images.ndim != 4 or images.shape[1] != 3:
        raise InputError(
            f"an attack takes prepared images: float32 or float64 (n, 3, h, w) in [0, 1]; got {_shown(images)}"
        )
    multilabel = classifier.task == "multilabel"
    expected = f"0/1 labels (n, {classes})" if multilabel else f"integer labels (n,) from 0 to {classes - 1}"
    if classifier.task == "segment":
        expected = f"integer labels (n, h, w) from 0 to {classes - 1}, {VOID} for void pixels"
    if classifier.task == "score":
        expected = f"finite floating-point targets (n, {classes}, h, w)"
    if not isinstance(labels, Tensor):
        raise InputError(f"an attack on {name} takes {expected} as a tensor; got {_shown(labels)}")
    if labels.ndim and len(labels) != len(images):
        raise InputError(f"{len(images)} images came with {len(labels)} labels; an attack on {name} takes {expected}")
    if labels.device != images.device:
        raise InputError(
            f"images are on {images.device}, labels on {labels.device}; move the labels with labels.to(images.device)"
        )
    if gives_maps(classifier):
        return images.detach(), _checked_maps(labels, classifier, expected)
    fits = labels.shape == ((len(images), classes) if multilabel else (len(images),))
    integers = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if not fits or not (integers or multilabel):
        raise InputError(f"an attack on {name} takes {expected}; got {_shown(labels)}")
    allowed = (labels == 0) | (labels == 1) if multilabel else (labels >= 0) & (labels < classes)
    if not bool(allowed.all()):
        raise InputError(f"an attack on {name} takes {expected}; got the value {labels[~allowed][0].item()}")
    return images.detach(), labels.detach() if multilabel else labels.long()


def _checked_maps(labels: Tensor, classifier: Classifier, expected: str) -> Tensor:
    """Labels or targets of each pixel; classes as int64."""
    if classifier.task == "score":
        if labels.ndim != 4 or labels.shape[1] != len(classifier.class_names) or not labels.is_floating_point():
            raise InputError(f"an attack on {classifier.name} takes {expected}; got {_shown(labels)}")
        if not bool(labels.isfinite().all()):
            raise InputError(f"an attack on {classifier.name} takes {expected}; got values that are not finite")
        return labels.detach()
    if labels.ndim != 3 or labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise InputError(f"an attack on {classifier.name} takes {expected}; got {_shown(labels)}")
    # Bytes cannot hold −1: as signed numbers first.
    labels = labels.detach().long()
    allowed = (labels >= VOID) & (labels < len(classifier.class_names))
    if not bool(allowed.all()):
        raise InputError(
            f"an attack on {classifier.name} takes {expected}; got the value {labels[~allowed][0].item()}"
            + (
                ", which many data sets write for void: replace it by -1"
                if bool((labels[~allowed] == 255).any())
                else ""
            )
        )
    return labels


def _shown(value: object) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
