"""A sentence encoder from a reference: ``minilm``, ``hf:FOLDER`` or ``bundled:NAME``."""

from __future__ import annotations

import importlib

from snellen.core.errors import InputError, unknown_name
from snellen.models.encoders.sentence_protocol import TextEncoder
from snellen.models.weights.bundled_folders import bundled_folder
from snellen.models.weights.devices import resolve_device

#: Encoders that packages bring, by name: "module:function", which takes the device.
PACKAGES = {"minilm": "snellen.models.encoders.minilm:load_minilm"}


def load_text_encoder(reference: str, *, device: str = "cpu") -> TextEncoder:
    """Load a sentence encoder.

    Args:
        reference: ``minilm`` (all-MiniLM-L6-v2, from the extra ``sentences``), ``hf:FOLDER`` or ``bundled:NAME``.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        InputError: a reference, file or device that cannot be used.
        MissingExtraError: a package that is not installed.
    """
    where = resolve_device(device)
    scheme, colon, rest = reference.partition(":")
    if not colon:
        if reference not in PACKAGES:
            raise unknown_name("sentence encoder", reference, [*PACKAGES, "hf:FOLDER", "bundled:NAME"])
        module, _, function = PACKAGES[reference].partition(":")
        packaged: TextEncoder = getattr(importlib.import_module(module), function)(where)
        return packaged
    if scheme not in ("hf", "bundled"):
        raise unknown_name("kind of sentence encoder", scheme, ["hf", "bundled"])
    if not rest:
        raise InputError(f"{reference!r} names no sentence encoder; expected minilm, hf:FOLDER or bundled:NAME")
    loader = importlib.import_module("snellen.models.encoders.sentence_encoder")
    folder, name = (str(bundled_folder(rest)), reference) if scheme == "bundled" else (rest, None)
    encoder: TextEncoder = loader.load(folder, where, name=name)
    return encoder
