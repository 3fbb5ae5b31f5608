"""Models that decide the class of each pixel, as classifiers of task ``segment``."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from snellen.core.artifact import Artifact
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.models.classifiers.artifact_models import untrained
from snellen.models.weights.state_dict_file import load_strictly


def load_pixel_classifier(folder: os.PathLike[str] | str, *, device: str = "cpu") -> Classifier:
    """Load an artifact of kind ``segmenter``: images (n, 3, h, w) in [0, 1] → scores (n, k, h, w).

    Args:
        folder: with weights.safetensors and card.json.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        InputError: the folder holds no artifact, or one of another kind.
    """
    artifact = Artifact.load(Path(folder))
    return pixel_classifier(artifact, device=device)


def lines_that_predict(folder: str, images: str) -> str:
    """Lines of Python that print the classes of an image's pixels, for a folder and a reference of images.

    >>> print(lines_that_predict("trained", "my images").splitlines()[3])
    segmenter = load_pixel_classifier('trained')
    """
    return "\n".join(
        (
            "import snellen",
            "from snellen.core.preprocessing import to_unit",
            "from snellen.models.segmenters.pixel_classifiers import load_pixel_classifier",
            f"segmenter = load_pixel_classifier({folder!r})",
            f"image = snellen.load_images({images!r}).read(0)",
            "scores = segmenter(to_unit(segmenter.preparation.pixels(image))[None])",
            "print(segmenter.class_names, segmenter.predict(scores)[0])",
        )
    )


def pixel_classifier(artifact: Artifact, *, device: str = "cpu") -> Classifier:
    """The classifier of an artifact; errors are those of :func:`load_pixel_classifier`."""
    card = artifact.card
    if card.kind != "segmenter":
        raise InputError(f"{card.name} is a {card.kind}, and a segmenter is needed; load_classifier loads classifiers")
    network = untrained(dict(card.architecture))
    load_strictly(network, artifact.tensors, source=card.name)
    return Classifier(
        network,
        class_names=card.class_names,
        preparation=Preprocessing.model_validate(card.preparation),
        task="segment",
        name=card.name,
        identity=card.sha256 or None,
        recipe=card.lineage.recipe,
        history=card.history,
        device=torch.device(device),
    )
