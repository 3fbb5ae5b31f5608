"""The paper's experiment on a GPU: the unconditional ADM of 256 pixels, steered to ImageNet's classes by a ResNet-50.

Everything comes by reference, from environment variables, and nothing is downloaded. Synthetic images and the teacher's
answers lie on the disk and are mapped, labelled images are decoded when they are read, and generated ones are judged
batch by batch: memory does not grow with images. Estimated from numbers of calls and not measured: 500,000 synthetic
images (98 GB of the disk) take 12.5 million calls of the denoiser, ten days of an H100; each fit of 300,000 iterations
two days and 40 GB; 10,000 images of a way six hours. A stopped run resumes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.data.files.labels import align_labels
from snellen.data.loading import prepared_batches
from snellen.data.references import load_images
from snellen.methods.generation.class_steer import ClassSteer
from snellen.methods.generation.classifier_scores import Reading
from snellen.methods.generation.generator_call import GeneratorCall
from snellen.methods.generation.made_images import weights_of
from snellen.methods.generation.synthetic_images import written_images
from snellen.methods.generation.teachers import as_prepared, classifier_teacher
from snellen.metrics.generated_images import frechet_distance, inception_score, precision, recall
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.reproduction.plug_and_play_guidance.ways import fitted_ways
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.plug_and_play_guidance.expert_fitting import TransferFit
from snellen.training.parts import StreamedImages
from snellen.training.transforms import random_resized_crops

GENERATOR, GUIDE, JUDGE, TRAIN, REAL, FOLDER = (
    f"SNELLEN_PLUG_AND_PLAY_{name}" for name in ("GENERATOR", "GUIDE", "JUDGE", "TRAIN", "REAL", "FOLDER")
)

#: Optional: where it runs.
DEVICE = "SNELLEN_PLUG_AND_PLAY_DEVICE"

#: Images that are made and judged together.
TOGETHER = 50


@dataclass(frozen=True)
class FullSize:
    """How much is fitted and generated.

    Args:
        ways: see :data:`snellen.reproduction.plug_and_play_guidance.ways.EVERY`.
        fit: of the experts.
        images: generated ones of each way, and real ones beside them.
        scale: w = s + 1.
        steps: of the sampler, DDIM.
        layer: of the judge, whose outputs are the features.
    """

    ways: tuple[str, ...] = ("off_the_shelf", "noise_held", "noise_aware", "supervised", "experts", "one_expert")
    fit: TransferFit = TransferFit(  # noqa: RUF009 - frozen
        synthetic=500_000, iterations=60_000, batch_size=256, learning_rate=1e-4
    )
    images: int = 10_000
    scale: float = 8.5
    steps: int = 25
    layer: str = "avgpool"


FULL = FullSize()


def full(seed: int, progress: Progress, *, size: FullSize = FULL) -> Mapping[str, Figure]:
    """FID, Inception score, precision, recall and the judge's accuracy of every way and without guidance.

    Args:
        seed: of images, noise, order and weights.
        progress: callback that receives progress updates.
        size: how much is fitted and generated.

    Returns:
        ``imagenet.WAY.FIGURE`` with WAY those of the size and ``none``, and FIGURE ``frechet``, ``inception_score``,
        ``precision``, ``recall`` and ``accuracy``.

    Raises:
        InputError: a variable is not set; guide and judge of different classes, or the same network; too few real
            images.
    """
    absent = [name for name in (GENERATOR, GUIDE, JUDGE, TRAIN, REAL, FOLDER) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}. {GENERATOR} is diffusers:FOLDER of the unconditional ADM "
            f"of 256 pixels. {GUIDE} is the classifier that guides (torchvision:resnet50@FILE), {JUDGE} Inception-v3 "
            f"(torchvision:inception_v3@FILE). {TRAIN} are labelled training images of ImageNet by reference, {REAL} "
            f"{size.images} others, beside which generated ones are set. {FOLDER} is a folder to keep all in"
        )
    device = os.environ.get(DEVICE) or ("cuda" if torch.cuda.is_available() else "cpu")
    generator = load_generator(os.environ[GENERATOR], device=device)
    guide, judge = (load_classifier(os.environ[name], device=device) for name in (GUIDE, JUDGE))
    if guide.class_names != judge.class_names:
        raise InputError(f"{guide.name} and {judge.name} have different classes, or not in one order")
    if weights_of(guide) is not None and weights_of(guide) == weights_of(judge):
        raise InputError(f"{judge.name} guides these images, so it cannot judge them; take another judge")
    real = _real_features(judge, size)
    rng, folder = Randomness(seed), Path(os.environ[FOLDER]) / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = written_images(
        folder / "synthetic", generator, size.fit.synthetic, steps=size.fit.synthetic_steps,
        rng=rng.child("synthetic"), progress=progress,
    )  # fmt: skip

    def labelled() -> StreamedImages:
        images = align_labels(load_images(os.environ[TRAIN]), guide.class_names)
        known = images.select([row for row, label in enumerate(images.labels.tolist()) if label >= 0])
        height, width = generator.image_size
        squares = Preprocessing(size=(height, width), resize="shorter", resize_to=(height, width))
        return StreamedImages(replace(known, split="train"), squares)

    ways = fitted_ways(
        classifier_teacher(guide), generator, size.ways, size.fit, drawn, labelled, rng, progress,
        transform=random_resized_crops(), folder=folder,
    )  # fmt: skip
    figures: dict[str, Figure] = {}
    for way, reading in {"none": None, **ways}.items():
        found = _judged(generator, guide, judge, reading, real, size, seed)
        figures |= {f"imagenet.{way}.{name}": value for name, value in found.items()}
    return figures


def _judged(
    generator: Generator,
    guide: Classifier,
    judge: Classifier,
    reading: Reading | None,
    real: Tensor,
    size: FullSize,
    seed: int,
) -> dict[str, Figure]:
    """Figures of one way: images of all classes in turns, whose noise is the same for all ways."""
    features, probabilities, right = list[Tensor](), list[Tensor](), list[bool]()
    for start in range(0, size.images, TOGETHER):
        rows = range(start, min(start + TOGETHER, size.images))
        classes = torch.tensor([row % len(guide.class_names) for row in rows])
        seeds = tuple(derive_seed(seed, "guided generation", row) % 2**31 for row in rows)
        requested = GeneratorCall(generator, seeds, guide.class_names, classes)
        steer = None if reading is None else ClassSteer(requested, reading, size.scale)
        made = generate(
            Sampler(generator, steps=size.steps), seeds, condition=requested.nothing, steer=steer, batch_size=TOGETHER
        ).images
        with torch.no_grad():
            scores, seen = judge.scores_and_features(as_prepared(judge, made), size.layer)
        features.append(seen.flatten(1).float().cpu())
        probabilities.append(judge.probabilities(scores).float().cpu())
        right += (scores.argmax(1).cpu() == classes).tolist()
    generated = torch.cat(features)
    return {
        "frechet": frechet_distance(real, generated),
        "inception_score": inception_score(torch.cat(probabilities)),
        "precision": precision(real, generated),
        "recall": recall(real, generated),
        "accuracy": Sample.of(right),
    }


def _real_features(judge: Classifier, size: FullSize) -> Tensor:
    """Features of real images, (n, d)."""
    images = load_images(os.environ[REAL])
    if len(images) < size.images:
        # A Fréchet distance of few images is too large, and by how much depends on how many there are.
        raise InputError(f"{REAL} has {len(images)} images, and {size.images} are compared; name as many")
    found = []
    for batch in prepared_batches(images.limit(size.images), judge.preparation, TOGETHER):
        if batch.ids:
            pixels = batch.pixels.to(judge.device)
            shown = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
            with torch.no_grad():
                found.append(judge.scores_and_features(shown, size.layer)[1].flatten(1).float().cpu())
    return torch.cat(found)
