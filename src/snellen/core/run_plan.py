"""What every plan of a run with a model holds: the model, the images, the machine and the code."""

from __future__ import annotations

import hashlib
import json
import platform
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import PIL
import torch

from snellen.core.classifier import Classifier
from snellen.core.factors import FACTORS
from snellen.core.images import ImageSet
from snellen.core.package import code_hash
from snellen.core.progress import Progress
from snellen.version import __version__

#: Packages whose version can change a result, where they are installed.
PACKAGES = ("torch", "numpy", "pyarrow", "timm", "torchvision", "transformers", "onnxruntime")


def describe(classifier: Classifier) -> dict[str, Any]:
    """What a reader must know about the model."""
    return {
        "name": classifier.name,
        "identity": classifier.identity,
        "classes": len(classifier.class_names),
        "task": classifier.task,
        "output": classifier.output,
        "differentiable": classifier.differentiable,
        "preparation": classifier.preparation.model_dump(mode="json"),
        "preprocessing": classifier.preprocessing,
        "notes": list(classifier.notes),
    }


def describe_model(classifier: Classifier) -> dict[str, Any]:
    """The same, with the identity of this model."""
    return {
        **describe(classifier),
        "fingerprint": classifier.fingerprint(),
        "class_names": list(classifier.class_names),
    }


def describe_data(images: ImageSet, progress: Progress) -> dict[str, Any]:
    """Name, fingerprint and size of a set of images; its fingerprint reads every file once."""
    return {"name": images.name, "fingerprint": images.fingerprint(progress), "images": len(images)}


def describe_beside(images: ImageSet) -> dict[str, Any]:
    """A hash of units, groups and the contents of masks, where a table, a folder or a manifest gave them.

    The fingerprint of the images holds none of these. Every mask that is a file is read once.
    """
    masks = [images.mask_hash(index) for index in range(len(images))]
    has_factors = FACTORS in images.table.column_names
    if not {"table", "masks"} & set(images.reference or ()) and not any(masks) and not has_factors:
        return {}
    known = [*(images.column(name) for name in ("unit_id", "group", "bag_id", "split", "mask")), masks]
    known += [images.column(FACTORS)] * has_factors
    return {"beside": hashlib.sha256(json.dumps(known).encode()).hexdigest()}


def describe_machine(classifier: Classifier | None) -> dict[str, Any]:
    """What computes: device, processor, threads, a hash of this package's code, versions."""
    return {
        "device": "cpu" if classifier is None else classifier.device.type,
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "code": code_hash(),
        "versions": {
            "snellen": __version__,
            "python": platform.python_version(),
            "pillow": PIL.__version__,
            **_installed(),
        },
    }


@cache
def _installed() -> dict[str, str]:
    """Versions of packages that a result may depend on, of those that are there."""
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
