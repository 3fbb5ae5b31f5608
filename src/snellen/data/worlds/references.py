"""Procedural worlds by reference: ``optotypes:scenes?count=500&shapes=star,ring``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from snellen.core import index
from snellen.core.errors import InputError, unknown_name
from snellen.core.images import ImageSet, Split
from snellen.core.method import Method, World
from snellen.core.refused_values import refused_values
from snellen.data.reference_query import query_parameters

SCHEME = "optotypes:"


def load_world(reference: str, *, split: Split | None = None, name: str | None = None) -> ImageSet:
    """Make the images of a reference ``KIND`` or ``KIND?PARAMETER=VALUE&…``.

    A parameter that takes several values is written with commas between them.

    >>> load_world("scenes?count=2&shapes=star,ring", split="train")
    ImageSet('optotypes scenes', 2 images, 2 classes, split=train)

    Args:
        reference: without the ``optotypes:`` before it.
        split: which images; default: the test split.
        name: shown in reports.

    Raises:
        UnknownNameError: no such kind or parameter.
        InputError: a value that the world refuses.
    """
    kind, _, query = reference.partition("?")
    entry = index.entry("worlds", kind)
    world_class = entry.load()
    world = _world(world_class, query_parameters(query, f"{SCHEME}{reference}"), f"{SCHEME}{reference}")
    assert isinstance(world, World)
    images = world.images(split=split or "test")
    return images if name is None else replace(images, name=name)


def _world(world_class: type[Method], written: Mapping[str, str], shown: str) -> Method:
    for name in written:
        if name not in world_class.model_fields:
            raise unknown_name(f"parameter of {world_class.name}", name, world_class.model_fields)
    values: dict[str, object] = {}
    for name, text in written.items():
        values[name] = _value(world_class, name, text, shown)
    try:
        return world_class.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{shown}: {refused_values(error)}") from error


def _value(world_class: type[Method], name: str, text: str, shown: str) -> object:
    """The first reading of a text that the field takes: as it is, as JSON, as values between commas."""
    readings: Sequence[object] = [text, *_from_json(text), [part.strip() for part in text.split(",") if part.strip()]]
    info, refused = world_class.model_fields[name], list[ValidationError]()
    annotation: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    adapter: TypeAdapter[object] = TypeAdapter(annotation)
    for reading in readings:
        try:
            return adapter.validate_python(reading)
        except ValidationError as error:
            refused.append(error)
    # That a text is not several values says nothing to somebody who has written them with commas.
    telling = [error for error in refused if error.errors()[0]["type"] not in ("tuple_type", "list_type")]
    worst = (telling or refused)[0]
    raise InputError(f"{shown}: {name}={text}: {refused_values(worst)}") from worst


def _from_json(text: str) -> list[object]:
    try:
        return [json.loads(text)]
    except (ValueError, RecursionError):
        return []
