"""Weights read from a safetensors file and put into a module without leaving anything out, and their hash."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError, ModelError

_SHOWN = 4


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read named tensors from a safetensors file.

    Raises:
        InputError: no such file, another format, or a damaged file.
        ModelError: a tensor that holds NaN or infinity.
    """
    if not path.is_file():
        raise InputError(f"no weight file at {path}")
    if path.suffix != ".safetensors":
        raise InputError(
            f"{path.name}: weights are read from .safetensors files only, because a pickle can run code. Convert it "
            f"once: safetensors.torch.save_file(torch.load(path, weights_only=True), 'model.safetensors')"
        )
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a safetensors file: {error}") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{path}: tensor {name!r} holds NaN or infinity; the file cannot be used")
    return tensors


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy tensors into a module; every tensor must have its place, and every place its tensor.

    Only the counters of batch normalisation, which evaluation does not use, may be missing: old files lack them.

    Raises:
        InputError: names or shapes differ; the message lists the first few.
    """
    expected: dict[str, Tensor] = module.state_dict()
    missing = [name for name in expected if name not in tensors and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in tensors if name not in expected]
    reshaped = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    parts = [
        f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
        if names
    ]
    if parts:
        raise InputError(
            f"{source} does not fit {type(module).__name__}: tensors {'; '.join(parts)}. "
            f"{_hint(expected, unexpected, reshaped)}"
        )
    # Into the module's own dictionary, whose version numbers some modules read.
    expected.update(tensors)
    module.load_state_dict(expected, strict=True)


def _hint(expected: Mapping[str, Tensor], unexpected: list[str], reshaped: list[str]) -> str:
    prefixes = {name.split(".", 1)[0] for name in unexpected}
    if len(prefixes) == 1 and all(name.split(".", 1)[-1] in expected for name in unexpected):
        return f"All its names begin with {prefixes.pop()!r}: save the state dict of the inner model"
    if reshaped:
        return (
            "Was it trained with another num_classes, input size or variant of the architecture? Give its arguments, "
            "such as --model-args num_classes=10, or model_args={'num_classes': 10}"
        )
    return "Is it the state dict of this architecture, with its classifier (num_classes)?"


class WeightsIdentity:
    """Hash (sha256) of the parameters and buffers of networks, as they are now.

    Every change in place (an optimiser step, ``load_state_dict``) raises a tensor's version, and a replaced tensor lies
    elsewhere; only then is the hash computed anew. Changes through ``.data`` are not seen.

    >>> import torch
    >>> layer = nn.Linear(2, 2)
    >>> identity = WeightsIdentity(layer)
    >>> before = identity()
    >>> with torch.no_grad():
    ...     _ = layer.weight.add_(1)
    >>> identity() == before
    False
    """

    def __init__(self, *networks: nn.Module) -> None:
        self._networks = networks
        self._seen: list[tuple[str, int, int]] | None = None
        self._hash = ""

    def __call__(self) -> str:
        """The hash, as hexadecimal digits."""
        tensors = self._tensors()
        seen = [(name, tensor._version, tensor.data_ptr()) for name, tensor in tensors.items()]
        if seen != self._seen:
            self._hash, self._seen = hash_tensors(tensors), seen
        return self._hash

    def _tensors(self) -> dict[str, Tensor]:
        return {
            f"{number}.{name}": tensor
            for number, network in enumerate(self._networks)
            for name, tensor in network.state_dict(keep_vars=True).items()
        }
