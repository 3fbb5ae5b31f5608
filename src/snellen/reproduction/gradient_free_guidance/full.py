"""The paper's experiment on a GPU: a class-conditional generator of ImageNet, 50,000 images of each arm, DINOv2.

Everything comes by reference, from environment variables, and nothing is downloaded: two generators of ImageNet's 1,000
classes, the weaker smaller or trained for fewer steps, a classifier that guides, another one that judges,
the encoder of DINOv2 and real images. The paper has EDM2 at 512 pixels; any folder of diffusers with these classes
does. Estimated from numbers of passes and not measured, for a transformer of 675 million weights at 512 pixels, 32
steps and ten arms: 600 hours and 30 GB of a GPU. Images are made, judged and dropped batch by batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from PIL import Image

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import derive_seed
from snellen.data.references import load_images
from snellen.methods.generation.generator_call import GeneratorCall, names_of
from snellen.methods.generation.made_images import weights_of
from snellen.methods.generation.sample import Sample as PlainSampling
from snellen.metrics.feature_moments import FeatureMoments, frechet_of_moments
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.generate import Steer, Steering, generate
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.guidance import autoguidance
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.models.encoders.references import load_encoder
from snellen.reproduction.sample import Figure, Sample, mean_of
from snellen.systems.gradient_free_guidance.gradient_free import Tally
from snellen.systems.gradient_free_guidance.method import GradientFreeGuidance, GradientFreeSteer

STRONG, WEAK, GUIDE, JUDGE, FEATURES, REAL = (
    f"SNELLEN_GFCG_{name}" for name in ("GENERATOR", "WEAK", "GUIDE", "JUDGE", "DINOV2", "REAL")
)

#: Optional: where it runs.
DEVICE = "SNELLEN_GFCG_DEVICE"

#: Scales among which the ones of autoguidance and of classifier-free guidance are chosen, and beside the latter.
WEAK_SCALES, SCALES, BESIDE = (1.25, 1.5, 2.0, 3.0), (1.25, 1.5, 2.0, 3.0), 1.5

#: Real images that the published distance, of 50,000 images, is compared with at least.
LEAST_REAL = 50_000

#: What makes the guidance of a call.
Guidance = Callable[[GeneratorCall], Steer]


@dataclass(frozen=True, eq=False)
class World:
    """What all arms share.

    Args:
        strong: the generator that is guided.
        weak: the reference of autoguidance.
        guide: scores estimates.
        judge: of the same classes in the same order, another network.
        encoder: in whose features sets are compared.
        real: moments of real images.
        steps: of the sampler.
        together: images of a batch.
    """

    strong: Generator
    weak: Generator
    guide: Classifier
    judge: Classifier
    encoder: FrozenEncoder
    real: FeatureMoments
    steps: int
    together: int


def full(
    seed: int,
    progress: Progress,
    *,
    count: int = 50_000,
    chosen_on: int = 5_000,
    steps: int = 32,
    together: int = 32,
    real: int = LEAST_REAL,
) -> Mapping[str, Figure]:
    """Share of images of their class by the judge, and Fréchet distance in DINOv2's features, of each arm.

    The scale of autoguidance is chosen on other images, by the Fréchet distance of autoguidance alone: what stands
    beside the method is the rival at its best.

    Args:
        seed: of noise and choices.
        progress: callback that receives progress updates.
        count: images of each arm, of all classes in turns.
        chosen_on: images on which the scale is chosen.
        steps: of the sampler.
        together: images of a batch.
        real: fewest real images to compare with.

    Returns:
        ``imagenet.ARM.accuracy``, a value for each image, and ``imagenet.ARM.fd``; for arms with a guide also
        ``mean_scale`` and ``guided_share``; ``imagenet.auto.gain``, the distance without guidance less that of
        autoguidance, and ``imagenet.auto.scale``.

    Raises:
        InputError: a variable is not set, classes do not fit, the judge is the guide, or too few real images.
    """
    device = os.environ.get(DEVICE) or ("cuda" if torch.cuda.is_available() else "cpu")
    world = _world(device, steps, together, real)
    scales = {
        scale: mean_of(_arm(world, _auto(world, scale), chosen_on, derive_seed(seed, "scale"), progress)["fd"])
        for scale in WEAK_SCALES
    }
    best = min(scales, key=lambda scale: float(scales[scale] or 0.0))
    figures: dict[str, Figure] = {}
    for name, guidance in _arms(world, best).items():
        figures |= {
            f"imagenet.{name}.{one}": value for one, value in _arm(world, guidance, count, seed, progress).items()
        }
    none, auto = mean_of(figures["imagenet.none.fd"]), mean_of(figures["imagenet.auto.fd"])
    assert none is not None
    assert auto is not None
    return figures | {"imagenet.auto.gain": none - auto, "imagenet.auto.scale": best}


def _world(device: str, steps: int, together: int, least: int) -> World:
    absent = [name for name in (STRONG, WEAK, GUIDE, JUDGE, FEATURES, REAL) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}. {STRONG} and {WEAK} name generators of ImageNet's classes "
            f"(diffusers:FOLDER), the second one smaller or trained for less. {GUIDE} names a classifier that "
            f"guides, and "
            f"{JUDGE} another one that judges. {FEATURES} names the encoder of DINOv2 (hf:FOLDER), and {REAL} "
            f"at least {least} real images"
        )
    strong, weak = (load_generator(os.environ[name], device=device) for name in (STRONG, WEAK))
    guide, judge = (load_classifier(os.environ[name], device=device) for name in (GUIDE, JUDGE))
    classes = names_of(strong)
    for name, count in ((WEAK, len(names_of(weak))), (GUIDE, len(guide.class_names)), (JUDGE, len(judge.class_names))):
        if count != len(classes):
            raise InputError(f"{name} has {count} classes and {STRONG} {len(classes)}; expected the same in one order")
    if weights_of(guide) == weights_of(judge):
        raise InputError(f"{GUIDE} and {JUDGE} are one network: what guided these images cannot judge them")
    images = load_images(os.environ[REAL])
    if len(images) < least:
        raise InputError(f"{REAL} has {len(images)} images, and at least {least} are compared with; name more")
    encoder = load_encoder(os.environ[FEATURES], device=device)
    return World(strong, weak, guide, judge, encoder, _real(images, encoder, together), steps, together)


def _real(images: ImageSet, encoder: FrozenEncoder, together: int) -> FeatureMoments:
    found = FeatureMoments()
    for rows in torch.arange(len(images)).split(together):
        pixels = torch.stack([encoder.preparation.pixels(images.read(row)) for row in rows.tolist()])
        found.add(encoder.encode(to_unit(pixels)))
    return found


def _auto(world: World, scale: float) -> Guidance:
    away = autoguidance(scale, world.weak.denoiser)
    return lambda requested: lambda rows, rng: Steering([away])


def _arms(world: World, weak_scale: float) -> dict[str, Guidance]:
    plain = {f"cfg_{scale:g}": PlainSampling(guidance_scale=scale).steering for scale in SCALES}
    methods = {
        "gfcg": GradientFreeGuidance(),
        "gfcg_auto": GradientFreeGuidance(weak_scale=weak_scale),
        "gfcg_cfg": GradientFreeGuidance(gamma=1.0, guidance_scale=BESIDE),
        "random": GradientFreeGuidance(reference="even"),
    }
    guided: dict[str, Guidance] = {
        name: _guided(world, method, beside_weak=name == "gfcg_auto") for name, method in methods.items()
    }
    return {
        "none": lambda requested: lambda rows, rng: Steering(),
        **plain,
        "auto": _auto(world, weak_scale),
        **guided,
    }


def _guided(world: World, method: GradientFreeGuidance, *, beside_weak: bool) -> Guidance:
    weak = world.weak.denoiser if beside_weak else None
    return lambda requested: GradientFreeSteer(method, world.guide, requested, weak, Tally())


def _arm(world: World, guidance: Guidance, count: int, seed: int, progress: Progress) -> dict[str, Figure]:
    """Make the images of an arm, judge each batch, and keep its moments alone."""
    sampler, names = Sampler(world.strong, steps=world.steps), world.guide.class_names
    right, found = list[float](), FeatureMoments()
    scale = guided = decisions = 0.0
    progress.begin("images of an arm", count)
    for first in range(0, count, world.together):
        rows = range(first, min(first + world.together, count))
        classes = torch.tensor([row % len(names) for row in rows])
        seeds = tuple(derive_seed(seed, "gradient-free", row) % 2**31 for row in rows)
        requested = GeneratorCall(world.strong, seeds, names, classes)
        steer = guidance(requested)
        made = generate(sampler, seeds, condition=requested.own, steer=steer, batch_size=world.together)
        right += (_answers(world.judge, made.bytes()) == classes).double().tolist()
        found.add(_features(world.encoder, made.bytes()))
        if isinstance(steer, GradientFreeSteer):
            steer.reported()
            scale, guided = scale + steer.tally.scale, guided + steer.tally.guided
            decisions += steer.tally.decisions
        progress.advance("images of an arm", len(rows))
    progress.finish("images of an arm")
    figures: dict[str, Figure] = {"accuracy": Sample.of(right), "fd": frechet_of_moments(world.real, found)}
    return figures | ({"mean_scale": scale / decisions, "guided_share": guided / decisions} if decisions else {})


@torch.no_grad()
def _answers(judge: Classifier, images: torch.Tensor) -> torch.Tensor:
    prepared = torch.stack([judge.prepare(one) for one in _pictures(images)])
    return judge(prepared.to(judge.device)).argmax(1).cpu()


def _features(encoder: FrozenEncoder, images: torch.Tensor) -> torch.Tensor:
    return encoder.encode(to_unit(torch.stack([encoder.preparation.pixels(one) for one in _pictures(images)])))


def _pictures(images: torch.Tensor) -> list[Image.Image]:
    """Images as files would give them, so that every network prepares them as it does photographs."""
    return [Image.fromarray(one.permute(1, 2, 0).numpy()) for one in images]
