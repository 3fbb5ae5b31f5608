"""System 12: a classifier of clean images steers a generator without a condition; ten ways, in two small worlds.

Without labels: off the shelf on noisy latents, on the denoised estimate (its gradient stopped at the denoiser, with
velocity or noise held there, or led through it), four experts, one expert, four of a teacher that is not sharpened.
With labels: one noise-aware classifier, and four experts that are whole networks. Each way's scale is chosen on other
noise by one rule, which was written before any run: of the scales that are tried, the one with the highest judge
accuracy, of equal ones the smallest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.core.system import Scale
from snellen.methods.generation.class_steer import ClassSteer
from snellen.methods.generation.classifier_scores import Reading
from snellen.methods.generation.synthetic_images import synthetic_images
from snellen.methods.generation.teachers import classifier_teacher
from snellen.reproduction.plug_and_play_guidance.full import full
from snellen.reproduction.plug_and_play_guidance.smoke import shape_figures, smoke_figures
from snellen.reproduction.plug_and_play_guidance.ways import CORE, EVERY, fitted_ways
from snellen.reproduction.sample import Figure
from snellen.reproduction.shared.guided_generation.harness import Arm, measure
from snellen.reproduction.shared.guided_generation.setups import Setup, small_scenes, thumbnails
from snellen.systems.plug_and_play_guidance.expert_fitting import TransferFit
from snellen.training.batches import ImageStore


@dataclass(frozen=True)
class Sizes:
    """How much is fitted and generated in one world.

    Args:
        ways: those that are measured, of :data:`EVERY`.
        fit: of the experts without labels; the other fits take as many iterations in all.
        labelled: images of the training split, for the ways with labels.
        images: judged images of each way.
        tried: images of each scale that is tried.
        scales: that are tried, w = s + 1.
        steps: of the sampler.
    """

    ways: tuple[str, ...]
    fit: TransferFit
    labelled: int = 600
    images: int = 200
    tried: int = 40
    scales: tuple[float, ...] = (3.0, 9.0, 21.0)
    steps: int = 15


SMALL: dict[str, Sizes] = {
    "thumbnails": Sizes(
        EVERY,
        TransferFit(experts=4, rank=4, alpha=8, synthetic=600, synthetic_steps=15, iterations=160, learning_rate=2e-3),
    ),
    "scenes": Sizes(
        CORE,
        TransferFit(
            experts=4,
            rank=4,
            alpha=8,
            synthetic=480,
            synthetic_steps=15,
            iterations=120,
            batch_size=48,
            learning_rate=2e-3,
        ),
        labelled=480,
        images=120,
        tried=30,
    ),
}

WORLDS: dict[str, Callable[[], Setup]] = {"thumbnails": thumbnails, "scenes": small_scenes}


def plug_and_play(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 12.

    Returns:
        Figures by name; see ``claims.toml``.

    Raises:
        InputError: the training images of Fashion-MNIST are not installed, or the scale is full, and something that it
            needs is not there.
    """
    if scale == "smoke":
        return smoke_figures(seed)
    if scale == "full":
        return full(seed, progress)
    figures: dict[str, Figure] = dict(shape_figures())
    for world, sizes in SMALL.items():
        found = world_figures(WORLDS[world](), sizes, seed, progress)
        figures |= {f"{world}.{name}": value for name, value in found.items()}
    return figures


plug_and_play.stand_ins = {  # type: ignore[attr-defined]
    "smoke": (
        "a UNet of the classes and levels of the unconditional ADM of 256 pixels with few channels, and ResNet-50 in "
        "full size, both of random weights",
    ),
    "small": (
        "the embedded generators of thumbnails (28 pixels, its class none) and scenes (32 pixels, latents, the empty "
        "prompt) for the unconditional ADM of 256 pixels",
        "the embedded classifiers of 235 and 197 thousand parameters for ResNet-50 and DeiT-S",
        "600 and 480 synthetic images for 500,000; 160 iterations of 64 images and 120 of 48 for each of four experts "
        "of rank 4, for 60,000 of 256 for each of five of rank 16; a learning rate of 2e-3 for 1e-4",
        "15 steps of DDIM for 25; 200 and 120 images of each way for 10,000",
        "judge accuracy and the Fréchet distance in the judge's features for IS and FID",
    ),
    "full": ("FID of Inception's features as torchvision computes them, not those of the evaluator of ADM",),
}


def world_figures(setup: Setup, sizes: Sizes, seed: int, progress: Progress) -> dict[str, float]:
    """Fit what the ways need, choose the scale of each, and measure it.

    Returns:
        ``none.*``, and of each way ``accuracy``, ``frechet``, ``scale``, ``calls`` (of the denoiser for a batch),
        ``recall`` and ``diversity``; ``estimate_to_noise_aware``, how far these two are apart.
    """
    setup = replace(setup, steps=sizes.steps)
    ways = readings(setup, sizes, Randomness(seed), progress)
    judged = setup.ask(sizes.images, seed)
    tried = setup.ask(sizes.tried, derive_seed(seed, "scale") % 2**31)
    none = measure(_arm(setup, ways["off_the_shelf"], 1.0), setup, judged, progress).figures
    figures = {f"none.{name}": none[name] for name in ("accuracy", "frechet", "recall", "diversity")}
    for way, reading in ways.items():
        best, highest = sizes.scales[0], -1.0
        for scale in sizes.scales:
            accuracy = measure(_arm(setup, reading, scale), setup, tried, progress).figures["accuracy"]
            if accuracy > highest:  # of equal ones the smallest, which came first
                best, highest = scale, accuracy
        found = measure(_arm(setup, reading, best), setup, judged, progress).figures
        figures |= {f"{way}.{name}": found[name] for name in ("accuracy", "frechet", "calls", "recall", "diversity")}
        figures[f"{way}.scale"] = best
    apart = figures["estimate.accuracy"] - figures["noise_aware.accuracy"]
    return figures | {"estimate_to_noise_aware": abs(apart)}


def _arm(setup: Setup, reading: Reading, scale: float) -> Arm:
    """Guidance along a reading; the denoiser has no condition."""
    return Arm(
        f"scale {scale:g}",
        lambda requested: ClassSteer(requested, reading, scale),
        lambda requested: requested.nothing,
        guides=[setup.guide],
    )


def readings(setup: Setup, sizes: Sizes, rng: Randomness, progress: Progress) -> dict[str, Reading]:
    """Each way's reading of the latents of a step, fitted where it must be."""
    drawn = synthetic_images(
        setup.generator, sizes.fit.synthetic, steps=sizes.fit.synthetic_steps, rng=rng.child("synthetic"),
        progress=progress,
    )  # fmt: skip

    def labelled() -> ImageStore:
        seen = setup.seen(sizes.labelled, derive_seed(rng.seed, "labelled") % 2**31)
        return ImageStore.of_tensors((seen.images * 255).round().to(torch.uint8), seen.classes, split="train")

    teacher = classifier_teacher(setup.guide)
    return fitted_ways(teacher, setup.generator, sizes.ways, sizes.fit, drawn, labelled, rng, progress)
