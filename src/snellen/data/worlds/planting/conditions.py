"""Conditions on the factors of an image, as its attributes record them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.data.worlds.optotypes.factors import column_of, lighting_of, row_of, size_of, tilt_of

#: Value of a factor.
Value = str | int | float | bool | None

#: Path of a factor → the value that it must have, or the values of which it must have one.
Condition = dict[str, str | bool | int | float | tuple[str, ...]]

#: Names of numbers in the record of a scene: name → (number, how it is named).
_NAMED: dict[str, tuple[str, Callable[[float], str]]] = {
    "size": ("radius", size_of),
    "tilt": ("rotation", tilt_of),
    "column": ("x", column_of),
    "row": ("y", row_of),
    "name": ("level", lighting_of),
}


def factor(record: Mapping[str, object], path: str) -> Value:
    """Look one factor up in a record of attributes.

    A path names keys and positions from the outside in. Numbers of scenes can be asked by name too: "objects.0.size"
    (of the radius), "tilt", "column", "row" and "light.name".

    >>> scene = {"background": "grass", "objects": [{"colour": "red", "radius": 0.43}]}
    >>> factor(scene, "objects.0.colour"), factor(scene, "background"), factor(scene, "objects.0.size")
    ('red', 'grass', 'small')

    Raises:
        InputError: there is no such factor, or it is not a single value.
    """
    found: object = record
    walked: list[str] = []
    for part in path.split("."):
        found = _step(found, part, ".".join(walked) or "the record", path)
        walked.append(part)
    if isinstance(found, Mapping | list | tuple):
        raise InputError(f"factor {path!r} holds several values ({_keys(found)}); name one of them, as in {path}.…")
    assert found is None or isinstance(found, str | int | float | bool)
    return found


def holds(record: Mapping[str, object], condition: Condition) -> bool:
    """Whether all factors have the values that the condition asks for.

    >>> holds({"shape": "star", "colour": "red"}, {"shape": "star", "colour": ("red", "blue")})
    True
    """
    return all(
        factor(record, path) in wanted if isinstance(wanted, tuple) else factor(record, path) == wanted
        for path, wanted in condition.items()
    )


def rows_where(images: ImageSet, conditions: Sequence[Condition]) -> NDArray[np.bool_]:
    """Rows whose attributes meet at least one condition: bool (n,).

    Raises:
        InputError: an image has no attributes, or not the factor that is asked for.
    """
    met = np.zeros(len(images), dtype=np.bool_)
    for index, (example_id, text) in enumerate(zip(images.ids, images.column("attributes"), strict=True)):
        if text is None:
            raise InputError(f"{images.name}: image {example_id!r} has no attributes to put a condition on")
        try:
            record = json.loads(str(text))
            met[index] = any(holds(record, condition) for condition in conditions)
        except InputError as error:
            raise InputError(f"{images.name}: image {example_id!r}: {error}") from error
    return met


def _step(found: object, part: str, where: str, path: str) -> object:
    if isinstance(found, Mapping):
        if part in found:
            return found[part]
        number, name = _NAMED.get(part, ("", str))
        if isinstance(found.get(number), int | float):
            return name(found[number])
    elif isinstance(found, list | tuple) and part.isdecimal() and int(part) < len(found):
        return found[int(part)]
    raise InputError(f"no factor {path!r}: {where} has no {part!r}; it has: {_keys(found)}")


def _keys(found: object) -> str:
    if isinstance(found, Mapping):
        return ", ".join(map(str, found)) or "nothing"
    return f"0 … {len(found) - 1}" if isinstance(found, list | tuple) and found else repr(found)
