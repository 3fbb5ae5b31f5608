"""The sampler gives what the pipelines of diffusers give from the same noise, for each family, solver and guidance."""

import pytest
import torch

from snellen.models.diffusion.guidance import classifier_free
from snellen.models.diffusion.sampler import Sampler, seeded

PROMPTS = ["a red star on grass", "a photo of a dog"]
SOLVERS = {
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "euler": ("EulerDiscreteScheduler", {}),
    "dpm-solver++": ("DPMSolverMultistepScheduler", {}),
}

pytestmark = pytest.mark.usefixtures("quietly")


def ours(generator, condition, noise, solver, scale=1.0, negative=None, steps=6, **settings):
    sampler = Sampler(generator, steps=steps, solver=solver, settings=settings)
    terms = [] if scale == 1 else [classifier_free(scale, negative)]
    state = sampler.run(sampler.start(seeded([1, 2]), noise=noise), condition, guidance=terms)
    with torch.no_grad():
        return generator.decode(state.latents)


def noise_of(generator):
    return seeded([5, 9]).normal("x", generator.latent_shape())


def theirs(pipe, **options):
    return torch.from_numpy(pipe(num_inference_steps=6, output_type="np", **options).images).permute(0, 3, 1, 2)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scale", [1.0, 7.5])
@pytest.mark.parametrize("name", ["stable-diffusion-1.5", "stable-diffusion-2.1"])
def test_stable_diffusion(smoke, pipeline, name, scale, solver):
    generator = smoke(name)
    noise = noise_of(generator)
    negative = generator.encode_prompts(["blurry"] * 2)
    mine = ours(generator, generator.encode_prompts(PROMPTS), noise, solver, scale, negative)
    kind, settings = SOLVERS[solver]
    expected = theirs(
        pipeline(name, kind, **settings),
        prompt=PROMPTS,
        negative_prompt=["blurry"] * 2,
        guidance_scale=scale,
        latents=noise,
    )
    # Guidance multiplies differences of predictions, and with them their rounding.
    assert float((mine - expected).abs().max()) < (1e-5 if scale == 1 else 5e-5)
    assert float(mine.std()) > 0.05


@pytest.mark.parametrize("settings", [{"use_karras_sigmas": True}, {"timestep_spacing": "trailing"}])
@pytest.mark.parametrize("solver", ["euler", "dpm-solver++"])
def test_settings_of_the_scheduler_are_handed_on(smoke, pipeline, solver, settings):
    generator = smoke("stable-diffusion-1.5")
    noise = noise_of(generator)
    mine = ours(generator, generator.encode_prompts(PROMPTS), noise, solver, **settings)
    pipe = pipeline("stable-diffusion-1.5", SOLVERS[solver][0], **settings)
    expected = theirs(pipe, prompt=PROMPTS, guidance_scale=1.0, latents=noise)
    plain = ours(generator, generator.encode_prompts(PROMPTS), noise, solver)
    assert float((mine - expected).abs().max()) < 1e-5 < float((mine - plain).abs().max())


@pytest.mark.parametrize("solver", ["euler", "ddim"])
def test_stable_diffusion_xl_with_zeros_for_no_prompt(smoke, pipeline, solver):
    generator = smoke("stable-diffusion-xl")
    noise = noise_of(generator)
    mine = ours(generator, generator.encode_prompts(PROMPTS), noise, solver, 5.0, generator.null(2))
    kind, settings = SOLVERS[solver]
    pipe = pipeline("stable-diffusion-xl", kind, **settings)
    expected = theirs(pipe, prompt=PROMPTS, guidance_scale=5.0, latents=noise)
    assert float((mine - expected).abs().max()) < 5e-5


def test_stable_diffusion_xl_with_a_negative_prompt(smoke, pipeline):
    generator = smoke("stable-diffusion-xl")
    noise = noise_of(generator)
    negative = generator.encode_prompts(["blurry text"] * 2)
    mine = ours(generator, generator.encode_prompts(PROMPTS), noise, "euler", 5.0, negative)
    pipe = pipeline("stable-diffusion-xl", "EulerDiscreteScheduler")
    expected = theirs(pipe, prompt=PROMPTS, negative_prompt=["blurry text"] * 2, guidance_scale=5.0, latents=noise)
    assert float((mine - expected).abs().max()) < 5e-5


@pytest.mark.parametrize("solver", ["dpm-solver++", "ddim"])
def test_pixart_drops_the_learned_variance_and_masks_padding(smoke, pipeline, solver):
    generator = smoke("pixart")
    noise = noise_of(generator)
    mine = ours(generator, generator.encode_prompts(PROMPTS), noise, solver, 4.5, generator.null(2))
    kind, settings = SOLVERS[solver]
    pipe = pipeline("pixart", kind, **settings)
    expected = theirs(pipe, prompt=PROMPTS, guidance_scale=4.5, latents=noise, use_resolution_binning=False)
    assert float((mine - expected).abs().max()) < 5e-5


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_dit_with_the_null_class(smoke, pipeline, scale):
    generator = smoke("dit")
    draws = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    noise = torch.cat([torch.randn(1, 4, 8, 8, generator=draw) for draw in draws])
    mine = ours(generator, generator.encode_classes([3, 207]), noise, "ddim", scale, generator.null(2))
    draws = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    pipe = pipeline("dit", "DDIMScheduler")
    expected = theirs(pipe, class_labels=[3, 207], guidance_scale=scale, generator=draws)
    assert float((mine - expected).abs().max()) < (1e-5 if scale == 1 else 5e-5)


def test_a_ddpm_pipeline_gives_the_same_from_the_same_draws(smoke, pipeline):
    """Draws of our own are put in the place of the pipeline's, so that its noise is known."""
    generator = smoke("unconditional-unet")
    sampler = Sampler(generator, steps=5, solver="ddpm")
    rng = seeded([7])
    mine = generator.decode(sampler.run(sampler.start(rng)).latents)
    scheduler = pipeline("unconditional-unet", "DDPMScheduler").scheduler
    scheduler.set_timesteps(5)
    latents = rng.normal("noise", (3, 32, 32))
    with torch.no_grad():
        for index, moment in enumerate(scheduler.timesteps):
            predicted = generator.denoiser.network(latents, moment).sample
            drawn = rng.normal(f"step {index}", (3, 32, 32))
            mean = scheduler.step(predicted, moment, latents, generator=torch.Generator().manual_seed(0)).prev_sample
            added = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
            scale = scheduler._get_variance(moment) ** 0.5 if moment > 0 else 0
            latents = mean + scale * (drawn - added)
    assert float((mine - generator.decode(latents)).abs().max()) < 1e-5
