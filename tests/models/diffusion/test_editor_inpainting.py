"""Inpainting models: what the pipeline of diffusers makes, and nothing left behind."""

import diffusers
import pytest
import torch

from snellen.core.errors import InputError
from snellen.models.diffusion.editor_inpainting import InpaintingEditor, inpainting_generator, load_inpainting_generator
from snellen.models.diffusion.generate import Steering
from snellen.models.diffusion.loading import load_generator, load_unchecked
from snellen.models.diffusion.sampler import Sampler, initial_noise, seeded
from snellen.models.diffusion.smoke import write_inpainting_smoke_folder
from snellen.models.diffusion.step_adapters import StepEdit
from snellen.models.layers.layer_edits import scale
from snellen.models.weights.quiet_loading import quiet_loading

pytestmark = pytest.mark.usefixtures("quietly")

PROMPTS = ["a red star on grass", "a photo of a dog"]
SEEDS = [4, 9]
SCHEDULERS = {"ddim": ("DDIMScheduler", {"clip_sample": False}), "euler": ("EulerDiscreteScheduler", {})}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_inpainting_smoke_folder(tmp_path_factory.mktemp("smoke") / "inpainting")


@pytest.fixture(scope="module")
def generator(folder):
    return load_inpainting_generator(f"diffusers:{folder}")


@pytest.fixture(scope="module")
def images():
    return seeded([1, 2]).uniform("images", (3, 64, 64), 0, 1)


@pytest.fixture(scope="module")
def masks():
    made = torch.zeros(2, 1, 64, 64)
    made[0, :, 10:37, 5:50] = 1  # not along the borders of latents
    made[1, :, :, 40:] = 1
    return made


@pytest.fixture(scope="module")
def pipe(folder):
    with quiet_loading():
        built = diffusers.StableDiffusionInpaintPipeline.from_pretrained(
            folder, local_files_only=True, low_cpu_mem_usage=False
        )
    built.set_progress_bar_config(disable=True)
    return built


# -- oracle ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SCHEDULERS)
@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_edits_are_those_of_the_pipeline(generator, pipe, images, masks, solver, guidance):
    editor = InpaintingEditor(Sampler(generator, steps=4, solver=solver), guidance_scale=guidance, negative="blurry")
    mine = editor.edit(images, masks, PROMPTS, SEEDS)
    kind, settings = SCHEDULERS[solver]
    pipe.scheduler = getattr(diffusers, kind).from_config({**pipe.scheduler.config, **settings})
    expected = pipe(
        prompt=PROMPTS,
        negative_prompt=["blurry"] * 2,
        image=images,
        mask_image=masks,
        masked_image_latents=editor.masked_input(images, masks, SEEDS).masked,
        height=64,
        width=64,
        num_inference_steps=4,
        guidance_scale=guidance,
        latents=initial_noise(seeded(SEEDS), (4, 8, 8), generator),
        output_type="pt",
    ).images
    assert float((mine - expected).abs().max()) < 1e-4
    assert float((mine - images).abs().max()) > 0.1


def test_the_network_is_shown_what_the_pipeline_shows_it(generator, pipe, images, masks):
    editor = InpaintingEditor(Sampler(generator, steps=4))
    shown = editor.masked_input(images, masks, SEEDS)
    with torch.no_grad():
        grey = pipe.image_processor.preprocess(images) * (masks < 0.5)
        found = pipe.vae.encode(grey).latent_dist
        mask, _ = pipe.prepare_mask_latents(masks, grey, 2, 64, 64, torch.float32, torch.device("cpu"), None, False)
        draw = seeded(SEEDS).child("masked").normal("encode", found.mean.shape[1:])
    assert torch.equal(shown.masks, mask)
    expected = (found.mean + found.std * draw) * pipe.vae.config.scaling_factor
    assert torch.allclose(shown.masked, expected, rtol=0, atol=1e-5)


# -- properties ------------------------------------------------------------------------------------------------------


def test_the_mask_and_the_picture_matter(generator, images, masks):
    editor = InpaintingEditor(Sampler(generator, steps=2))
    edited = editor.edit(images, masks, PROMPTS, SEEDS)
    assert not torch.allclose(editor.edit(images, 1 - masks, PROMPTS, SEEDS), edited, atol=1e-3)
    assert not torch.allclose(editor.edit(images.flip(0), masks, PROMPTS, SEEDS), edited, atol=1e-3)
    other = torch.where(masks.bool(), images.flip(0), images)
    assert torch.allclose(editor.edit(other, masks, PROMPTS, SEEDS), edited, atol=1e-5), "the masked part is not seen"


def test_a_batch_gives_what_single_pictures_give(generator, images, masks):
    sampler = Sampler(generator, steps=2)
    whole = InpaintingEditor(sampler, strength=0.5).edit(images, masks, PROMPTS, SEEDS)
    single = InpaintingEditor(sampler, strength=0.5, batch_size=1).edit(images, masks.bool(), PROMPTS, SEEDS)
    assert torch.allclose(single, whole, atol=1e-4)
    swapped = InpaintingEditor(sampler, strength=0.5).edit(images.flip(0), masks.flip(0), PROMPTS[::-1], SEEDS[::-1])
    assert torch.allclose(swapped.flip(0), whole, atol=1e-4)


def test_pixels_outside_of_the_mask_can_be_put_back(generator, images, masks):
    sampler = Sampler(generator, steps=1)
    free = InpaintingEditor(sampler).edit(images, masks, PROMPTS, SEEDS)
    pasted = InpaintingEditor(sampler, paste=True).edit(images, masks, PROMPTS, SEEDS)
    inside = masks.bool().expand_as(images)
    assert torch.equal(pasted[~inside], images[~inside])
    assert torch.equal(pasted[inside], free[inside])
    assert not torch.equal(free[~inside], images[~inside])


def test_layer_edits_act_beside_the_mask_and_nothing_is_left(generator, images, masks):
    network = generator.denoiser.network
    steering = Steering(context=StepEdit(network, "*.attn1", lambda _: scale(-3.0)))
    sampler = Sampler(generator, steps=1)
    plain = InpaintingEditor(sampler).edit(images, masks, PROMPTS, SEEDS)
    edited = InpaintingEditor(sampler, steer=lambda batch, rng: steering).edit(images, masks, PROMPTS, SEEDS)
    assert not torch.allclose(edited, plain, atol=1e-3)
    assert not network._forward_pre_hooks
    assert torch.equal(InpaintingEditor(sampler).edit(images, masks, PROMPTS, SEEDS), plain)


def test_the_same_seed_writes_the_same_folder(folder, tmp_path):
    again = write_inpainting_smoke_folder(tmp_path / "again")
    other = write_inpainting_smoke_folder(tmp_path / "other", seed=1)
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert (again / weights).read_bytes() == (folder / weights).read_bytes()
    assert (other / weights).read_bytes() != (folder / weights).read_bytes()


# -- failures --------------------------------------------------------------------------------------------------------


def test_other_generators_are_refused(smoke, folder):
    with pytest.raises(InputError, match=r"is no inpainting model: its network takes 4 channels, .* would be 9"):
        InpaintingEditor(Sampler(smoke("stable-diffusion-1.5")))
    with pytest.raises(InputError, match="is no inpainting model: its network takes 3 channels"):
        inpainting_generator(smoke("class-unet"))


@pytest.mark.parametrize("strength", [0.0, 0.1, 1.5])
def test_a_strength_without_steps_is_refused(generator, strength):
    with pytest.raises(InputError, match="strength is the share of the 4 steps"):
        InpaintingEditor(Sampler(generator, steps=4), strength=strength)


def test_an_ordinary_loading_is_refused(folder):
    with pytest.raises(InputError, match=r"takes 9 channels, but its latents have 4.*load_inpainting_generator\(\)"):
        load_generator(f"diffusers:{folder}")
    with pytest.raises(InputError, match="was loaded as an ordinary generator"):
        InpaintingEditor(Sampler(load_unchecked(f"diffusers:{folder}")))
