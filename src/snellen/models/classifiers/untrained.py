"""Networks with initial weights, by the architecture that an artifact's card names."""

from __future__ import annotations

from typing import Any

from torch import nn

from snellen.core import index
from snellen.core.errors import InputError, MissingExtraError, import_extra, unknown_name
from snellen.models.classifiers.artifact_models import build_network
from snellen.models.classifiers.timm_models import check_name


def architecture_of(reference: str, class_count: int, side: int | None = None) -> dict[str, Any]:
    """The record of an architecture in a card: ``fashion_cnn``, or ``timm:NAME`` for any of timm's.

    ``side`` is that of the images, in pixels, and is recorded where the architecture is made for one alone.

    >>> architecture_of("fashion_cnn", 10)
    {'name': 'fashion_cnn', 'class_count': 10}

    Raises:
        InputError: there is none of that name; where timm has it, the message says how to write it.
        MissingExtraError: one of timm's, and timm is not installed.
    """
    kind, _, name = reference.partition(":")
    if kind == "timm":
        timm = import_extra("timm", "models", reference)
        check_name(timm, name)
        return {"name": "timm", "model": name, "class_count": class_count}
    if name:
        raise InputError(f"architecture {reference!r}: expected fashion_cnn or timm:NAME")
    known = index.architectures()
    if reference not in known:
        raise unknown_name("architecture", reference, ["fashion_cnn", "timm:NAME", *_of_timm(reference)])
    sized = {"side": side} if side is not None and known[reference].sized else {}
    return {"name": reference, "class_count": class_count, **sized}


def _of_timm(name: str) -> list[str]:
    """A bare name as a reference to timm's architecture, where it has one of that name."""
    try:
        known = import_extra("timm", "models", name).is_model(name)
    except MissingExtraError:
        return []
    return [f"timm:{name}"] if known else []


def untrained(architecture: dict[str, Any]) -> nn.Module:
    """Build a network from its record; its initial weights come from torch's global generator."""
    return build_network(dict(architecture), "the recipe")
