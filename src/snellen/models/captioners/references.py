"""A captioner, or a model that answers questions, from a reference: ``hf:FOLDER`` or ``bundled:NAME``."""

from __future__ import annotations

import importlib

from snellen.core.errors import InputError, unknown_name
from snellen.models.captioners.protocol import Captioner, QuestionAnswerer
from snellen.models.weights.bundled_folders import bundled_folder
from snellen.models.weights.devices import resolve_device


def load_captioner(reference: str, *, device: str = "cpu") -> Captioner:
    """Load a captioner.

    Args:
        reference: ``hf:FOLDER`` (BLIP, or an image encoder with a language model, of transformers) or ``bundled:NAME``.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        InputError: a reference, folder or device that cannot be used.
        MissingExtraError: transformers is not installed.
    """
    folder, name = _folder(reference, "captioner")
    module = importlib.import_module("snellen.models.captioners.hugging_face_captioners")
    captioner: Captioner = module.load(folder, resolve_device(device), name=name)
    return captioner


def load_question_answerer(reference: str, *, device: str = "cpu") -> QuestionAnswerer:
    """Load a model that answers questions about images.

    Args:
        reference: ``hf:FOLDER`` (BLIP for question answering, of transformers) or ``bundled:NAME``.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        InputError: a reference, folder or device that cannot be used.
        MissingExtraError: transformers is not installed.
    """
    folder, name = _folder(reference, "model that answers questions")
    module = importlib.import_module("snellen.models.captioners.question_answerers")
    answerer: QuestionAnswerer = module.load(folder, resolve_device(device), name=name)
    return answerer


def _folder(reference: str, what: str) -> tuple[str, str | None]:
    """Folder of a reference, and the name to show where it is not the folder's."""
    scheme, colon, rest = reference.partition(":")
    if not colon or not rest:
        raise InputError(f"{reference!r} is not a {what}; expected hf:FOLDER or bundled:NAME")
    if scheme not in ("hf", "bundled"):
        raise unknown_name(f"kind of {what}", scheme, ["hf", "bundled"])
    return (str(bundled_folder(rest)), reference) if scheme == "bundled" else (rest, None)
