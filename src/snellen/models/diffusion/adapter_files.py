"""Adapters as files: a folder in the form of the peft library, which diffusers reads too.

A folder holds ``adapter_config.json`` and ``adapter_model.safetensors``. Single files of diffusers
(``pytorch_lora_weights.safetensors``) are read as well. To read a folder with diffusers::

    network.load_lora_adapter(FOLDER, weight_name="adapter_model.safetensors", prefix="base_model.model")
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from snellen.core.errors import InputError, import_extra, unknown_name
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.low_rank import adaptable_layers

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"

#: What peft puts before the names of tensors.
_PREFIX = "base_model.model"

#: Key in the head of a safetensors file under which diffusers keeps the configuration.
_METADATA = "lora_adapter_metadata"

#: Options of peft that are not low-rank changes of single layers alone, and the only value that is read.
_PLAIN: dict[str, tuple[object, ...]] = {
    "bias": ("none",),
    "lora_bias": (False, None),
    "modules_to_save": (None, []),
    "target_parameters": (None, []),
    "trainable_token_indices": (None, [], {}),
    "use_dora": (False, None),
}


def save_adapter(adapters: Adapters, name: str, folder: str | Path) -> Path:
    """Write one adapter into a folder; the same weights give the same bytes.

    Raises:
        UnknownNameError: no such adapter.
    """
    config = _as_json(adapters.config(name).to_dict())
    tensors = {f"{_PREFIX}.{key}": tensor.cpu().contiguous() for key, tensor in adapters.tensors(name).items()}
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    named = json.dumps({f"{_PREFIX}.{key}": value for key, value in config.items()}, sort_keys=True)
    # One entry only: safetensors writes several in an order of chance.
    save_file(tensors, target / WEIGHTS, metadata={_METADATA: named})
    (target / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return target


def load_adapter(adapters: Adapters, name: str, path: str | Path, *, prefix: str | None = None) -> None:
    """Read an adapter from a folder of peft or a safetensors file of diffusers, and put it into the network.

    The layers are those that the file has weights of. Nothing is downloaded and no pickle is read.

    Args:
        adapters: of the network.
        name: for the adapter.
        path: the folder or the file.
        prefix: what stands before the names of the layers in the file: ``unet`` or ``text_encoder`` where a pipeline
            saved it. By default peft's own ``base_model.model``, where all names begin with it, or none.

    Raises:
        InputError: no such file, weights that do not fit the network, or an adapter that is more than low-rank changes.
        UnknownNameError: a layer that the network does not have.
    """
    tensors, config = _read(Path(path), prefix)
    for option, accepted in _PLAIN.items():
        if config.get(option, accepted[0]) not in accepted:
            raise InputError(f"{path}: adapters with {option} = {config[option]!r} are not read")
    if str(config.get("peft_type") or "LORA") != "LORA":
        raise InputError(f"{path} is an adapter of type {config['peft_type']}; only LORA is read")
    layers = _layers(tensors, adapters, path)
    peft = import_extra("peft", "diffusion", "an adapter")
    known = {field.name for field in dataclasses.fields(peft.LoraConfig)} - {"target_modules", "peft_type"}
    options = {key: value for key, value in config.items() if key in known}
    ranks = {layer: len(tensors[f"{layer}.lora_A.weight"]) for layer in layers}
    if not config:
        options = {"r": ranks[layers[0]], "rank_pattern": ranks, "lora_alpha": ranks[layers[0]], "alpha_pattern": ranks}
    adapters.inject(name, layers, {**options, "inference_mode": False, "init_lora_weights": True})
    places = adapters.tensors(name)
    unlike = [key for key in places if places[key].shape != tensors[key].shape]
    if unlike:
        adapters.remove(name)
        came, fits = (tuple(found[unlike[0]].shape) for found in (tensors, places))
        raise InputError(
            f"{path}: {unlike[0]} is {came} in the file, and {fits} by its configuration and the network; "
            f"{len(unlike)} tensors do not fit"
        )
    with torch.no_grad():
        for key, place in places.items():
            place.copy_(tensors[key])


def _read(path: Path, prefix: str | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and configuration of a file, without the prefix."""
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"{file} is not there; expected a folder with {WEIGHTS} and {CONFIG}, or a safetensors file of diffusers"
        )
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - not a dictionary
    except SafetensorError as error:
        raise InputError(f"{file} is not a safetensors file: {error}") from error
    if prefix is None and all(key.startswith(f"{_PREFIX}.") for key in tensors):
        prefix = _PREFIX
    try:
        if path.is_dir():
            config: dict[str, Any] = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        else:
            config = _without(prefix, json.loads(metadata.get(_METADATA, "{}")))
    except (OSError, ValueError) as error:
        raise InputError(f"the configuration of {path} cannot be read: {error}") from error
    chosen = _without(prefix, tensors)
    if not chosen:
        begins = sorted({key.partition(".")[0] for key in tensors})
        raise InputError(
            f"{path} has no weights under {prefix!r}; its names begin with {', '.join(begins) or 'nothing'}"
        )
    return chosen, config


def _layers(tensors: Mapping[str, Tensor], adapters: Adapters, path: str | Path) -> list[str]:
    """Names of the layers whose two factors a file holds, all of them layers of the network."""
    known = adaptable_layers(adapters.network)
    found: dict[str, set[str]] = {}
    for key in tensors:
        layer, separator, factor = key.rpartition(".lora_")
        if not separator or factor not in ("A.weight", "B.weight"):
            raise InputError(f"{path}: {key!r} is not a factor of a low-rank change (LAYER.lora_A.weight)")
        found.setdefault(layer, set()).add(factor)
    for layer, factors in found.items():
        if layer not in known:
            raise unknown_name(f"layer in {path}; the {type(adapters.network).__name__} has no", layer, known)
        if len(factors) != 2:
            raise InputError(f"{path}: one of the two factors of layer {layer!r} is missing")
    return [layer for layer in known if layer in found]


def _without(prefix: str | None, named: Mapping[str, Any]) -> dict[str, Any]:
    if not prefix:
        return dict(named)
    start = f"{prefix}."
    return {key.removeprefix(start): value for key, value in named.items() if key.startswith(start)}


def _as_json(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of peft as JSON holds them: enumerations by value, sets in order."""
    plain = {
        key: sorted(value) if isinstance(value, set) else getattr(value, "value", value)
        for key, value in config.items()
    }
    loaded: dict[str, Any] = json.loads(json.dumps(plain))
    return loaded
