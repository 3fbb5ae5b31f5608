"""Edits by blending: pixels that stay do stay, and each picture is edited as if alone."""

import diffusers
import pytest
import torch

from snellen.core.errors import InputError
from snellen.models.diffusion.editor import BlendedEditor, check_edit, covering_mask, sampled_mask
from snellen.models.diffusion.generate import Steering
from snellen.models.diffusion.guidance import GradientGuidance
from snellen.models.diffusion.sampler import Sampler, initial_noise, seeded

pytestmark = pytest.mark.usefixtures("quietly")

SEEDS = [4, 9]
PROMPTS = ["a red star on grass", "a photo of a dog"]


def pictures(side):
    """Values between the steps of 2^-24, which a detour over [-1, 1] rounds."""
    return seeded([1, 2]).uniform("images", (3, side, side), 0, 1) ** 1.5


def two_sides(side):
    """Free on the right in the first picture, in the lower half in the second."""
    masks = torch.zeros(2, 1, side, side)
    masks[0, :, :, side // 2 :] = 1
    masks[1, :, side // 2 :] = 1
    return masks


@pytest.fixture(scope="module")
def pixels(smoke):
    return Sampler(smoke("unconditional-unet"), steps=4, solver="ddpm")


@pytest.fixture(scope="module")
def latents(smoke):
    return Sampler(smoke("stable-diffusion-1.5"), steps=4)


# -- oracle ----------------------------------------------------------------------------------------------------------


def test_edits_in_latents_are_those_of_the_pipeline(smoke_folder, latents):
    images, masks = pictures(64), two_sides(64)
    editor = BlendedEditor(latents, strength=0.5, guidance_scale=5.0, negative="blurry")
    mine = editor.edit(images, masks, PROMPTS, SEEDS)
    pipe = diffusers.StableDiffusionInpaintPipeline.from_pretrained(
        smoke_folder("stable-diffusion-1.5"), local_files_only=True, low_cpu_mem_usage=False
    )
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = diffusers.DDIMScheduler.from_config({**pipe.scheduler.config, "clip_sample": False})
    generator = latents.generator
    clean = generator.encode(images)
    noise = initial_noise(seeded(SEEDS), (4, 8, 8), generator)
    # The pipeline takes the latents of the first step, or draws its noise: let it draw ours.
    drawn = iter([noise])
    with pytest.MonkeyPatch.context() as patch:
        module = "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_inpaint.randn_tensor"
        patch.setattr(module, lambda *_, **__: next(drawn))
        expected = pipe(
            prompt=PROMPTS,
            negative_prompt=["blurry"] * 2,
            image=clean,
            mask_image=masks,
            masked_image_latents=clean,
            height=64,
            width=64,
            num_inference_steps=4,
            strength=0.5,
            guidance_scale=5.0,
            output_type="pt",
        ).images
    assert float((mine - expected).abs().max()) < 1e-4
    assert float((mine - generator.decode(clean)).abs().max()) > 0.1


def test_masks_of_latents():
    masks = torch.zeros(1, 1, 4, 6, dtype=torch.bool)
    masks[..., 1, 1] = masks[..., 2, 4] = True
    assert covering_mask(masks, 2).tolist() == [[[[1, 0, 0], [0, 0, 1]]]]
    assert sampled_mask(masks, 2).tolist() == [[[[0, 0, 0], [0, 0, 1]]]]
    interpolated = torch.nn.functional.interpolate(masks.float(), size=(2, 3))
    assert torch.equal(sampled_mask(masks, 2), interpolated)


# -- properties ------------------------------------------------------------------------------------------------------


def test_pixels_outside_of_the_mask_stay_to_the_bit(pixels):
    images, masks = pictures(32), two_sides(32)
    edited = BlendedEditor(pixels, strength=0.5).edit(images, masks, None, SEEDS)
    inside = masks.bool().expand_as(images)
    assert torch.equal(edited[~inside], images[~inside])
    assert float((edited - images)[inside].abs().mean()) > 0.05
    assert (float(edited.min()), float(edited.max())) >= (0, 0)
    assert float(edited.max()) <= 1
    loose = BlendedEditor(pixels, strength=0.5, paste=False).edit(images, masks, None, SEEDS)
    assert not torch.equal(loose, edited)
    assert torch.allclose(loose, edited, atol=1e-6), "the blend ends at these pixels, up to rounding"


def test_a_decoder_changes_what_stays_unless_it_is_put_back(latents):
    images, masks = pictures(64), two_sides(64)
    inside = masks.bool().expand_as(images)
    rendered = BlendedEditor(latents, strength=0.25).edit(images, masks, PROMPTS, SEEDS)
    assert not torch.allclose(rendered[~inside], images[~inside], atol=1e-2)
    pasted = BlendedEditor(latents, strength=0.25, paste=True).edit(images, masks, PROMPTS, SEEDS)
    assert torch.equal(pasted[~inside], images[~inside])
    assert torch.equal(pasted[inside], rendered[inside])


def test_a_batch_gives_what_single_pictures_give(pixels):
    images, masks = pictures(32), two_sides(32)
    whole = BlendedEditor(pixels).edit(images, masks, None, SEEDS)
    single = BlendedEditor(pixels, batch_size=1).edit(images, masks.bool(), None, SEEDS)
    assert torch.allclose(single, whole, atol=1e-4)
    assert not torch.allclose(BlendedEditor(pixels).edit(images, masks, None, [5, 9])[0], whole[0], atol=1e-2)


def test_another_background_can_be_the_start(pixels):
    images, masks = pictures(32), two_sides(32)
    editor = BlendedEditor(pixels, strength=0.25)
    background = torch.full_like(images, 0.9)
    edited = editor.edit(images, masks, None, SEEDS, start=background)
    plain = editor.edit(images, masks, None, SEEDS)
    inside = masks.bool().expand_as(images)
    assert torch.equal(edited[~inside], images[~inside])
    assert float(edited[inside].mean()) > float(plain[inside].mean()) + 0.05


def test_guidance_by_a_gradient_acts_inside_of_the_mask(pixels):
    images, masks = pictures(32), two_sides(32)

    def brightness(latents, view):
        return view.generator.decode(view.x0(view.evaluate(latents), latents), clamp=False).mean((1, 2, 3))

    def steer(batch, rng):
        return Steering(guidance=[GradientGuidance(brightness, 2001.0)])

    plain = BlendedEditor(pixels, strength=0.5).edit(images, masks, None, SEEDS)
    brighter = BlendedEditor(pixels, strength=0.5, steer=steer).edit(images, masks, None, SEEDS)
    inside = masks.bool().expand_as(images)
    assert torch.equal(brighter[~inside], images[~inside])
    assert float(brighter[inside].mean()) > float(plain[inside].mean()) + 0.01


def test_classes_are_given_as_a_condition(smoke):
    sampler = Sampler(smoke("class-unet"), steps=2)
    images, masks = pictures(32), two_sides(32)
    edited = [
        BlendedEditor(sampler, guidance_scale=2.0).edit(
            images, masks, None, SEEDS, condition=sampler.generator.encode_classes(classes)
        )
        for classes in ([1, 2], [3, 2])
    ]
    assert not torch.allclose(edited[0][0], edited[1][0], atol=1e-3)
    assert torch.allclose(edited[0][1], edited[1][1], atol=1e-5)


# -- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "masks", "seeds", "message"),
    [
        (pictures(32)[0], two_sides(32), SEEDS, r"images are float \(n, c, h, w\)"),
        (pictures(32) * 255, two_sides(32), SEEDS, r"images are in \[0, 1\]; got"),
        (pictures(32) * torch.nan, two_sides(32), SEEDS, r"images are in \[0, 1\]"),
        (
            pictures(32),
            two_sides(32)[:1],
            SEEDS,
            r"have shape \(2, 1, 32, 32\), one for each image; got \(1, 1, 32, 32\)",
        ),
        (pictures(32), two_sides(32)[:, 0], SEEDS, r"got \(2, 32, 32\)"),
        (pictures(32), two_sides(32) * 255, SEEDS, "values 1 .change. and 0 .stay. only"),
        (pictures(32), two_sides(32) * 0.5, SEEDS, "compare it with a threshold first"),
        (pictures(32), two_sides(32) * torch.tensor([1, 0]).view(2, 1, 1, 1), SEEDS, r"images \[1\] are empty"),
        (pictures(32), two_sides(32), [1], "2 images came with 1 seeds"),
    ],
)
def test_what_cannot_be_edited_is_refused(images, masks, seeds, message):
    with pytest.raises(InputError, match=message):
        check_edit(images, masks, seeds)


def test_what_the_generator_cannot_do_is_refused(pixels, latents, smoke):
    images, masks = pictures(32), two_sides(32)
    with pytest.raises(InputError, match="multiples of 8"):
        BlendedEditor(pixels).edit(images[..., :30], masks[..., :30], None, SEEDS)
    with pytest.raises(InputError, match="takes nothing, not prompts"):
        BlendedEditor(pixels).edit(images, masks, PROMPTS, SEEDS)
    with pytest.raises(InputError, match="no 'nothing' to guide away from"):
        BlendedEditor(pixels, guidance_scale=2.0).edit(images, masks, None, SEEDS)
    for prompts in (None, PROMPTS[:1], PROMPTS[0]):
        with pytest.raises(InputError, match="has one for each of the 2 images"):
            BlendedEditor(latents).edit(pictures(64), two_sides(64), prompts, SEEDS)
    with pytest.raises(InputError, match=r"give condition=generator\.encode_classes"):
        BlendedEditor(Sampler(smoke("class-unet"), steps=2)).edit(images, masks, None, SEEDS)
    condition = latents.generator.encode_prompts(PROMPTS)
    with pytest.raises(InputError, match="comes instead of prompts"):
        BlendedEditor(latents).edit(pictures(64), two_sides(64), PROMPTS, SEEDS, condition=condition)
    with pytest.raises(InputError, match="differ in shape"):
        BlendedEditor(pixels).edit(images, masks, None, SEEDS, start=images[:1])
    with pytest.raises(InputError, match="strength is the share of the 4 steps"):
        BlendedEditor(pixels, strength=0.2)
    with pytest.raises(InputError, match="batch_size is at least 1"):
        BlendedEditor(pixels, batch_size=0).edit(images, masks, None, SEEDS)
