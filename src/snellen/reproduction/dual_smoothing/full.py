"""The paper's experiment on a GPU: ResNet-110 on CIFAR-10, and a denoiser before a ResNet-50 on ImageNet.

Everything comes by reference, from environment variables, and nothing is downloaded. Plain smoothing and halves share
code, samples and largest radius. The networks of halves are fine-tuned from the one of whole images, as published.
ImageNet is read and certified 25 images at a time. Estimated from numbers of calls and not measured: six trainings of
CIFAR-10 take two hours each and its 500 images three hours a network with 100,000 samples; 500 images of ImageNet take
15 million calls of ADM, five days of an H100. A training that is finished is not made again, and refused where it was
made otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.files.labels import align_labels
from snellen.data.loading import prepared_batches
from snellen.data.references import load_images
from snellen.methods.smoothing.by_votes import VoteCertificate
from snellen.methods.smoothing.consistency_smoothing import ConsistencySmoothing
from snellen.methods.smoothing.dual_smoothing import DualSmoothing
from snellen.methods.smoothing.gaussian_smoothing import GaussianSmoothing
from snellen.methods.smoothing.noisy_training import NoisyTraining
from snellen.methods.smoothing.smoothing import Smoothing
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.dual_smoothing.votes import (
    ALPHA,
    SELECTION,
    Votes,
    figures_of,
    overstated,
    radii_of,
    votes_of,
)
from snellen.reproduction.finished_training import FinishedTrainings
from snellen.reproduction.sample import Figure
from snellen.training.fitting.groundwork import initial_network
from snellen.version import __version__

TRAIN, TEST, IMAGENET, CLASSIFIER, DENOISER, FOLDER = (
    f"SNELLEN_SMOOTHING_{name}" for name in ("TRAIN", "TEST", "IMAGENET", "CLASSIFIER", "DENOISER", "FOLDER")
)

#: Images of ImageNet that are certified together.
_TOGETHER = 25

#: Optional: where it runs.
DEVICE = "SNELLEN_SMOOTHING_DEVICE"

#: How networks are trained, by the name in figures.
RECIPES: Mapping[str, type[NoisyTraining]] = {"gaussian": GaussianSmoothing, "consistency": ConsistencySmoothing}


@dataclass(frozen=True)
class FullSize:
    """How much is trained and certified.

    Args:
        depth: of the network for CIFAR-10.
        side: of its images, pixels.
        arms: recipe, and noise of plain smoothing; that of halves is smaller by √2.
        plan: of the network of whole images.
        further: of the networks of halves.
        every: one of so many test images of CIFAR-10 is certified.
        samples: of each branch, on CIFAR-10.
        imagenet: images of ImageNet that are certified, drawn by the seed.
        imagenet_sigma: noise of plain smoothing there.
        imagenet_samples: of each branch there.
        selection: samples that choose the class there.
        chunk: noisy images in one pass there.
    """

    depth: int = 110
    side: int = 32
    arms: tuple[tuple[str, float], ...] = (("gaussian", 0.25), ("gaussian", 0.5), ("consistency", 0.5))
    plan: Mapping[str, Any] = field(default_factory=lambda: {"epochs": 90, "batch_size": 256, "learning_rate": 1e-3})
    further: Mapping[str, Any] = field(default_factory=lambda: {"epochs": 40, "batch_size": 256, "learning_rate": 1e-3})
    every: int = 20
    samples: int = 100_000
    imagenet: int = 500
    imagenet_sigma: float = 0.5
    imagenet_samples: int = 10_000
    selection: int = SELECTION
    chunk: int = 50


FULL = FullSize()


def full(seed: int, progress: Progress, *, size: FullSize = FULL) -> Mapping[str, Figure]:
    """Radii of whole images and of halves.

    Args:
        seed: of weights, order, noise and images.
        progress: callback that receives progress updates.
        size: how much is trained and certified.

    Returns:
        For each arm ``cifar.RECIPE.SIGMA.WAY.FIGURE``, with SIGMA in hundredths, WAY ``plain``, ``dual`` (as many
        samples in each network), ``dual_half`` (as many forward passes in all) and ``published`` (the published formula
        on dual's votes), and FIGURE ``acr`` and ``at_R``; ``imagenet.plain`` and ``.dual`` likewise. All are of each
        image; ``cifar.RECIPE.SIGMA.overstated`` is the ratio of the published to the proven average radius, less 1.

    Raises:
        InputError: a variable is not set, images that do not fit, or a folder that holds another training.
    """
    absent = [name for name in (TRAIN, TEST, IMAGENET, CLASSIFIER, DENOISER, FOLDER) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}. {TRAIN} and {TEST} are images of CIFAR-10 by reference, "
            f"{IMAGENET} labelled validation images of ImageNet. {CLASSIFIER} is a classifier of the latter "
            f"(torchvision:resnet50@FILE), {DENOISER} diffusers:FOLDER of ADM of 256 pixels, unconditional, {FOLDER} a "
            f"folder for trainings"
        )
    device = os.environ.get(DEVICE) or ("cuda" if torch.cuda.is_available() else "cpu")
    train, test = load_images(os.environ[TRAIN]), load_images(os.environ[TEST])
    if train.class_names != test.class_names or not train.class_names:
        raise InputError(f"{TRAIN} and {TEST} have different classes, or not in one order")
    certified = test.select(list(range(0, len(test), size.every)))
    rng, folder = Randomness(seed), Path(os.environ[FOLDER]) / f"seed-{seed}"
    figures: dict[str, Figure] = {}
    finished = FinishedTrainings(train)
    for recipe, sigma in size.arms:
        name = f"{recipe}.{round(100 * sigma)}"
        networks = _networks(finished, recipe, sigma, folder / name, size, rng, progress)
        found = _certified(networks, certified, sigma, size, rng.child("votes", name), device, progress)
        figures |= {f"cifar.{name}.{key}": value for key, value in found.items()}
    return figures | _denoised(size, rng, device, seed, progress)


def _networks(
    finished: FinishedTrainings,
    recipe: str,
    sigma: float,
    folder: Path,
    size: FullSize,
    rng: Randomness,
    progress: Progress,
) -> dict[bool, Path]:
    """Folders of the network of whole images, and of the pair that is fine-tuned from it."""
    train, own = finished.train, rng.child("training", recipe)
    made = {split_pixels: folder / ("halves" if split_pixels else "whole") for split_pixels in (False, True)}
    for split_pixels, place in made.items():
        base = Artifact.load(made[False]) if split_pixels else _first(train, size, rng)
        method = RECIPES[recipe](
            sigma=sigma / 2**0.5 if split_pixels else sigma,
            split_pixels=split_pixels,
            flips=True,
            plan=dict(size.further if split_pixels else size.plan),
        )
        if place.is_dir():
            finished.check(place, method, base=base, rng=own)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        fitted = method.fit(
            train, base=base, rng=own, checkpoint=place.with_suffix(".safetensors"), progress=progress
        )  # fmt: skip
        fitted.save(place)
    return made


def _first(train: ImageSet, size: FullSize, rng: Randomness) -> Artifact:
    """Initial weights, the same for all arms."""
    names = train.class_names or ()
    record = {"name": "cifar_resnet", "depth": size.depth, "class_count": len(names)}
    card = Card(
        name="first weights",
        kind="classifier",
        architecture=record,
        class_names=names,
        preparation=Preprocessing(size=(size.side, size.side)).model_dump(mode="json"),
        lineage=Lineage(recipe={}, data="", seed=rng.seed, code_version=__version__),
    )
    return Artifact(initial_network(record, rng.child("first weights")).state_dict(), card)


def _certified(
    networks: Mapping[bool, Path],
    images: ImageSet,
    sigma: float,
    size: FullSize,
    rng: Randomness,
    device: str,
    progress: Progress,
) -> dict[str, Figure]:
    """Figures of both ways at equal samples and at equal forward passes, and of the published formula."""
    votes: dict[bool, Votes] = {}
    for split_pixels, folder in networks.items():
        classifier = load_classifier(f"artifact:{folder}", device=device)
        batches = list(prepared_batches(images, classifier.preparation, 250))
        labels = torch.from_numpy(images.labels[[row for batch in batches for row in batch.indices]])
        votes[split_pixels] = votes_of(
            classifier,
            to_unit(torch.cat([batch.pixels for batch in batches if batch.ids])),
            labels,
            sigma=sigma / 2**0.5 if split_pixels else sigma,
            split_pixels=split_pixels,
            samples=(size.samples // 2, size.samples),
            rng=rng.child(str(int(split_pixels))),
            progress=progress,
            task=f"votes of {'halves' if split_pixels else 'whole images'}",
            grey=False,
        )
    radii = radii_of(votes[False], votes[True], size.samples)
    return figures_of(radii) | {"overstated": overstated(radii)}


def _denoised(size: FullSize, rng: Randomness, device: str, seed: int, progress: Progress) -> dict[str, Figure]:
    """Both ways with a denoiser before a classifier of clean images; each half is denoised alone."""
    classifier = load_classifier(os.environ[CLASSIFIER], device=device)
    images = align_labels(load_images(os.environ[IMAGENET]), classifier.class_names)
    known = images.select([row for row, label in enumerate(images.labels.tolist()) if label >= 0])
    if not len(known):
        raise InputError(f"{IMAGENET} has no image with a label of {classifier.name}")
    numbers = {
        "samples": size.imagenet_samples, "selection": size.selection, "alpha": ALPHA, "grey": False,
        "denoiser": os.environ[DENOISER], "chunk": size.chunk,
    }  # fmt: skip
    sigma = size.imagenet_sigma
    ways: dict[str, VoteCertificate] = {
        "plain": Smoothing(sigma=sigma, **numbers),
        "dual": DualSmoothing(sigma=sigma / 2**0.5, view="fill", **numbers),
    }
    return {
        f"imagenet.{name}": value
        for name, value in figures_of(
            {way: _radii(method, classifier, known, size, rng, seed, progress) for way, method in ways.items()}
        ).items()
    }


def _radii(
    method: VoteCertificate,
    classifier: Classifier,
    images: ImageSet,
    size: FullSize,
    rng: Randomness,
    seed: int,
    progress: Progress,
) -> NDArray[np.float64]:
    """Proven radii of the right class, 0 elsewhere, of some images at a time."""
    chosen = images.limit(size.imagenet, seed)
    found, task = list[float](), f"{method.name} with a denoiser"
    progress.begin(task, len(chosen))
    for batch in prepared_batches(chosen, classifier.preparation, _TOGETHER):
        if batch.ids:
            shown = to_unit(batch.pixels).to(classifier.device)
            proven = method.certify(classifier, shown, rng=rng.child("denoised").for_examples(batch.ids))
            right = proven.prediction.cpu().numpy() == chosen.labels[batch.indices]
            found += np.where(right, np.maximum(proven.radius.cpu().numpy(), 0.0), 0.0).tolist()
        progress.advance(task, len(batch.ids) + len(batch.rejected))
    progress.finish(task)
    return np.array(found)
