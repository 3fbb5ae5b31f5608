"""``artifact:FOLDER``: a classifier that was trained here, from its weights and card."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from snellen.artifact import Artifact
from snellen.errors import InputError, unknown_name
from snellen.models.loaded_model import LoadedModel
from snellen.models.model_record import read_preparation, recorded_normalization
from snellen.models.state_dict_file import load_strictly


class Architecture(NamedTuple):
    """A module class, as "module:Class", and its pooled layer before the last linear layer."""

    target: str
    feature_layer: str | None = None


#: Architectures by their name in a card; further fields of the card are arguments of the class.
ARCHITECTURES: dict[str, Architecture] = {
    "fashion_cnn": Architecture("snellen.models.fashion_cnn:FashionCNN", "pool"),
}


def load(rest: str, device: torch.device) -> LoadedModel:
    """Load a classifier artifact whose architecture is known.

    Raises:
        InputError: not an artifact, not a classifier, or an architecture that is not known.
    """
    return load_artifact(Path(rest), name=f"artifact:{Path(rest).name}")


def load_artifact(folder: Path, *, name: str) -> LoadedModel:
    """Load a classifier artifact under a name of its own."""
    artifact = Artifact.load(folder)
    card = artifact.card
    if card.kind != "classifier":
        raise InputError(f"{folder} holds a {card.kind}, not a classifier")
    network = _build(dict(card.architecture), folder)
    load_strictly(network, artifact.tensors, source=str(folder / "weights.safetensors"))
    return LoadedModel(
        network=network,
        name=name,
        preparation=read_preparation(card.preparation, source=str(folder / "card.json")),
        normalization=recorded_normalization(card.normalization, source=folder / "card.json"),
        class_names=card.class_names or None,
        identity=card.sha256,
        feature_layer=ARCHITECTURES[str(card.architecture["name"])].feature_layer,
    )


def _build(architecture: dict[str, object], folder: Path) -> nn.Module:
    name = str(architecture.pop("name", ""))
    if name not in ARCHITECTURES:
        raise unknown_name(f"architecture in {folder / 'card.json'}:", name, ARCHITECTURES)
    module, _, attribute = ARCHITECTURES[name].target.partition(":")
    with torch.random.fork_rng(devices=[]):
        try:
            network = getattr(importlib.import_module(module), attribute)(**architecture)
        except TypeError as error:
            raise InputError(f"{folder / 'card.json'}: {name} cannot be built from {architecture}: {error}") from error
    assert isinstance(network, nn.Module)
    return network
