"""Snellen examines image classifiers and treats what it finds.

>>> import snellen
>>> classifier = snellen.load_classifier("bundled:fashion-cnn")
>>> images = snellen.load_images("bundled:fashion-mnist")
>>> report = snellen.audit(classifier, images.limit(20), checks=["clean"])
>>> report.metrics["clean.accuracy"].value > 0.7
True

Names are resolved on first use, so that ``import snellen`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from snellen.version import __version__ as __version__

# Public name → module. The checked-in list in tests/public_names.txt must agree.
_PUBLIC = {
    "Artifact": "snellen.artifact",
    "Budget": "snellen.budget",
    "Classifier": "snellen.classifier",
    "Evidence": "snellen.evidence",
    "Finding": "snellen.finding",
    "ImageSet": "snellen.images",
    "Method": "snellen.method",
    "Preparation": "snellen.preparation",
    "Provenance": "snellen.images",
    "Randomness": "snellen.randomness",
    "Run": "snellen.run",
    "Spent": "snellen.budget",
    "attack": "snellen.writing.attacked_images",
    "audit": "snellen.auditing.audit",
    "certify": "snellen.writing.certified_images",
    "compare": "snellen.comparing.compare",
    "explain": "snellen.writing.explained_images",
    "export_onnx": "snellen.models.onnx_export",
    "load_captioner": "snellen.models.captioners.references",
    "load_classifier": "snellen.models.references",
    "load_generator": "snellen.diffusion.loading",
    "load_images": "snellen.data.references",
    "load_judge": "snellen.models.factor_judge",
    "load_language_model": "snellen.models.language.references",
    "load_question_answerer": "snellen.models.captioners.references",
    "load_segmenter": "snellen.models.segmenters.references",
    "load_text_encoder": "snellen.models.text_encoders.references",
    "load_two_tower": "snellen.models.two_tower.references",
    "reproduce": "snellen.experiments.runner",
    "scan": "snellen.writing.scanned_images",
    "shift": "snellen.writing.shifted_images",
    "shift_nuisance": "snellen.writing.nuisance_images",
    "systems": "snellen.system",
    "train": "snellen.delivery.train",
    "write_images": "snellen.writing.image_folder",
}

__all__ = ["__version__", *sorted(_PUBLIC)]  # noqa: PLE0604 - all entries are strings


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'snellen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})


if TYPE_CHECKING:
    from snellen.artifact import Artifact as Artifact
    from snellen.auditing.audit import audit as audit
    from snellen.budget import Budget as Budget
    from snellen.budget import Spent as Spent
    from snellen.classifier import Classifier as Classifier
    from snellen.comparing.compare import compare as compare
    from snellen.data.references import load_images as load_images
    from snellen.delivery.train import train as train
    from snellen.diffusion.loading import load_generator as load_generator
    from snellen.evidence import Evidence as Evidence
    from snellen.experiments.runner import reproduce as reproduce
    from snellen.finding import Finding as Finding
    from snellen.images import ImageSet as ImageSet
    from snellen.images import Provenance as Provenance
    from snellen.method import Method as Method
    from snellen.models.captioners.references import load_captioner as load_captioner
    from snellen.models.captioners.references import load_question_answerer as load_question_answerer
    from snellen.models.factor_judge import load_judge as load_judge
    from snellen.models.language.references import load_language_model as load_language_model
    from snellen.models.onnx_export import export_onnx as export_onnx
    from snellen.models.references import load_classifier as load_classifier
    from snellen.models.segmenters.references import load_segmenter as load_segmenter
    from snellen.models.text_encoders.references import load_text_encoder as load_text_encoder
    from snellen.models.two_tower.references import load_two_tower as load_two_tower
    from snellen.preparation import Preparation as Preparation
    from snellen.randomness import Randomness as Randomness
    from snellen.run import Run as Run
    from snellen.system import systems as systems
    from snellen.writing.attacked_images import attack as attack
    from snellen.writing.certified_images import certify as certify
    from snellen.writing.explained_images import explain as explain
    from snellen.writing.image_folder import write_images as write_images
    from snellen.writing.nuisance_images import shift_nuisance as shift_nuisance
    from snellen.writing.scanned_images import scan as scan
    from snellen.writing.shifted_images import shift as shift
