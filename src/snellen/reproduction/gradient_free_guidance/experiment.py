"""System 38: guidance by what a classifier confuses, without gradients, beside six other ways to show a class.

Product thumbnails by class and scenes by prompt, each arm with the same requests and the same noise, judged by a
network that guides nothing; and the mixture of Gaussians whose denoiser is known exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.core.system import Scale
from snellen.methods.generation.class_steer import ClassSteer
from snellen.methods.generation.classifier_scores import on_the_estimate
from snellen.methods.generation.generator_call import GeneratorCall
from snellen.methods.generation.sample import Sample as PlainSampling
from snellen.methods.generation.teachers import classifier_teacher
from snellen.models.diffusion.denoiser import Denoiser
from snellen.models.diffusion.generate import Steer, Steering
from snellen.models.diffusion.guidance import autoguidance
from snellen.reproduction.gradient_free_guidance.full import full
from snellen.reproduction.gradient_free_guidance.mixture import mixture_figures
from snellen.reproduction.gradient_free_guidance.smoke import smoke_figures
from snellen.reproduction.sample import Figure, Sample, mean_of
from snellen.reproduction.shared.guided_generation.harness import Arm, measure, real_figures
from snellen.reproduction.shared.guided_generation.setups import Setup, small_scenes, thumbnails
from snellen.reproduction.shared.guided_generation.weak_denoiser import PLAN, weak_denoiser
from snellen.systems.gradient_free_guidance.gradient_free import Tally
from snellen.systems.gradient_free_guidance.method import GradientFreeGuidance, GradientFreeSteer

#: Scales of classifier-free guidance, and those among which that of autoguidance is chosen.
SCALES, WEAK_SCALES = (1.25, 1.5, 2.0, 3.0), (1.1, 1.25, 1.5, 2.0)

#: Scale of classifier-free guidance beside the classifier, and of the reference that turns from one to the other.
BESIDE, MIXED = 1.5, 2.0

#: w of the gradient of log p(c | x0), which the published scale is one less than.
GRADIENT = 4.0

#: What the mixture is sampled with: rule and strength.
MIXTURE = (
    ("none", 1.0), ("cfg", 2.0), ("cfg", 3.0), ("cfg", 5.0), ("fixed", 2.0), ("fixed", 3.0), ("adaptive", 1.0),
    ("adaptive", 2.0), ("adaptive", 4.0), ("even", 4.0),
)  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """How much is generated.

    Args:
        thumbnails: images of each arm.
        scenes: images of each arm.
        steps: of the sampler.
        points: of the mixture, of each rule.
        weak_images: that the weak denoiser of thumbnails is trained on.
        weak_epochs: of its training.
    """

    thumbnails: int = 150
    scenes: int = 100
    steps: int = 20
    points: int = 6000
    weak_images: int = 2048
    weak_epochs: int = 8


SMALL = Sizes()


def gradient_free_guidance(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 38.

    Returns:
        Figures by name; see ``claims.toml``.
    """
    if scale == "smoke":
        return smoke_figures(seed)
    if scale == "full":
        return full(seed, progress)
    return small_figures(SMALL, seed, progress)


gradient_free_guidance.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("a transformer of the class of DiT and a ResNet-50 of 1,000 classes, with random weights",),
    "small": (
        "the embedded generators of Fashion-MNIST and of scenes for EDM2 on ImageNet and for text-to-image models; "
        "DDIM of 20 steps for 32 Heun steps",
        "a network of 28-pixel thumbnails, and one of the shapes of scenes, as guides; others of another architecture "
        "as judges, in whose features recall, coverage and Fréchet distance are taken, for DINOv2",
        "a network of half the width, trained on 2,048 images for minutes, as the weak model of autoguidance",
        "its scale is chosen on other noise, by the Fréchet distance of autoguidance alone",
        "150 thumbnails and 100 scenes of each arm for 50,000 images",
        "a mixture of Gaussians whose denoiser is known exactly",
    ),
    "full": (
        "any class-conditional generators of ImageNet for EDM2; the sampler of the package for Heun's steps",
        "no text-to-image model",
    ),
}


def small_figures(sizes: Sizes, seed: int, progress: Progress) -> dict[str, Figure]:
    """All figures of one seed."""
    figures: dict[str, Figure] = {
        f"mixture.{rule if rule == 'none' else f'{rule}_{strength:g}'}.{name}": value
        for rule, strength in MIXTURE
        for name, value in mixture_figures(rule, strength, count=sizes.points, seed=seed).items()
    }
    setup = replace(thumbnails(), steps=sizes.steps)
    plan = PLAN.model_copy(update={"epochs": sizes.weak_epochs})
    weak = weak_denoiser(setup, Randomness(seed), count=sizes.weak_images, plan=plan, progress=progress)
    figures |= _named("fashion", thumbnail_figures(setup, weak, sizes.thumbnails, seed, progress))
    return figures | _named("scenes", scene_figures(replace(small_scenes(), steps=sizes.steps), sizes, seed, progress))


def thumbnail_figures(setup: Setup, weak: Denoiser, count: int, seed: int, progress: Progress) -> dict[str, Figure]:
    """Every arm on thumbnails by class.

    Returns:
        For each arm the figures of :func:`~snellen.reproduction.shared.guided_generation.harness.measure`; for those of
        the classifier also ``mean_scale``, ``guided_share`` of samples and steps, and ``decoded``; for classifier-free
        guidance ``recall``, ``diversity`` and ``coverage`` at the accuracy of ``gfcg``; for autoguidance its chosen
        ``scale``, and as ``gain`` the Fréchet distance without guidance less its own; ``cost`` in forward passes of a
        denoiser for each image, a backward pass counted as two.
    """
    requested = setup.ask(count, seed)
    found: dict[str, dict[str, Figure]] = {
        "none": _plain(Arm("none", lambda requested: _nothing), setup, requested, progress)
    }
    for scale in SCALES:
        away_from_nothing = PlainSampling(guidance_scale=scale)
        found[f"cfg_{scale:g}"] = _plain(Arm("cfg", away_from_nothing.steering), setup, requested, progress)
    weak_scale = chosen_weak_scale(setup, weak, count, seed, progress)
    found["auto"] = _plain(_auto(weak_scale, weak), setup, requested, progress)
    distances = [mean_of(found[name]["frechet"]) or 0.0 for name in ("none", "auto")]
    found["auto"] |= {"scale": weak_scale, "gain": distances[0] - distances[1]}
    gradient = Arm("gradient", lambda requested: gradient_steer(setup, requested), guides=[setup.guide])
    found["gradient"] = _plain(gradient, setup, requested, progress)
    auto = GradientFreeGuidance(weak_scale=weak_scale)
    methods: dict[str, GradientFreeGuidance] = {
        "gfcg": GradientFreeGuidance(),
        "gfcg_1": GradientFreeGuidance(gamma=1.0),
        "gfcg_cfg": GradientFreeGuidance(gamma=1.0, guidance_scale=BESIDE),
        "mixed": GradientFreeGuidance(guidance_scale=MIXED, mix=True),
        "gfcg_auto": auto,
        "random": GradientFreeGuidance(reference="even"),
    }
    for name, method in methods.items():
        found[name] = _guided(name, method, setup, requested, progress, weak if method is auto else None)
    # The same guidance on average, spread evenly over samples and steps.
    mean = mean_of(found["gfcg"]["mean_scale"]) or 1.0
    fixed = GradientFreeGuidance(scale="linear", lowest_scale=mean, highest_scale=mean)
    found["fixed"] = _guided("fixed", fixed, setup, requested, progress, None)
    sweep = [_means(found[name]) for name in ("none", *(f"cfg_{scale:g}" for scale in SCALES))]
    found["cfg"] = {**at_equal_accuracy(sweep, _means(found["gfcg"])["accuracy"])}
    found["real"] = {**real_figures(setup, count)}
    return {f"{arm}.{name}": value for arm, values in found.items() for name, value in values.items()}


def chosen_weak_scale(setup: Setup, weak: Denoiser, count: int, seed: int, progress: Progress) -> float:
    """The scale at which autoguidance alone has the lowest Fréchet distance, on half as many other requests."""
    requested = setup.ask(max(2, count // 2), derive_seed(seed, "scale of autoguidance") % 2**31)
    distances = {
        scale: measure(_auto(scale, weak), setup, requested, progress).figures["frechet"] for scale in WEAK_SCALES
    }
    return min(distances, key=lambda scale: distances[scale])


def scene_figures(setup: Setup, sizes: Sizes, seed: int, progress: Progress) -> dict[str, Figure]:
    """The main arms on scenes by prompt, in latents that are decoded for the classifier; names as above."""
    requested = setup.ask(sizes.scenes, seed)
    found = {"none": _plain(Arm("none", lambda requested: _nothing), setup, requested, progress)}
    away_from_nothing = PlainSampling(guidance_scale=BESIDE)
    found[f"cfg_{BESIDE:g}"] = _plain(Arm("cfg", away_from_nothing.steering), setup, requested, progress)
    methods = {
        "gfcg": GradientFreeGuidance(),
        "every_4": GradientFreeGuidance(every=4),
        "gfcg_cfg": GradientFreeGuidance(gamma=1.0, guidance_scale=BESIDE),
    }
    for name, guided in methods.items():
        found[name] = _guided(name, guided, setup, requested, progress, None)
    return {f"{arm}.{name}": value for arm, values in found.items() for name, value in values.items()}


def gradient_steer(setup: Setup, requested: GeneratorCall) -> Steer:
    """The gradient of log p(c | estimate) through the denoiser, which gets the class as in all arms."""
    return ClassSteer(requested, on_the_estimate(classifier_teacher(setup.guide), through=True), GRADIENT)


def at_equal_accuracy(arms: Sequence[Mapping[str, float]], accuracy: float) -> dict[str, float]:
    """What a sweep over scales has at an accuracy, between two arms linearly.

    >>> sweep = [{"accuracy": a, "recall": r, "diversity": 1.0, "coverage": 1.0} for a, r in ((0.5, 1.0), (0.9, 0.6))]
    >>> round(at_equal_accuracy(sweep, 0.7)["recall_at_accuracy"], 6)
    0.8

    Args:
        arms: by rising scale, each with ``accuracy``, ``recall``, ``diversity`` and ``coverage``.
        accuracy: that is looked for. Where the sweep passes it several times, its first time counts; where it stays
            below, the arm that comes nearest stands for it, and where it begins above, its first arm.
    """
    share, low, high = 0.0, arms[0], arms[0]
    best = max(range(len(arms)), key=lambda number: arms[number]["accuracy"])
    crossed = next((number for number, arm in enumerate(arms) if arm["accuracy"] >= accuracy), None)
    if crossed is None:
        low = high = arms[best]
    elif crossed:
        low, high = arms[crossed - 1], arms[crossed]
        share = (accuracy - low["accuracy"]) / (high["accuracy"] - low["accuracy"])
    names = ("recall", "diversity", "coverage", "accuracy")
    return {f"{name}_at_accuracy": (1 - share) * low[name] + share * high[name] for name in names}


def _guided(
    name: str,
    method: GradientFreeGuidance,
    setup: Setup,
    requested: GeneratorCall,
    progress: Progress,
    weak: Denoiser | None,
) -> dict[str, Figure]:
    """Figures of an arm of the method, and what its decisions were."""
    steers: list[GradientFreeSteer] = []

    def steering(given: GeneratorCall) -> Steer:
        steers.append(GradientFreeSteer(method, setup.guide, given, weak, Tally()))
        return steers[0]

    arm = Arm(name, steering, guides=[setup.guide], denoisers=[] if weak is None else [weak])
    figures = _plain(arm, setup, requested, progress)
    steers[0].reported()
    tally = steers[0].tally
    return figures | {
        "mean_scale": tally.scale / tally.decisions,
        "guided_share": tally.guided / tally.decisions,
        "decoded": tally.decoded / tally.images,
    }


def _plain(arm: Arm, setup: Setup, requested: GeneratorCall, progress: Progress) -> dict[str, Figure]:
    made = measure(arm, setup, requested, progress)
    names = [requested.class_names[index] for index in requested.classes.tolist()]
    right = [said == name for said, name in zip(setup.judge.answers(made.images), names, strict=True)]
    cost = made.figures["rows"] + 2 * made.figures["backward_rows"]
    return {**made.figures, "accuracy": Sample.of(right), "cost": cost}


def _auto(scale: float, weak: Denoiser) -> Arm:
    """Autoguidance alone."""
    away = autoguidance(scale, weak)
    return Arm("auto", lambda requested: lambda rows, rng: Steering([away]), denoisers=[weak])


def _means(figures: Mapping[str, Figure]) -> dict[str, float]:
    """Those that could be measured, as numbers."""
    means = {name: mean_of(figure) for name, figure in figures.items()}
    return {name: mean for name, mean in means.items() if mean is not None}


def _nothing(rows: range, rng: Randomness) -> Steering:
    return Steering()


def _named(world: str, figures: Mapping[str, Figure]) -> dict[str, Figure]:
    return {f"{world}.{name}": value for name, value in figures.items()}
