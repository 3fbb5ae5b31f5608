"""Published networks on a GPU: families of image classifiers, language models, and vision-language models.

Everything comes by reference, from environment variables, and nothing is downloaded. Of the paper's experiments no
figure is known, so this measures its statements and reproduces no table. Images are read and measured in blocks: memory
does not grow with their number. Estimated from numbers of passes and not measured, on one GPU of 80 GB: each family of
three classifiers of 224 pixels 30 hours and 30 GB, three language models of a billion weights 20 hours and 30 GB, two
LLaVA of seven billion 60 hours and 70 GB.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.references import load_images
from snellen.metrics.transfer_rates import TransferPair
from snellen.models.classifiers.references import load_classifier
from snellen.models.layers.layer_edits import find_layers
from snellen.reproduction.representation_transfer.between import Layer, measure_layer
from snellen.reproduction.representation_transfer.controls import control_figures
from snellen.reproduction.representation_transfer.depth_figures import (
    other_ways,
    prefixed,
    study_figures,
)
from snellen.reproduction.representation_transfer.published_speaking import (
    PublishedSpeaking,
    llava_figures,
    published_language_figures,
)
from snellen.reproduction.representation_transfer.setting import Cut, Data, ImageStudy, Pictures, Strength
from snellen.reproduction.sample import Figure

#: Family → variable of its models, and variable of its labelled images.
FAMILIES: Mapping[str, tuple[str, str]] = {
    "cifar": ("SNELLEN_TRANSFER_CIFAR_MODELS", "SNELLEN_TRANSFER_CIFAR"),
    "resnets": ("SNELLEN_TRANSFER_RESNETS", "SNELLEN_TRANSFER_IMAGENET"),
    "transformers": ("SNELLEN_TRANSFER_VITS", "SNELLEN_TRANSFER_IMAGENET"),
}
LANGUAGE, PROMPTS, LLAVA = (f"SNELLEN_TRANSFER_{name}" for name in ("LANGUAGE", "PROMPTS", "LLAVA"))

#: What each variable holds; several references are separated by semicolons.
WANTED: Mapping[str, str] = {
    "SNELLEN_TRANSFER_CIFAR": "a reference of labelled images of CIFAR-10",
    "SNELLEN_TRANSFER_CIFAR_MODELS": "classifiers of them, of one family, each trained from its own initial weights",
    "SNELLEN_TRANSFER_IMAGENET": "a reference of ImageNet's validation images",
    "SNELLEN_TRANSFER_RESNETS": "ResNets for them whose blocks give equal shapes",
    "SNELLEN_TRANSFER_VITS": "vision transformers for them of one width",
    LANGUAGE: "causal language models (hf:FOLDER) of one vocabulary and one width",
    PROMPTS: "a text file, one prompt a line",
    LLAVA: "LLaVA models (hf:FOLDER) whose visual tokens have one shape",
}

#: Full names of blocks, by the library that wrote the network.
BLOCKS = (
    "*layer[1-4].[0-9]", "*layer[1-4].[0-9][0-9]", "*blocks.[0-9]", "*blocks.[0-9][0-9]", "*encoder_layer_[0-9]",
    "*encoder_layer_[0-9][0-9]", "*stages.[0-9].layers.[0-9]", "*encoder.layer.[0-9]", "*encoder.layer.[0-9][0-9]",
    "*vit.layers.[0-9]", "*vit.layers.[0-9][0-9]",
)  # fmt: skip


@dataclass(frozen=True)
class FullSize:
    """How much of everything.

    Attributes:
        calibrate: images to calibrate sizes on.
        fit: to fit maps on; 2,048 channels at 7 × 7 places need 112 images or more.
        measure: of a family.
        block: images that are measured at a time.
        depths: hidden layers of a family, at most, evenly over its blocks.
        strength: of the attacks on classifiers.
        speaking: the parts with language.
    """

    calibrate: int = 100
    fit: int = 200
    measure: int = 1000
    block: int = 50
    depths: int = 10
    strength: Strength = field(default_factory=lambda: Strength(together=50))
    speaking: PublishedSpeaking = field(default_factory=PublishedSpeaking)


def full(seed: int, progress: Progress, *, size: FullSize | None = None) -> Mapping[str, Figure]:
    """Figures of every family, of language models, and of vision-language models.

    Returns:
        By family those of
        :func:`~snellen.reproduction.representation_transfer.depth_figures.study_figures`, ``basis`` (the first model in
        rotated bases), ``l2`` and ``universal``. ``language``: ``data`` (suffixes) and residual streams at a quarter,
        half and three quarters of the depth. ``llava``: ``data`` (suffixes of the question) and ``projected`` (visual
        tokens).

    Raises:
        InputError: a variable is not set, or names models that do not belong together.
    """
    absent = [f"{name} ({what})" for name, what in WANTED.items() if not os.environ.get(name)]
    if absent:
        raise InputError(f"the full experiment of system 16 needs {'; '.join(absent)}")
    size, rng = size or FullSize(), Randomness(seed).child("adversarial transfer")
    figures: dict[str, Figure] = {}
    for family, (models, images) in FAMILIES.items():
        measured = family_figures(_listed(models), load_images(os.environ[images]), size, rng.child(family), progress)
        figures |= prefixed(family, measured)
    spoken, device = size.speaking, _device()
    figures |= prefixed(
        "language",
        published_language_figures(_listed(LANGUAGE), Path(os.environ[PROMPTS]), spoken, rng.child("language"), device),
    )
    shown = load_images(os.environ[FAMILIES["resnets"][1]])
    return figures | prefixed("llava", llava_figures(_listed(LLAVA), shown, spoken, rng.child("llava"), device))


def family_figures(
    references: list[str], images: ImageSet, size: FullSize, rng: Randomness, progress: Progress
) -> dict[str, Figure]:
    """Figures of one family of classifiers.

    Raises:
        InputError: fewer than two models, models of other classes or another preprocessing, or too few images.
    """
    models = {one: load_classifier(one, device=_device()) for one in references}
    first = next(iter(models.values()))
    for one in models.values():
        # Names of classes are written in many ways. Another order leaves too few images that all models get right.
        if len(one.class_names) != len(images.class_names or ()) or one.preparation != first.preparation:
            raise InputError(
                f"{one.name} has {len(one.class_names)} classes and the preprocessing {one.preparation}; expected "
                f"the {len(images.class_names or ())} classes of {images.name} and the preprocessing of {first.name}"
            )
    wanted = size.calibrate + size.fit + size.measure
    if len(models) < 2 or len(images) < wanted:
        raise InputError(f"transfer needs two models or more and {wanted} images; got {len(models)} and {len(images)}")
    rows = torch.randperm(len(images), generator=rng.generator("images"))[:wanted]
    parts = rows.split([size.calibrate, size.fit, size.measure])
    blocks = parts[2].split(size.block)
    shown = partial(_shown, first, images)
    data = Data(shown(parts[0]), shown(parts[1]), shown(blocks[0]))
    study = ImageStudy(data, size.strength, rng, models, _depths(first, size.depths))

    def in_blocks(_: ImageStudy, depth: str, cuts: Mapping[str, Cut]) -> Layer:
        layers = list(_layers(study, depth, cuts, map(shown, blocks[1:])))
        return _joined(layers)

    middle = study.layers[len(study.layers) // 2]
    return {
        **study_figures(study, progress, in_blocks),
        **other_ways(study),
        **control_figures(study, next(iter(models)), middle, None),
    }


def _layers(study: ImageStudy, depth: str, cuts: Mapping[str, Cut], blocks: Iterator[Pictures]) -> Iterator[Layer]:
    first = measure_layer(study, depth, cuts)
    yield first
    for block in blocks:
        other = replace(study, data=replace(study.data, measure=block))
        moved = {name: cut.measuring(block) for name, cut in cuts.items()}
        # Tensors of a block are not kept: what is joined is outcomes.
        found = measure_layer(other, depth, moved, known=first)
        yield replace(found, sources={}, maps={})


def _joined(layers: list[Layer]) -> Layer:
    """Blocks of images as one; sizes and maps are those of the first."""
    names = ("common", "on_source", "on_target", "same_class")
    drawn = ("random_on_source", "random_on_target")

    def one(pairs: tuple[TransferPair, ...]) -> TransferPair:
        arrays: dict[str, Any] = {name: np.concatenate([getattr(pair, name) for pair in pairs]) for name in names}
        arrays |= {name: np.concatenate([getattr(pair, name) for pair in pairs], axis=1) for name in drawn}
        return replace(pairs[0], **arrays)

    pairs = {
        kind: [one(found) for found in zip(*(layer.pairs[kind] for layer in layers), strict=True)]
        for kind in layers[0].pairs
    }
    own = {name: np.concatenate([layer.own[name] for layer in layers]) for name in layers[0].own}
    return replace(layers[0], pairs=pairs, own=own)


def _shown(classifier: Classifier, images: ImageSet, rows: Tensor) -> Pictures:
    prepared = torch.stack([classifier.prepare(images.read(row)) for row in rows.tolist()]).to(classifier.device)
    return Pictures(prepared, torch.from_numpy(images.labels)[rows].to(classifier.device))


def _depths(classifier: Classifier, count: int) -> tuple[str, ...]:
    """At most so many blocks of a network, evenly, the last one among them."""
    if classifier.module is None:
        raise InputError(f"{classifier.name} is no network of torch, and has no layers to attack")
    present = [one for one, _ in classifier.module.named_modules()]
    known = [pattern for pattern in BLOCKS if any(fnmatchcase(name, pattern) for name in present)]
    if not known:
        raise InputError(f"{classifier.name} has no blocks that are named like {', '.join(BLOCKS)}")
    blocks = list(find_layers(classifier.module, known))
    chosen = np.linspace(len(blocks) - 1, 0, min(count, len(blocks))).round().astype(int)[::-1]
    return tuple(blocks[place] for place in chosen)


def _listed(variable: str) -> list[str]:
    return [one.strip() for one in os.environ[variable].split(";") if one.strip()]


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
