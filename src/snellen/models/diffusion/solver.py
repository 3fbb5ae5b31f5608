"""Noise schedules, and schedulers of the diffusers library with their state: from a prediction to the next latents.

Schedulers keep latents on scales of their own (Euler: x / alpha). Everything outside this file sees latents of the
*network's* scale, alpha x0 + sigma eps with alpha² + sigma² = 1.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from snellen.core.errors import InputError, import_extra, unknown_name
from snellen.core.randomness import Randomness, derive_seed
from snellen.models.diffusion.denoiser import Prediction, convert
from snellen.models.diffusion.generator import Generator
from snellen.models.weights.quiet_loading import quiet_loading

#: How the noise is removed step by step.
SolverName = Literal["ddim", "ddpm", "euler", "euler-ancestral", "dpm-solver++", "sde-dpm-solver++"]

_CLASSES: dict[str, str] = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-ancestral": "EulerAncestralDiscreteScheduler",
    "dpm-solver++": "DPMSolverMultistepScheduler",
    "sde-dpm-solver++": "DPMSolverMultistepScheduler",
}

#: Settings that say what noise a network was trained with; the rest says how to sample.
_NOISE = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr")


def alphas_cumprod(settings: Mapping[str, Any]) -> Tensor:
    """alpha² of each training timestep: float32 (timesteps,).

    Raises:
        InputError: a schedule that is not one of betas: of flow matching, EDM or consistency models.
    """
    kind = str(settings.get("_class_name", ""))
    if "Flow" in kind or settings.get("use_flow_sigmas"):
        raise InputError(f"a schedule of class {kind} belongs to a flow-matching model, which is not supported")
    # EDM, consistency models and score SDEs: their settings say nothing of betas, and the defaults would be wrong.
    if "beta_schedule" not in settings and {"sigma_max", "sigma_data", "beta_max"} & set(settings):
        raise InputError(
            f"a schedule of class {kind} is not one of betas over training steps, which alone is supported"
        )
    diffusers = import_extra("diffusers", "diffusion", "a noise schedule")
    noise = {name: settings[name] for name in _NOISE if settings.get(name) is not None}
    try:
        scheduler = diffusers.DDPMScheduler(**noise)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise InputError(f"the noise schedule {noise} cannot be built: {error}") from error
    kept: Tensor = scheduler.alphas_cumprod
    return kept


def build_scheduler(
    settings: Mapping[str, Any], solver: SolverName, *, prediction: str, latent: bool, changes: Mapping[str, Any]
) -> Any:  # noqa: ANN401 - of an extra
    """A scheduler of the diffusers library, with the settings of a folder as far as its class has them.

    Args:
        settings: scheduler_config.json of the folder.
        solver: which scheduler.
        prediction: what the network predicts.
        latent: the images are latents of a VAE. Clipping estimates of the image to [−1, 1] is then the default of no
            scheduler here, while some classes of diffusers clip where a folder does not say.
        changes: settings to change, by their names in diffusers (``timestep_spacing``, ``use_karras_sigmas``, …).

    Raises:
        UnknownNameError: no such solver.
        InputError: settings that the scheduler does not have, or that it refuses.
    """
    if solver not in get_args(SolverName):
        raise unknown_name("solver", solver, get_args(SolverName))
    diffusers = import_extra("diffusers", "diffusion", f"the solver {solver}")
    kind = getattr(diffusers, _CLASSES[solver])
    own: dict[str, Any] = {name: value for name, value in settings.items() if not name.startswith("_")}
    if latent:
        own.setdefault("clip_sample", False)
    own["prediction_type"] = prediction
    own.pop("variance_type", None)  # a learned variance is dropped with the channels that hold it
    if settings.get("variance_type") not in (None, "learned", "learned_range") and solver == "ddpm":
        own["variance_type"] = settings["variance_type"]
    own.pop("algorithm_type", None)
    if solver == "sde-dpm-solver++":
        own["algorithm_type"] = "sde-dpmsolver++"
    unknown = sorted(set(changes) - set(kind().config))
    if unknown:
        raise unknown_name(f"setting of {_CLASSES[solver]}", unknown[0], kind().config)
    try:
        return kind.from_config({**own, **changes})
    except (TypeError, ValueError, NotImplementedError) as error:
        raise InputError(f"the solver {solver} cannot be built from {own}: {error}") from error


class Solver:
    """The steps of one run, from noise (step 0) to the image (after the last step).

    Args:
        generator: whose schedule and kind of prediction.
        name: which scheduler.
        steps: number of steps.
        eta: noise that DDIM adds, from 0 (none) to 1 (as much as DDPM).
        changes: settings of the scheduler to change.

    Raises:
        InputError: settings that cannot be used.
    """

    def __init__(
        self, generator: Generator, name: SolverName, steps: int, eta: float, changes: Mapping[str, Any]
    ) -> None:
        total = len(generator.denoiser.alphas_cumprod)
        if not 1 <= steps <= total:
            raise InputError(f"steps are 1 to {total}, the number of training timesteps; got {steps}")
        if not 0 <= eta <= 1:
            raise InputError(f"eta is 0 (no noise) to 1 (as much as DDPM); got {eta}")
        if eta and name != "ddim":
            raise InputError(f"eta belongs to the solver ddim; {name} has none")
        self.name: SolverName = name
        self.eta = eta
        self._given = generator.denoiser.prediction
        # Euler's ancestral scheduler does not take predictions of the image.
        self._taken: Prediction = "epsilon" if name == "euler-ancestral" and self._given == "sample" else self._given
        with quiet_loading():  # numpy and diffusers warn each other here
            self._scheduler = build_scheduler(
                generator.schedule,
                name,
                prediction=self._taken,
                latent=generator.vae is not None,
                changes=changes,
            )
            self._scheduler.set_timesteps(steps)  # on the CPU: schedulers index their tables with them
        self._device = generator.device
        self._times: list[float] = [float(time) for time in self._scheduler.timesteps]
        self._levels = self._all_levels()

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self._times)

    @property
    def random(self) -> bool:
        """Whether its steps add noise."""
        return self.name in ("ddpm", "euler-ancestral", "sde-dpm-solver++") or self.eta > 0

    @property
    def spacing(self) -> str:
        """How its timesteps are spread: ``leading``, ``trailing`` or ``linspace``, as diffusers names it."""
        return str(self._scheduler.config.timestep_spacing)

    def timestep(self, index: int) -> float:
        """Training timestep of a step, or of the end: the number of steps gives −1."""
        return self._times[index] if index < self.steps else -1.0

    def timesteps(self, index: int, count: int) -> Tensor:
        """Timestep of a step, for each of ``count`` rows."""
        times: Tensor = self._scheduler.timesteps[index]
        return times.expand(count).to(self._device)

    def level(self, index: int) -> tuple[float, float]:
        """Alpha and sigma before a step; the number of steps gives those of the result."""
        return self._levels[index]

    def begin(self, index: int) -> None:
        """Prepare for a run that begins with this step."""
        if hasattr(self._scheduler, "set_begin_index"):
            self._scheduler.set_begin_index(index)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Latents of the scheduler's scale from standard normal noise."""
        return noise * float(self._scheduler.init_noise_sigma)

    def internal(self, latents: Tensor, index: int) -> Tensor:
        """Latents of the network's scale before a step as those of the scheduler's scale."""
        return latents / self.level(index)[0] if self._scales else latents

    def external(self, latents: Tensor, index: int) -> Tensor:
        """Latents of the scheduler's scale before a step as those of the network's scale."""
        if not self._scales:
            return latents
        if index == self.steps:
            return latents * self.level(index)[0]
        scaled: Tensor = self._scheduler.scale_model_input(latents, self._scheduler.timesteps[index])
        return scaled

    def step(self, prediction: Tensor, index: int, latents: Tensor, rng: Randomness) -> Tensor:
        """One step of latents of the scheduler's scale; noise belongs to the example and the step's number."""
        if self._taken != self._given:
            prediction = convert(
                prediction, self._given, self._taken, self.external(latents, index), *self.level(index)
            )
        options: dict[str, Any] = {}
        if self.random:
            options["generator"] = _generators(rng, f"step {index}")
        if self.name == "ddim":
            options["eta"] = self.eta
        moment = self._scheduler.timesteps[index]
        moved: Tensor = self._scheduler.step(prediction, moment, latents, return_dict=False, **options)[0]
        return moved

    def copy(self) -> Solver:
        """An independent solver in the same state."""
        twin = copy.copy(self)
        twin._scheduler = copy.copy(self._scheduler)
        if self._memory is not None:
            twin._scheduler.model_outputs = list(self._memory)
        return twin

    def select(self, rows: Sequence[int] | Tensor) -> Solver:
        """An independent solver in the state of some samples, in this order; samples may repeat."""
        twin = self.copy()
        if twin._memory is not None:
            chosen = torch.as_tensor(rows)
            twin._scheduler.model_outputs = [
                None if kept is None else kept[chosen.to(kept.device)] for kept in twin._memory
            ]
        return twin

    @property
    def _scales(self) -> bool:
        return self.name in ("euler", "euler-ancestral")

    @property
    def _memory(self) -> list[Tensor | None] | None:
        """Earlier estimates that a multistep scheduler keeps."""
        return getattr(self._scheduler, "model_outputs", None)

    def _all_levels(self) -> list[tuple[float, float]]:
        if self.name not in ("ddim", "ddpm"):
            ratios = [float(sigma) for sigma in self._scheduler.sigmas]  # sigma / alpha
            return [(1 / (1 + ratio**2) ** 0.5, ratio / (1 + ratio**2) ** 0.5) for ratio in ratios]
        kept = self._scheduler.alphas_cumprod
        final = float(getattr(self._scheduler, "final_alpha_cumprod", 1.0))
        values = [*(float(kept[int(time)]) for time in self._times), final]
        return [(value**0.5, (1 - value) ** 0.5) for value in values]


def _generators(rng: Randomness, stream: str) -> list[torch.Generator]:
    """One CPU generator for each example: what a scheduler draws is a function of (seed, example, step) alone."""
    assert rng.ids is not None
    seeds = (derive_seed(rng.seed, *rng.path, stream, example) for example in rng.ids)
    return [torch.Generator().manual_seed(seed) for seed in seeds]
