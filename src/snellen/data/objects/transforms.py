"""What the transform of a data set does to its images: the range of values, and the normalisation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from snellen.core.preprocessing import Normalization
from snellen.data.files.pictures import Values

#: Steps after which values lie in [0, 1], by the name of their class in torchvision or timm.
_TO_UNIT = frozenset({"ToTensor", "MaybeToTensor", "ConvertImageDtype"})

#: Steps that leave the range of values as it is.
_NEUTRAL = frozenset({"Resize", "CenterCrop", "Grayscale", "ToImage", "PILToTensor", "MaybePILToTensor", "Pad"})


def steps_of(transform: object) -> Iterator[object]:
    """The steps of a transform, in order, at any depth of nesting."""
    inner = getattr(transform, "transforms", None)
    if inner is None and type(transform).__name__ == "Sequential" and isinstance(transform, Iterable):
        inner = list(transform)
    if isinstance(inner, list | tuple):
        for step in inner:
            yield from steps_of(step)
    elif transform is not None:
        yield transform


def values_of(transform: object) -> Values | None:
    """What the tensors mean that a transform gives; None where its steps do not show it.

    Presets of torchvision's weights, and compositions that end in ``ToTensor`` or in ``Normalize``, can be read.
    """
    found: Values | None = None
    for step in steps_of(transform):
        name = type(step).__name__
        if name == "ImageClassification":
            found = Values(mean=_numbers(step, "mean"), std=_numbers(step, "std"))
        elif name in _TO_UNIT or (name == "ToDtype" and getattr(step, "scale", False)):
            found = Values()
        elif name == "Normalize" and found == Values():
            found = Values(mean=_numbers(step, "mean"), std=_numbers(step, "std"))
        elif name not in _NEUTRAL:
            found = None
    return found


def normalization_of(values: Values) -> Normalization | None:
    """The normalisation that a model gets its images in, where one was applied."""
    return Normalization(values.mean, values.std) if values.std else None


def _numbers(step: object, name: str) -> tuple[float, ...]:
    return tuple(float(value) for value in getattr(step, name))
