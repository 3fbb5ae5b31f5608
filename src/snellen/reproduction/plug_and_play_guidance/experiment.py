"""System 12: a classifier of clean images steers a generator without a condition; six ways, on thumbnails.

Without labels: off the shelf on noisy images, on the denoised estimate (its gradient stopped at the denoiser), four
experts, one expert with as many iterations in all. With labels: one noise-aware classifier, and four experts that are
whole networks. An expert's changes begin at zero, so the classifier off the shelf is what experts are before they are
fitted: it is their control.

The embedded generator knows classes, and what it makes without one is poor. So it is first trained on without any
label, and generated images are set beside those that it was trained on. Each way's scale is chosen on other noise by
one rule, which was written before any run: every scale is tried on the first images, the two with the highest judge
accuracy on the others as well; of these the one with the higher accuracy on all, of equal ones the smaller, wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.core.system import Scale
from snellen.methods.generation.class_steer import ClassSteer
from snellen.methods.generation.classifier_scores import Reading
from snellen.methods.generation.generator_call import GeneratorCall
from snellen.methods.generation.synthetic_images import synthetic_images
from snellen.methods.generation.teachers import classifier_teacher
from snellen.reproduction.plug_and_play_guidance.full import full
from snellen.reproduction.plug_and_play_guidance.smoke import smoke_figures
from snellen.reproduction.plug_and_play_guidance.ways import fitted_ways
from snellen.reproduction.sample import Figure, Sample
from snellen.reproduction.shared.guided_generation.harness import Arm, ArmResult, measure
from snellen.reproduction.shared.guided_generation.setups import Setup, thumbnails
from snellen.reproduction.shared.guided_generation.unconditional import without_condition
from snellen.systems.plug_and_play_guidance.expert_fitting import TransferFit
from snellen.training.batches import ImageStore

#: Ways that are measured, of :data:`snellen.reproduction.plug_and_play_guidance.ways.EVERY`.
WAYS = ("off_the_shelf", "estimate", "noise_aware", "supervised", "experts", "one_expert")


@dataclass(frozen=True)
class Sizes:
    """How much is fitted and generated.

    Args:
        ways: that are measured.
        fit: of the experts without labels; the other fits take as many iterations in all.
        unlabelled: images that the generator is trained on without labels.
        labelled: images of the training split, for the ways with labels.
        images: judged images of each way.
        first: images on which every scale is tried.
        further: images on which the two best are tried besides.
        scales: that are tried, w = s + 1.
        steps: of the sampler.
    """

    ways: tuple[str, ...] = WAYS
    fit: TransferFit = TransferFit(  # noqa: RUF009 - frozen
        experts=4,
        rank=4,
        alpha=8,
        synthetic=5000,
        synthetic_steps=8,
        iterations=150,
        batch_size=128,
        learning_rate=2e-3,
    )
    unlabelled: int = 9600
    labelled: int = 5000
    images: int = 300
    first: int = 40
    further: int = 260
    scales: tuple[float, ...] = (2.0, 3.0, 5.0, 7.0, 9.0, 13.0, 21.0)
    steps: int = 10


SMALL = Sizes()


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
    setup = without_condition(
        replace(thumbnails(), steps=SMALL.steps), Randomness(seed), count=SMALL.unlabelled, progress=progress
    )
    found = world_figures(setup, SMALL, seed, progress)
    return {f"thumbnails.{name}": value for name, value in found.items()}


plug_and_play.stand_ins = {  # type: ignore[attr-defined]
    "smoke": (
        "a UNet of the classes and levels of the unconditional ADM of 256 pixels with few channels, and ResNet-50 in "
        "full size, both of random weights",
    ),
    "small": (
        "the embedded generator of thumbnails (28 pixels), trained on for 150 steps of 64 images without labels, for "
        "the unconditional ADM of 256 pixels",
        "the embedded classifier of 235 thousand parameters for ResNet-50 and DeiT-S",
        "5,000 synthetic images for 500,000; 150 iterations of 128 images for each of four experts of rank 4, for "
        "60,000 of 256 for each of five of rank 16; a learning rate of 2e-3 for 1e-4",
        "10 steps of DDIM for 25, 8 for synthetic images; 300 images of each way for 10,000",
        "judge accuracy and the Fréchet distance in the judge's features for IS and FID",
    ),
    "full": ("FID of Inception's features as torchvision computes them, not those of the evaluator of ADM",),
}


def world_figures(setup: Setup, sizes: Sizes, seed: int, progress: Progress) -> dict[str, Figure]:
    """Fit what the ways need, choose the scale of each, and measure it.

    Returns:
        ``none.*``, and of each way ``accuracy`` (a value for each image), ``frechet``, ``scale``, ``calls`` (of the
        denoiser for a batch), ``recall``, ``diversity`` and ``guide_accuracy``; ``none.agreement``, the share of images
        without guidance that guide and judge call the same; ``room``, the highest accuracy of a way with labels less
        that of no guidance.
    """
    setup = replace(setup, steps=sizes.steps)
    ways = readings(setup, sizes, Randomness(seed), progress)
    judged = setup.ask(sizes.images, seed)
    none = measure(_arm(setup, next(iter(ways.values())), 1.0), setup, judged, progress)
    figures = _figures("none", none, setup, judged)
    figures["none.agreement"] = agreement(setup, none.images)
    for way, reading in ways.items():
        scale = chosen_scale(setup, reading, sizes, seed, progress)
        found = measure(_arm(setup, reading, scale), setup, judged, progress)
        figures |= _figures(way, found, setup, judged) | {f"{way}.scale": scale}
    best = max(_mean(figures, way) for way in ("noise_aware", "supervised") if way in ways)
    return figures | {"room": best - _mean(figures, "none")}


def chosen_scale(setup: Setup, reading: Reading, sizes: Sizes, seed: int, progress: Progress) -> float:
    """The scale with the highest judge accuracy on other noise: all on the first images, the two best on more."""

    def right(scale: float, requested: GeneratorCall) -> int:
        found = measure(_arm(setup, reading, scale), setup, requested, progress).figures["accuracy"]
        return round(found * len(requested))

    first = setup.ask(sizes.first, derive_seed(seed, "scale") % 2**31)
    found = {scale: right(scale, first) for scale in sizes.scales}
    finalists = best_of(found, 2)
    further = setup.ask(sizes.further, derive_seed(seed, "scale, further images") % 2**31)
    return best_of({scale: found[scale] + right(scale, further) for scale in finalists}, 1)[0]


def best_of(found: Mapping[float, int], count: int) -> Sequence[float]:
    """The scales with the highest figures, best first; of equal ones the smaller.

    >>> best_of({2.0: 5, 3.0: 9, 5.0: 9, 7.0: 1}, 2)
    [3.0, 5.0]
    """
    return sorted(found, key=lambda scale: (-found[scale], scale))[:count]


def agreement(setup: Setup, images: Tensor) -> float:
    """Share of images that guide and judge call the same: how much is drawn that can be recognised at all."""
    with torch.no_grad():
        guessed = torch.cat([setup.guide(part) for part in images.split(256)]).argmax(1).tolist()
    seen = setup.judge.answers(images)
    return sum(setup.guide.class_names[one] == other for one, other in zip(guessed, seen, strict=True)) / len(images)


def _figures(way: str, found: ArmResult, setup: Setup, requested: GeneratorCall) -> dict[str, Figure]:
    names = [requested.class_names[index] for index in requested.classes.tolist()]
    right = [seen == name for seen, name in zip(setup.judge.answers(found.images), names, strict=True)]
    kept = ("frechet", "calls", "recall", "diversity", "guide_accuracy")
    return {f"{way}.accuracy": Sample.of(right), **{f"{way}.{name}": found.figures[name] for name in kept}}


def _mean(figures: Mapping[str, Figure], way: str) -> float:
    accuracy = figures[f"{way}.accuracy"]
    assert isinstance(accuracy, Sample)
    return accuracy.mean


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
