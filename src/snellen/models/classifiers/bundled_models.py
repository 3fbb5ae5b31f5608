"""``bundled:NAME``: classifiers that come with the package, or with small packages of weights."""

from __future__ import annotations

import torch

from snellen.core.errors import unknown_name
from snellen.core.package import asset
from snellen.models.classifiers.artifact_models import load_artifact
from snellen.models.classifiers.assembly import LoadedModel
from snellen.models.classifiers.efficientnet_lite import VARIANTS, load_variant

#: Embedded artifacts.
ARTIFACTS = ("fashion-cnn", "fashion-judge", "scene-cnn")


def load(rest: str, device: torch.device) -> LoadedModel:
    """Load a bundled classifier by name.

    Raises:
        UnknownNameError: no such name.
        MissingExtraError: the weights are in a package that is not installed.
    """
    if rest in ARTIFACTS:
        return load_artifact(asset(rest), name=f"bundled:{rest}")
    if rest in VARIANTS:
        return load_variant(rest)
    raise unknown_name("bundled classifier", rest, [*ARTIFACTS, *VARIANTS])
