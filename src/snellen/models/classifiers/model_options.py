"""Options of a model beside its reference: arguments of its architecture, and the size of its images."""

from __future__ import annotations

import re
from collections.abc import Mapping

from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing


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


def resized(preparation: Preprocessing | None, size: tuple[int, int]) -> Preprocessing:
    """A preparation for another size: the same resize and crop in proportion, or a centre crop of the shorter edge.

    >>> own = Preprocessing(size=(224, 224), resize="shorter", resize_to=(256, 256), interpolation="bicubic")
    >>> resized(own, (112, 112)).words
    'shorter edge scaled to 128 pixels (bicubic), centre crop of 112x112'
    """
    if preparation is None or preparation.size is None or preparation.resize_to is None:
        return Preprocessing(size=size, resize="shorter", resize_to=size)
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


#: What an argument may not be called: by these names libraries load further files, or build something else than a
#: classifier.
_NOT_OF_A_NETWORK = re.compile(
    r"(pretrained|checkpoint|weights|state_dict|cache|features_|feature_c|scriptable|exportable|no_jit|kwargs_|model_cfg)"
    r"|(path|file|dir|folder|url|hub)$"
)

#: Texts that choose a variant, such as ``avg``: with dots, slashes or colons, some are files or addresses.
_WORD = re.compile(r"[\w+-]{0,64}")

#: Most lists and tables that lie in each other.
_DEEPEST = 8


def plain_arguments(arguments: Mapping[str, object], name: str) -> dict[str, object]:
    """The arguments of an architecture, where they are numbers and words that can name no file and no address.

    They may come from a file beside weights, whose author must not choose what else is read.

    >>> plain_arguments({"num_classes": 3, "global_pool": "avg"}, "timm:resnet18")
    {'num_classes': 3, 'global_pool': 'avg'}

    Args:
        arguments: by name.
        name: of the architecture, for the message.

    Raises:
        InputError: an argument that loads files, or one that is no number, word, list or table of these.
    """
    for key, value in arguments.items():
        if (why := _refusal(key, value, _DEEPEST)) is not None:
            raise InputError(
                f"{name}: argument {key}={value!r}: {why}; arguments of an architecture (--model-args, or [arguments] "
                f"beside the weights) are numbers and words, such as num_classes=10 or global_pool=avg, and never files"
            )
    return dict(arguments)


def _refusal(key: str, value: object, depth: int) -> str | None:
    """Why an argument is not passed on; None where it is."""
    if not key.isidentifier() or _NOT_OF_A_NETWORK.search(key):
        return f"{key} does not belong to the network itself"
    if isinstance(value, str):
        return None if _WORD.fullmatch(value) else f"{value!r} is not a word of letters, digits, _, + and -"
    if value is None or isinstance(value, bool | int | float):
        return None
    if not isinstance(value, list | tuple | Mapping):
        return f"a {type(value).__name__}"
    if not depth:
        return "lists or tables that lie too deep"
    inner = value.items() if isinstance(value, Mapping) else ((key, one) for one in value)
    return next((why for name, one in inner if (why := _refusal(str(name), one, depth - 1)) is not None), None)


def published_arguments(arguments: Mapping[str, object] | None, name: str) -> dict[str, object]:
    """Arguments for an architecture with the weights that its library publishes.

    Raises:
        InputError: a number of classes, for which there are no weights; a library would draw them at random; or an
            argument that :func:`plain_arguments` refuses.
    """
    if "num_classes" in (arguments or {}):
        raise InputError(
            f"{name} brings weights for its own classes; num_classes is for weights of a file, {name}@FILE"
        )
    return plain_arguments(arguments or {}, name)
