"""What a caller says about a model beside its reference: arguments of its architecture, and the size of its images."""

from __future__ import annotations

from collections.abc import Mapping

from snellen.core.errors import InputError
from snellen.core.preparation import Preparation


def both_sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width, from both or from the side of a square.

    >>> both_sides(224)
    (224, 224)

    Raises:
        InputError: not positive whole numbers.
    """
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise InputError(f"size is a positive number of pixels, or (height, width); got {size!r}")
    return sides[0], sides[1]


def resized(preparation: Preparation | None, size: tuple[int, int]) -> Preparation:
    """A preparation for another size: the same resize and crop in proportion, or a centre crop of the shorter edge.

    >>> own = Preparation(size=(224, 224), resize="shorter", resize_to=(256, 256), interpolation="bicubic")
    >>> resized(own, (112, 112)).words
    'shorter edge scaled to 128 pixels (bicubic), centre crop of 112x112'
    """
    if preparation is None or preparation.size is None or preparation.resize_to is None:
        return Preparation(size=size, resize="shorter", resize_to=size)
    scaled = tuple(
        round(aim * new / old) for aim, new, old in zip(preparation.resize_to, size, preparation.size, strict=True)
    )
    return preparation.model_copy(update={"size": size, "resize_to": scaled})


def built_for(arguments: Mapping[str, object], name: str) -> tuple[int, int] | None:
    """Height and width that an architecture is built for by an argument, such as ``img_size``; None without it.

    Raises:
        InputError: an argument that is no size.
    """
    value = arguments.get(name)
    if value is None:
        return None
    if isinstance(value, int):
        return both_sides(value)
    if isinstance(value, list | tuple) and len(value) == 2:
        return both_sides((value[0], value[1]))
    raise InputError(f"{name}={value!r}: expected a number of pixels, or [height, width]")


def published_arguments(arguments: Mapping[str, object] | None, name: str) -> dict[str, object]:
    """Arguments for an architecture with the weights that its library publishes.

    Raises:
        InputError: a number of classes, for which there are no weights; a library would draw them at random.
    """
    if "num_classes" in (arguments or {}):
        raise InputError(
            f"{name} brings weights for its own classes; num_classes is for weights of a file, {name}@FILE"
        )
    return dict(arguments or {})
