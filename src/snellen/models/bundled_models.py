"""``bundled:NAME``: classifiers that come with the package, or with small packages of weights."""

from __future__ import annotations

from pathlib import Path

import torch

from snellen.errors import unknown_name
from snellen.models.artifact_models import load_artifact
from snellen.models.efficientnet_lite import VARIANTS, load_variant
from snellen.models.loaded_model import LoadedModel

#: Artifacts inside the package.
ASSETS = Path(__file__).parents[1] / "assets"
ARTIFACTS = ("fashion-cnn", "fashion-judge", "scene-cnn")


def load(rest: str, device: torch.device) -> LoadedModel:
    """Load a bundled classifier by name.

    Raises:
        UnknownNameError: no such name.
        MissingExtraError: the weights are in a package that is not installed.
    """
    if rest in ARTIFACTS:
        return load_artifact(ASSETS / rest, name=f"bundled:{rest}")
    if rest in VARIANTS:
        return load_variant(rest)
    raise unknown_name("bundled classifier", rest, [*ARTIFACTS, *VARIANTS])
