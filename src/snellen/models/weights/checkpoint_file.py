"""Weights of a checkpoint: safetensors, or what ``torch.save`` wrote, read without running any code of the file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from snellen.core.errors import InputError, ModelError
from snellen.models.weights.state_dict_file import read_state_dict

#: Suffixes of files that torch wrote.
SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar")

#: Largest file that is read, and largest list of what is in it, bytes.
MAX_BYTES, MAX_LISTED = 16 * 2**30, 64 * 2**20

#: Keys under which training scripts keep the weights beside their other state.
_KEYS = ("state_dict", "model_state_dict", "model")

#: What wrappers put in front of every name: data parallel training, ``torch.compile``, Lightning.
_PREFIXES = ("module.", "_orig_mod.", "model.")


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Read named tensors, and notes on how they were found.

    A file of torch is read with ``weights_only=True``, which makes tensors and plain containers and nothing else.
    Weights under ``state_dict``, ``model_state_dict`` or ``model`` are taken, and a prefix that all names share
    (``module.``, ``_orig_mod.``, ``model.``) is left out.

    Raises:
        InputError: no such file, another format, one that holds no weights or more than weights, or one that is too
            large, or has tensors that are larger than what is stored of them.
        ModelError: a tensor that holds NaN or infinity.
    """
    notes = []
    if path.suffix not in SUFFIXES:
        tensors = read_state_dict(path)
    else:
        held = read_mapping(path)
        key = next((one for one in _KEYS if isinstance(held.get(one), Mapping)), None)
        if key is not None:
            held = held[key]  # type: ignore[assignment]
            notes.append(f"weights are those under {key!r} in their file")
        tensors = {str(name): value for name, value in held.items() if isinstance(value, Tensor)}
        if not tensors or len(tensors) < len(held):
            shown = ", ".join(str(name) for name, value in list(held.items())[:6] if not isinstance(value, Tensor))
            raise InputError(
                f"{path} holds no state dict, tensors by name, at its top or under one of {', '.join(_KEYS)}; found "
                f"{shown or 'nothing'}. Save model.state_dict()"
            )
        for name, tensor in tensors.items():
            _check_stored(path, name, tensor)
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise ModelError(f"{path}: tensor {name!r} holds NaN or infinity; the file cannot be used")
    if not tensors:
        raise InputError(f"{path} holds no tensors; expected the state dict of a model, model.state_dict()")
    while prefix := next((one for one in _PREFIXES if all(name.startswith(one) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
        notes.append(f"the names of all weights begin with {prefix!r}, which is left out")
    return tensors, tuple(notes)


def read_mapping(path: Path) -> Mapping[str, object]:
    """What torch saved, where that is a mapping; of tensors and plain containers alone.

    Raises:
        InputError: no such file, one that cannot be read without running code, or something else than a mapping.
    """
    if not path.is_file():
        raise InputError(f"no weight file at {path}")
    _check_size(path)
    try:
        held: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise InputError(
            f"{path} is not a file of weights that torch reads without running code (weights_only=True): {lines[0]} "
            f"Save the state dict alone, best as safetensors: safetensors.torch.save_file(model.state_dict(), "
            f"'model.safetensors')"
        ) from error
    if not isinstance(held, Mapping):
        raise InputError(f"{path} holds a {type(held).__name__}; expected a state dict: save model.state_dict()")
    return held


def _check_stored(path: Path, name: str, tensor: Tensor) -> None:
    """Refuse a tensor that is not stored whole: one that repeats a number without end takes memory when it is used."""
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
    if not plain or tensor.is_quantized or tensor.is_nested:
        raise InputError(f"{path}: tensor {name!r} is sparse, quantised, nested or without numbers; save plain tensors")
    stored = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > stored:
        raise InputError(
            f"{path}: tensor {name!r} of shape {tuple(tensor.shape)} repeats what is stored of it, {stored} bytes; "
            f"save it whole: tensor.contiguous()"
        )


def _check_size(path: Path) -> None:
    """Refuse a file that is too large, or that grows when it is unpacked; torch itself packs nothing."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise InputError(f"{path}: {size} bytes is too large for a checkpoint (at most {MAX_BYTES})")
    with path.open("rb") as stream:
        if stream.read(4) != b"PK\x03\x04":  # torch distinguishes archives from its older files by this
            return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise InputError(f"{path}: a damaged checkpoint: {error}") from error
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    listed = max((entry.file_size for entry in entries if entry.filename.endswith(".pkl")), default=0)
    if packed or sum(entry.file_size for entry in entries) > 2 * size or listed > MAX_LISTED:
        raise InputError(f"{path}: packed or larger inside than outside, as torch.save writes no file; not read")
