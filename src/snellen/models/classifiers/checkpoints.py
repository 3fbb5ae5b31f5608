"""``checkpoint:FILE``: weights whose architecture a description beside them names, or an argument does.

The description is ``FILE.json`` or ``FILE.toml`` (:class:`~snellen.models.classifiers.model_record.ModelRecord`). It
counts for weights that a reference names with their architecture, too: ``timm:NAME@FILE``.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from snellen.core import index
from snellen.core.errors import InputError, unknown_name
from snellen.models.classifiers.artifact_models import build_network
from snellen.models.classifiers.assembly import LoadedModel
from snellen.models.classifiers.checkpoint_description import described_beside, with_description
from snellen.models.classifiers.model_options import plain_arguments
from snellen.models.weights.checkpoint_file import read_checkpoint
from snellen.models.weights.state_dict_file import load_strictly

#: Libraries of architectures, and their loaders of ``NAME@FILE``.
_LIBRARIES = {
    "timm": "snellen.models.classifiers.timm_models",
    "torchvision": "snellen.models.classifiers.torchvision_models",
}


def load(rest: str, device: torch.device, arguments: Mapping[str, object] | None = None) -> LoadedModel:
    """Load weights into the architecture that their description names, or the argument ``architecture``.

    Args:
        rest: path of the file: safetensors, or ``.pth``, ``.pt``, ``.bin``, ``.ckpt`` of torch.
        device: where the classifier runs.
        arguments: of the architecture, such as ``num_classes``; they win over those of the description.

    Raises:
        InputError: no architecture, one that is not known, arguments that could name files, or weights that do not fit.
    """
    path = Path(rest)
    if path.suffix == ".pt2":
        raise InputError(
            f"{path}: an archive of torch.export is not loaded, because torch.export.load unpickles parts of it and "
            f"evaluates expressions that it holds; export the model as ONNX (snellen.export_onnx, torch.onnx.export)"
        )
    given = dict(arguments or {})
    record = described_beside(path)
    architecture = given.pop("architecture", record.architecture)
    if not isinstance(architecture, str):
        raise InputError(
            f"{path} does not say which architecture its weights are for; write timm:NAME@{path} or "
            f"torchvision:NAME@{path}, or name it beside the weights, in {path.name}.toml: "
            f'architecture = "timm:resnet18"'
        )
    library, _, name = architecture.partition(":")
    if not re.fullmatch(r"[\w.-]*", name):  # an @ in it would name another file of weights
        raise InputError(f"{path}: architecture {architecture!r} is a path or an address; expected timm:NAME alone")
    if library in _LIBRARIES and name:
        loader: Any = importlib.import_module(_LIBRARIES[library])
        loaded: LoadedModel = loader.load(f"{name}@{path}", device, given)
        return loaded
    known = index.architectures()
    if architecture not in known:
        raise unknown_name("architecture", architecture, ["timm:NAME", "torchvision:NAME", *known])
    return with_description(_of_snellen(architecture, path, {**(record.arguments or {}), **given}), path)


def _of_snellen(architecture: str, path: Path, arguments: Mapping[str, object]) -> LoadedModel:
    """Weights in one of Snellen's own architectures, whose classes are counted where they are not given."""
    arguments = plain_arguments(arguments, architecture)
    tensors, notes = read_checkpoint(path)
    last = next((value for value in reversed(list(tensors.values())) if value.ndim == 2), None)
    counted = {} if last is None else {"class_count": len(last)}
    with torch.random.fork_rng(devices=[]):
        network = build_network({"name": architecture, **counted, **arguments}, f"{path.name} (--model-args)")
    load_strictly(network, tensors, source=path.name)
    return LoadedModel(
        network=network,
        name=f"{architecture}@{path.name}",
        preparation=None,
        feature_layer=index.architectures()[architecture].feature_layer,
        notes=notes,
        assumed={"normalization": "input assumed to be RGB in [0, 1] without normalisation"},
        advice=f"give --size, or a preparation in {path.name}.toml",
    )
