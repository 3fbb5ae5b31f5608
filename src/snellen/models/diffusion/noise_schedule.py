"""The noise schedule of a folder, and schedulers of the diffusers library that are built from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from torch import Tensor

from snellen.core.errors import InputError, import_extra, unknown_name

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
