"""Every way to steer that systems 38 and 12 compare, each as a function of one number: its scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.methods.generation.class_steer import ClassSteer
from snellen.methods.generation.classifier_scores import Reading, on_the_estimate
from snellen.methods.generation.sample import Sample
from snellen.methods.generation.teachers import classifier_teacher
from snellen.models.diffusion.denoiser import Denoiser
from snellen.models.diffusion.generate import Steering
from snellen.models.diffusion.guidance import autoguidance
from snellen.reproduction.plug_and_play_guidance import experiment as plug_and_play
from snellen.reproduction.shared.guided_generation.harness import Arm
from snellen.reproduction.shared.guided_generation.setups import Setup
from snellen.reproduction.shared.guided_generation.ways import UNCONDITIONAL
from snellen.reproduction.shared.guided_generation.weak_denoiser import weak_denoiser
from snellen.systems.gradient_free_guidance.gradient_free import Tally
from snellen.systems.gradient_free_guidance.method import GradientFreeGuidance, GradientFreeSteer

#: Scale of classifier-free guidance beside the classifier.
BESIDE = 1.5


class Arms:
    """Makes arms of a world; what has to be trained for one is trained when the first needs it.

    Args:
        setup: the world.
        seed: of everything that is trained.
        ways: of system 12 that will be asked for: they are fitted together, to the same synthetic images.
        progress: hears of it.
    """

    def __init__(self, setup: Setup, seed: int, ways: Sequence[str], progress: Progress) -> None:
        self.setup, self.rng, self.ways, self.progress = setup, Randomness(seed), tuple(ways), progress

    def unguided(self, *, conditional: bool) -> Arm:
        """No guidance."""
        return Arm(
            "none",
            lambda requested: lambda rows, rng: Steering(),
            (lambda requested: requested.own) if conditional else (lambda requested: requested.nothing),
        )

    def arm(self, name: str, scale: float) -> Arm:
        """One way at one scale."""
        if name in UNCONDITIONAL:
            reading = self.readings[name]
            return Arm(
                name,
                lambda requested: ClassSteer(requested, reading, scale),
                lambda requested: requested.nothing,
                [self.setup.guide],
            )
        made: dict[str, Callable[[], Arm]] = {
            "cfg": lambda: Arm(name, Sample(guidance_scale=scale).steering),
            "auto": lambda: Arm(
                name,
                lambda requested: lambda rows, rng: Steering([autoguidance(scale, self.weak)]),
                denoisers=[self.weak],
            ),
            "gradient": lambda: Arm(
                name,
                lambda requested: ClassSteer(requested, self._on_the_estimate(), scale),
                guides=[self.setup.guide],
            ),
            "gfcg": lambda: self._guided(name, GradientFreeGuidance(gamma=scale - 1, highest_scale=scale)),
            "gfcg_cfg": lambda: self._guided(
                name, GradientFreeGuidance(gamma=scale - 1, highest_scale=scale, guidance_scale=BESIDE)
            ),
            "gfcg_auto": lambda: self._guided(name, GradientFreeGuidance(weak_scale=scale), self.weak),
            "fixed": lambda: self._guided(
                name, GradientFreeGuidance(scale="linear", lowest_scale=scale, highest_scale=scale)
            ),
            "random": lambda: self._guided(
                name, GradientFreeGuidance(gamma=scale - 1, highest_scale=scale, reference="even")
            ),
        }
        return made[name]()

    @property
    def weak(self) -> Denoiser:
        """The weak denoiser of autoguidance."""
        return weak_denoiser(self.setup, self.rng, progress=self.progress)

    @cached_property
    def readings(self) -> Mapping[str, Reading]:
        """What the ways of system 12 read off noisy latents, fitted as in its experiment."""
        sizes = replace(plug_and_play.SMALL[self.setup.name], ways=self.ways)
        return plug_and_play.readings(self.setup, sizes, self.rng, self.progress)

    def _on_the_estimate(self) -> Reading:
        return on_the_estimate(classifier_teacher(self.setup.guide), through=True)

    def _guided(self, name: str, method: GradientFreeGuidance, weak: Denoiser | None = None) -> Arm:
        return Arm(
            name,
            lambda requested: GradientFreeSteer(method, self.setup.guide, requested, weak, Tally()),
            guides=[self.setup.guide],
            denoisers=[] if weak is None else [weak],
        )
