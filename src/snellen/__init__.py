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
import sys
import warnings
from typing import TYPE_CHECKING

from snellen.version import __version__ as __version__

# Public name → module. The checked-in list in tests/public_names.txt must agree.
_PUBLIC = {
    "Artifact": "snellen.core.artifact",
    "Budget": "snellen.core.budget",
    "Classifier": "snellen.core.classifier",
    "Evidence": "snellen.core.evidence",
    "Finding": "snellen.core.finding",
    "ImageSet": "snellen.core.images",
    "Method": "snellen.core.method",
    "Normalization": "snellen.core.classifier",
    "Preprocessing": "snellen.core.preprocessing",
    "Provenance": "snellen.core.images",
    "Randomness": "snellen.core.randomness",
    "Run": "snellen.core.run",
    "Spent": "snellen.core.budget",
    "as_maite_augmentation": "snellen.verbs.maite",
    "as_maite_dataset": "snellen.verbs.maite",
    "as_maite_metric": "snellen.verbs.maite",
    "as_maite_model": "snellen.verbs.maite",
    "attack": "snellen.verbs.attack",
    "attack_tensors": "snellen.verbs.on_tensors",
    "audit": "snellen.auditing.audit",
    "certify": "snellen.verbs.certify",
    "certify_tensors": "snellen.verbs.on_tensors",
    "cite": "snellen.verbs.cite",
    "compare": "snellen.auditing.compare.compare",
    "evaluate": "snellen.verbs.evaluate",
    "explain": "snellen.verbs.explain",
    "explain_tensors": "snellen.verbs.on_tensors",
    "export_onnx": "snellen.models.classifiers.onnx_export",
    "forget": "snellen.verbs.forget",
    "generate": "snellen.verbs.generate",
    "label": "snellen.systems.language_model_annotation.labelling",
    "list_systems": "snellen.core.system",
    "load_captioner": "snellen.models.references",
    "load_classifier": "snellen.models.classifiers.references",
    "load_detector": "snellen.models.references",
    "load_generator": "snellen.models.diffusion.loading",
    "load_images": "snellen.data.references",
    "load_judge": "snellen.models.classifiers.factor_judge",
    "load_language_model": "snellen.models.language.references",
    "load_question_answerer": "snellen.models.references",
    "load_segmenter": "snellen.models.references",
    "load_text_encoder": "snellen.models.encoders.sentence_encoder",
    "load_two_tower": "snellen.models.references",
    "monitor": "snellen.auditing.compare.production",
    "open_report": "snellen.auditing.compare.run_record",
    "plan": "snellen.runs.estimate",
    "register": "snellen.verbs.register",
    "reproduce": "snellen.reproduction.runner",
    "requirements": "snellen.auditing.compare.requirements_table",
    "sample_size": "snellen.auditing.compare.sample_size",
    "scan": "snellen.verbs.scan",
    "search": "snellen.systems.functional_hashing.cell_search",
    "shift": "snellen.verbs.shift",
    "shift_nuisance": "snellen.systems.continuous_nuisance.nuisance_images",
    "synthesize": "snellen.verbs.synthesize",
    "train": "snellen.verbs.train",
    "treat": "snellen.verbs.treat",
    "treatment_plan": "snellen.verbs.treat",
    "write_images": "snellen.verbs.write_images",
}

# Earlier name → name. Each warns, and goes with the next minor release.
_RENAMED = {"Preparation": "Preprocessing"}

__all__ = ["__version__", *sorted(_PUBLIC)]  # noqa: PLE0604 - all entries are strings


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    if name in _RENAMED:
        new = _RENAMED[name]
        warnings.warn(f"snellen.{name} is snellen.{new} now, and goes in 0.2", DeprecationWarning, stacklevel=2)
        return getattr(sys.modules[__name__], new)
    raise AttributeError(f"module 'snellen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)  # what a reader looks for, and none of what the module is made of


if TYPE_CHECKING:
    from snellen.auditing.audit import audit as audit
    from snellen.auditing.compare.compare import compare as compare
    from snellen.auditing.compare.production import monitor as monitor
    from snellen.auditing.compare.requirements_table import requirements as requirements
    from snellen.auditing.compare.run_record import open_report as open_report
    from snellen.auditing.compare.sample_size import sample_size as sample_size
    from snellen.core.artifact import Artifact as Artifact
    from snellen.core.budget import Budget as Budget
    from snellen.core.budget import Spent as Spent
    from snellen.core.classifier import Classifier as Classifier
    from snellen.core.classifier import Normalization as Normalization
    from snellen.core.evidence import Evidence as Evidence
    from snellen.core.finding import Finding as Finding
    from snellen.core.images import ImageSet as ImageSet
    from snellen.core.images import Provenance as Provenance
    from snellen.core.method import Method as Method
    from snellen.core.preprocessing import Preprocessing as Preprocessing
    from snellen.core.randomness import Randomness as Randomness
    from snellen.core.run import Run as Run
    from snellen.core.system import list_systems as list_systems
    from snellen.data.references import load_images as load_images
    from snellen.models.classifiers.factor_judge import load_judge as load_judge
    from snellen.models.classifiers.onnx_export import export_onnx as export_onnx
    from snellen.models.classifiers.references import load_classifier as load_classifier
    from snellen.models.diffusion.loading import load_generator as load_generator
    from snellen.models.encoders.sentence_encoder import load_text_encoder as load_text_encoder
    from snellen.models.language.references import load_language_model as load_language_model
    from snellen.models.references import load_captioner as load_captioner
    from snellen.models.references import load_detector as load_detector
    from snellen.models.references import load_question_answerer as load_question_answerer
    from snellen.models.references import load_segmenter as load_segmenter
    from snellen.models.references import load_two_tower as load_two_tower
    from snellen.reproduction.runner import reproduce as reproduce
    from snellen.runs.estimate import plan as plan
    from snellen.systems.continuous_nuisance.nuisance_images import shift_nuisance as shift_nuisance
    from snellen.systems.functional_hashing.cell_search import search as search
    from snellen.systems.language_model_annotation.labelling import label as label
    from snellen.verbs.attack import attack as attack
    from snellen.verbs.certify import certify as certify
    from snellen.verbs.cite import cite as cite
    from snellen.verbs.evaluate import evaluate as evaluate
    from snellen.verbs.explain import explain as explain
    from snellen.verbs.forget import forget as forget
    from snellen.verbs.generate import generate as generate
    from snellen.verbs.maite import as_maite_augmentation as as_maite_augmentation
    from snellen.verbs.maite import as_maite_dataset as as_maite_dataset
    from snellen.verbs.maite import as_maite_metric as as_maite_metric
    from snellen.verbs.maite import as_maite_model as as_maite_model
    from snellen.verbs.on_tensors import attack_tensors as attack_tensors
    from snellen.verbs.on_tensors import certify_tensors as certify_tensors
    from snellen.verbs.on_tensors import explain_tensors as explain_tensors
    from snellen.verbs.register import register as register
    from snellen.verbs.scan import scan as scan
    from snellen.verbs.shift import shift as shift
    from snellen.verbs.synthesize import synthesize as synthesize
    from snellen.verbs.train import train as train
    from snellen.verbs.treat import treat as treat
    from snellen.verbs.treat import treatment_plan as treatment_plan
    from snellen.verbs.write_images import write_images as write_images
