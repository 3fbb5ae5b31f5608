"""``artifact:FOLDER``: a classifier that was trained here, and networks with initial weights by their card's record."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from snellen.core import index
from snellen.core.artifact import Artifact, Card
from snellen.core.errors import InputError, MissingExtraError, import_extra, unknown_name
from snellen.models.classifiers.assembly import LoadedModel
from snellen.models.classifiers.model_record import read_preparation, recorded_normalization
from snellen.models.classifiers.timm_models import check_name
from snellen.models.weights.state_dict_file import load_strictly


def load(rest: str, device: torch.device) -> LoadedModel:
    """Load a classifier artifact whose architecture is known.

    Raises:
        InputError: not an artifact, not a classifier, or an architecture that is not known.
    """
    return load_artifact(Path(rest), name=f"artifact:{Path(rest).name}")


def load_artifact(folder: Path, *, name: str) -> LoadedModel:
    """Load a classifier artifact, or one that decides each pixel, under a name of its own."""
    artifact = Artifact.load(folder)
    card = artifact.card
    if card.kind not in ("classifier", "segmenter"):
        raise InputError(f"{folder} holds a {card.kind}, not a classifier")
    with torch.random.fork_rng(devices=[]):
        network = build_network(card.architecture, str(folder / "card.json"))
    load_strictly(network, artifact.tensors, source=str(folder / "weights.safetensors"))
    return LoadedModel(
        network=network,
        name=name,
        preparation=read_preparation(card.preparation, source=str(folder / "card.json")),
        normalization=recorded_normalization(card.normalization, source=folder / "card.json"),
        task="segment" if card.kind == "segmenter" else card.task,
        class_names=card.class_names or None,
        identity=_identity(card),
        feature_layer=index.architectures()[str(card.architecture["name"])].feature_layer,
        recipe=card.lineage.recipe,
        history=card.history,
        bag_decision=card.bag_decision,
    )


def _identity(card: Card) -> str:
    """Hash of all weights: those of the file, and those of a model that the architecture names."""
    named = card.architecture.get("identity")
    return card.sha256 if named is None else hashlib.sha256(f"{card.sha256} {named}".encode()).hexdigest()


def build_network(architecture: Mapping[str, object], where: str) -> nn.Module:
    """Build the network that a card's ``architecture`` describes; its initial weights come from torch's generator.

    Raises:
        InputError: an architecture that is not known, or arguments that it does not take.
    """
    arguments = dict(architecture)
    name = str(arguments.pop("name", ""))
    known = index.architectures()
    if name not in known:
        raise unknown_name(f"architecture in {where}:", name, known)
    build = known[name].load()
    try:
        network = build(**arguments)
    except TypeError as error:
        raise InputError(f"{where}: {name} cannot be built from {arguments}: {error}") from error
    assert isinstance(network, nn.Module)
    return network


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
