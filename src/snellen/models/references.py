"""Models from references: strings ``scheme:rest``, with one table of loaders for each kind of model.

Classifiers and encoders of images know more schemes, and have loaders of their own.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from snellen.core.errors import InputError, unknown_name
from snellen.models.weights.bundled_folders import bundled_folder
from snellen.models.weights.devices import resolve_device

if TYPE_CHECKING:
    from snellen.models.captioners.protocol import Captioner, QuestionAnswerer
    from snellen.models.detectors.protocol import Detector
    from snellen.models.dual_encoders.towers import TwoTower
    from snellen.models.segmenters.protocol import Segmenter


@dataclass(frozen=True)
class Kind:
    """A kind of model, and what loads it.

    Args:
        noun: what it is called.
        forms: its references, for messages.
        loaders: scheme → "module:function"; a loader takes what follows the colon, the device and the name to show.
            Modules are imported when they are used.
        bare: schemes that stand alone.
        configurations: of a bundled folder: the file that names a scheme, for others than ``hf``.
    """

    noun: str
    forms: str
    loaders: Mapping[str, str]
    bare: tuple[str, ...] = ()
    configurations: Mapping[str, str] | None = None

    def load(self, reference: str, device: str) -> Any:  # noqa: ANN401 - what the table of a kind makes
        """Load what a reference names, from this machine.

        Raises:
            InputError: a reference, file or device that cannot be used.
            MissingExtraError: the library of the model is not installed.
        """
        scheme, _, rest = reference.partition(":")
        if not scheme or bool(rest) == (scheme in self.bare):
            raise InputError(f"{reference!r} is not a {self.noun}; expected one of: {self.forms}")
        name = None
        if scheme == "bundled":
            folder, name = bundled_folder(rest), reference
            files = (self.configurations or {}).items()
            scheme = next((other for other, file in files if (folder / file).is_file()), "hf")
            rest = str(folder)
        if scheme not in self.loaders:
            raise unknown_name(f"kind of {self.noun}", scheme, [*self.loaders, "bundled"])
        module, _, function = self.loaders[scheme].partition(":")
        return getattr(importlib.import_module(module), function)(rest, resolve_device(device), name=name)


_CAPTIONERS = Kind(
    "captioner",
    "hf:FOLDER, bundled:NAME",
    {"hf": "snellen.models.captioners.hugging_face_captioners:load"},
)
_QUESTION_ANSWERERS = Kind(
    "model that answers questions",
    "hf:FOLDER, bundled:NAME",
    {"hf": "snellen.models.captioners.question_answerers:load"},
)
_DETECTORS = Kind(
    "detector",
    "hf:FOLDER, bundled:NAME",
    {"hf": "snellen.models.detectors.hugging_face_detectors:load"},
)
_SEGMENTERS = Kind(
    "segmenter",
    "hf:FOLDER, bundled:NAME, isnet:FILE.onnx, grabcut",
    {
        "grabcut": "snellen.models.segmenters.grabcut_segmenter:load",
        "hf": "snellen.models.segmenters.sam_segmenters:load",
        "isnet": "snellen.models.segmenters.isnet_segmenters:load",
    },
    bare=("grabcut",),
)
_TWO_TOWERS = Kind(
    "text–image model",
    "hf:FOLDER, openclip:FOLDER, openclip:NAME@FILE.safetensors, bundled:NAME",
    {
        "hf": "snellen.models.dual_encoders.hugging_face_towers:load",
        "openclip": "snellen.models.dual_encoders.openclip_towers:load",
    },
    configurations={"openclip": "open_clip_config.json"},
)


def load_captioner(reference: str, *, device: str = "cpu") -> Captioner:
    """Load a captioner; errors are those of :meth:`Kind.load`.

    Args:
        reference: ``hf:FOLDER`` (BLIP, or an image encoder with a language model, of transformers) or ``bundled:NAME``.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    """
    captioner: Captioner = _CAPTIONERS.load(reference, device)
    return captioner


def load_question_answerer(reference: str, *, device: str = "cpu") -> QuestionAnswerer:
    """Load a model that answers questions about images; errors are those of :meth:`Kind.load`.

    Args:
        reference: ``hf:FOLDER`` (BLIP for question answering or LLaVA, of transformers) or ``bundled:NAME``.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    """
    answerer: QuestionAnswerer = _QUESTION_ANSWERERS.load(reference, device)
    return answerer


def load_detector(reference: str, *, device: str = "cpu") -> Detector:
    """Load a detector that finds phrases; errors are those of :meth:`Kind.load`.

    Args:
        reference: ``hf:FOLDER`` (Grounding DINO, OWL-ViT or OWLv2 of transformers) or ``bundled:NAME``.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    """
    detector: Detector = _DETECTORS.load(reference, device)
    return detector


def load_segmenter(reference: str, *, device: str = "cpu") -> Segmenter:
    """Load a segmenter; errors are those of :meth:`Kind.load`.

    >>> load_segmenter("sam:facebook/sam-vit-base")
    Traceback (most recent call last):
    snellen.core.errors.UnknownNameError: unknown kind of segmenter 'sam'. Known: bundled, grabcut, hf, isnet

    Args:
        reference: ``hf:FOLDER`` (a SAM of transformers, prompted by points or boxes), ``bundled:NAME`` (the same, from
            the package), ``isnet:FILE.onnx`` (the salient object, without prompts), or ``grabcut`` (a method without
            weights, prompted by points or boxes).
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    """
    segmenter: Segmenter = _SEGMENTERS.load(reference, device)
    return segmenter


def load_two_tower(reference: str, *, device: str = "cpu") -> TwoTower:
    """Load a text–image model; errors are those of :meth:`Kind.load`.

    Args:
        reference: ``hf:FOLDER`` (CLIP, SigLIP or VisionTextDualEncoder of transformers), ``openclip:FOLDER``
            (open_clip_config.json and open_clip_model.safetensors), ``openclip:NAME@FILE.safetensors`` (an architecture
            of open_clip and its weights), or ``bundled:NAME``.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    """
    tower: TwoTower = _TWO_TOWERS.load(reference, device)
    return tower
