"""A text–image model from a reference: ``hf:FOLDER``, ``openclip:…`` or ``bundled:NAME``."""

from __future__ import annotations

import importlib

from snellen.core.errors import InputError, unknown_name
from snellen.models.dual_encoders.protocol import TwoTower
from snellen.models.weights.bundled_folders import bundled_folder
from snellen.models.weights.devices import resolve_device

#: Scheme → loader, "module:function"; a loader takes what follows the colon and the device. Imported when used.
SCHEMES: dict[str, str] = {
    "hf": "snellen.models.dual_encoders.hugging_face_towers:load",
    "openclip": "snellen.models.dual_encoders.openclip_towers:load",
}

_FORMS = "hf:FOLDER, openclip:FOLDER, openclip:NAME@FILE.safetensors, bundled:NAME"


def load_two_tower(reference: str, *, device: str = "cpu") -> TwoTower:
    """Load a text–image model from a folder or file on this machine.

    Args:
        reference: ``hf:FOLDER`` (CLIP or SigLIP of transformers), ``openclip:FOLDER`` (open_clip_config.json and
            open_clip_model.safetensors), ``openclip:NAME@FILE.safetensors`` (an architecture of open_clip and its
            weights), or ``bundled:NAME``.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        InputError: a reference, file or device that cannot be used.
        MissingExtraError: the library of the model is not installed.
    """
    scheme, colon, rest = reference.partition(":")
    if not colon or not rest:
        raise InputError(f"{reference!r} is not a text–image model; expected one of: {_FORMS}")
    name = None
    if scheme == "bundled":
        folder = bundled_folder(rest)
        scheme = "openclip" if (folder / "open_clip_config.json").is_file() else "hf"
        rest, name = str(folder), reference
    if scheme not in SCHEMES:
        raise unknown_name("kind of text–image model", scheme, [*SCHEMES, "bundled"])
    module, _, function = SCHEMES[scheme].partition(":")
    tower: TwoTower = getattr(importlib.import_module(module), function)(rest, resolve_device(device), name=name)
    return tower
