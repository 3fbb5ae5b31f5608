"""A segmenter from a reference: ``hf:FOLDER``, ``bundled:NAME``, ``isnet:FILE.onnx`` or ``grabcut``."""

from __future__ import annotations

import importlib

from snellen.core.errors import InputError, unknown_name
from snellen.models.segmenters.protocol import Segmenter
from snellen.models.weights.bundled_folders import bundled_folder
from snellen.models.weights.devices import resolve_device

#: Scheme → loader, "module:function"; a loader takes what follows the colon and the device. Imported when used.
SCHEMES: dict[str, str] = {
    "grabcut": "snellen.models.segmenters.grabcut_segmenter:load",
    "hf": "snellen.models.segmenters.sam_segmenters:load",
    "isnet": "snellen.models.segmenters.isnet_segmenters:load",
}

_FORMS = "hf:FOLDER, bundled:NAME, isnet:FILE.onnx, grabcut"


def load_segmenter(reference: str, *, device: str = "cpu") -> Segmenter:
    """Load a segmenter from a folder or file on this machine.

    >>> load_segmenter("sam:facebook/sam-vit-base")
    Traceback (most recent call last):
    snellen.core.errors.UnknownNameError: unknown kind of segmenter 'sam'. Known: bundled, grabcut, hf, isnet

    Args:
        reference: ``hf:FOLDER`` (a SAM of transformers, prompted by points or boxes), ``bundled:NAME`` (the same, from
            the package), ``isnet:FILE.onnx`` (the salient object, without prompts), or ``grabcut`` (a method without
            weights, prompted by points or boxes).
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        InputError: a reference, file or device that cannot be used.
        MissingExtraError: the library of the segmenter is not installed.
    """
    scheme, _, rest = reference.partition(":")
    if (scheme == "grabcut") == bool(rest) or not scheme:
        raise InputError(f"{reference!r} is not a segmenter; expected one of: {_FORMS}")
    name = None
    if scheme == "bundled":
        scheme, rest, name = "hf", str(bundled_folder(rest)), reference
    if scheme not in SCHEMES:
        raise unknown_name("kind of segmenter", scheme, [*SCHEMES, "bundled"])
    module, _, function = SCHEMES[scheme].partition(":")
    segmenter: Segmenter = getattr(importlib.import_module(module), function)(rest, resolve_device(device), name=name)
    return segmenter
