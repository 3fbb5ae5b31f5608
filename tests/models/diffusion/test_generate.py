"""Images from seeds: batches change nothing, provenance says everything, wrong counts are refused."""

import pytest
import torch

from snellen.core.errors import InputError, ModelError
from snellen.core.images import Provenance
from snellen.models.diffusion.generate import Steering, generate
from snellen.models.diffusion.guidance import GradientGuidance
from snellen.models.diffusion.sampler import Sampler, seeded

PROMPTS = ["a red star", "a dog", "a red star", "fog"]
SEEDS = [5, 6, 7, 5]


class Listener:
    def __init__(self):
        self.heard = []

    def begin(self, task, total):
        self.heard.append(("begin", task, total))

    def advance(self, task, amount, note=""):
        self.heard.append(("advance", task, amount))

    def finish(self, task):
        self.heard.append(("finish", task))


@pytest.fixture(scope="module")
def sampler(smoke):
    return Sampler(smoke("stable-diffusion-1.5"), steps=3)


def test_images_do_not_depend_on_the_batch(sampler):
    listener = Listener()
    options = {"prompts": PROMPTS, "guidance_scale": [3.0, 1.0, 3.0, 2.0], "negative": "blurry"}
    whole = generate(sampler, SEEDS, batch_size=4, **options)
    parts = generate(sampler, SEEDS, batch_size=3, progress=listener, **options)
    assert whole.images.shape == (4, 3, 64, 64)
    torch.testing.assert_close(parts.images, whole.images, atol=1e-5, rtol=0)
    assert (whole.calls, whole.rows, parts.calls) == (3, 3 * 7, 6)
    assert listener.heard == [
        ("begin", "generating", 4),
        ("advance", "generating", 3),
        ("advance", "generating", 1),
        ("finish", "generating"),
    ]
    assert torch.equal(whole.bytes(), (whole.images * 255).round().byte())
    assert len(whole) == 4


def test_it_is_the_samplers_run(sampler):
    generator = sampler.generator
    made = generate(sampler, [7], prompts=["a dog"])
    state = sampler.run(sampler.start(seeded([7])), generator.encode_prompts(["a dog"]))
    torch.testing.assert_close(made.images, generator.decode(state.latents), atol=1e-6, rtol=0)


def test_provenance_and_settings(sampler, smoke):
    made = generate(sampler, [5, 6], prompts=PROMPTS[:2], guidance_scale=[3.0, 1.0])
    assert made.provenance[0] == Provenance(
        origin="generated", generator="diffusers:stable-diffusion-1.5", prompt="a red star", seed=5, guidance_scale=3.0
    )
    assert made.provenance[1].guidance_scale == 1.0
    assert made.settings == {
        "generator": "diffusers:stable-diffusion-1.5",
        "solver": "ddim",
        "steps": 3,
        "eta": 0.0,
        "height": 64,
        "width": 64,
    }
    digits = generate(Sampler(smoke("class-unet"), steps=2), [1], classes=[4])
    assert digits.provenance[0].prompt == "class 4"
    free = generate(Sampler(smoke("unconditional-unet"), steps=2), [1])
    assert free.provenance[0].prompt is None


def test_own_conditions_take_the_place_of_prompts(sampler):
    condition = sampler.generator.encode_prompts(["a dog"])
    own = generate(sampler, [7], condition=condition, prompts=["what is recorded"])
    assert torch.equal(own.images, generate(sampler, [7], prompts=["a dog"]).images)
    assert own.provenance[0].prompt == "what is recorded"
    away_from_itself = generate(sampler, [7], condition=condition, negative=condition, guidance_scale=5.0)
    assert torch.equal(away_from_itself.images, own.images)
    assert away_from_itself.rows == own.rows
    negative = sampler.generator.encode_prompts(["blurry"])
    by_condition = generate(sampler, [7], condition=condition, negative=negative, guidance_scale=5.0)
    by_prompt = generate(sampler, [7], prompts=["a dog"], negative="blurry", guidance_scale=5.0)
    torch.testing.assert_close(by_condition.images, by_prompt.images, atol=1e-5, rtol=0)


def test_a_prompt_that_is_the_negative_prompt_runs_once(sampler):
    prompts = ["blurry", "a dog"]
    made = generate(sampler, [7, 8], prompts=prompts, negative="blurry", guidance_scale=5.0)
    assert (made.calls, made.rows) == (3, 3 * 3)
    assert [origin.guidance_scale for origin in made.provenance] == [5.0, 5.0]
    plain = generate(sampler, [7], prompts=prompts[:1])
    torch.testing.assert_close(made.images[0], plain.images[0], atol=1e-5, rtol=0)
    guided = generate(sampler, [8], prompts=prompts[1:], negative="blurry", guidance_scale=5.0)
    torch.testing.assert_close(made.images[1], guided.images[0], atol=1e-4, rtol=0)
    only = generate(sampler, [7], prompts=prompts[:1], negative="blurry", guidance_scale=5.0)
    assert only.rows == plain.rows


def test_settings_name_what_changes_the_images(sampler):
    spaced = Sampler(sampler.generator, steps=2, settings={"timestep_spacing": "trailing"})
    made = generate(spaced, [1], prompts=["a dog"], negative="blurry", guidance_scale=2.0)
    assert made.settings["timestep_spacing"] == "trailing"
    assert made.settings["negative"] == "blurry"
    assert "negative" not in generate(spaced, [1], prompts=["a dog"], negative="blurry").settings


def test_a_batch_can_be_steered(sampler):
    asked = []

    def steer(batch, rng):
        asked.append((list(batch), rng.ids))
        return Steering(guidance=[GradientGuidance(lambda latents, view: latents.flatten(1).sum(1), 2.0)])

    steered = generate(sampler, SEEDS, prompts=PROMPTS, batch_size=3, steer=steer)
    assert asked == [([0, 1, 2], ("5", "6", "7")), ([3], ("5",))]
    assert float((steered.images - generate(sampler, SEEDS, prompts=PROMPTS).images).abs().max()) > 1e-3


def test_other_sizes(sampler):
    made = generate(sampler, [1], prompts=["a"], size=(64, 72))
    assert made.images.shape == (1, 3, 64, 72)
    assert (made.settings["height"], made.settings["width"]) == (64, 72)


def test_what_does_not_fit_is_refused(sampler, smoke):
    free, digits = (Sampler(smoke(name), steps=2) for name in ("unconditional-unet", "class-unet"))
    null = sampler.generator.null(1)
    cases = [
        (lambda: generate(sampler, [1, 2], prompts=["a"]), "2 seeds came with 1 prompts; give one for each seed"),
        (lambda: generate(digits, [1], classes=[1, 2]), "1 seeds came with 2 classes"),
        (lambda: generate(sampler, [1, 2], condition=null), "2 seeds came with 1 rows of the condition"),
        (lambda: generate(sampler, [1, 2], prompts=["a"] * 2, negative=null, guidance_scale=2.0), "1 rows of the neg"),
        (lambda: generate(sampler, [1]), "takes prompts: give one for each seed"),
        (lambda: generate(sampler, []), "no seed"),
        (lambda: generate(sampler, [1], prompts=["a"], batch_size=0), "batch_size is at least 1"),
        (lambda: generate(sampler, [1], prompts=["a"], size=(60, 60)), "multiples of 8"),
        (lambda: generate(sampler, [1], prompts="a"), "got the string 'a'"),
        (lambda: generate(sampler, [1], prompts=["a"], guidance_scale=[1.0, 2.0]), "2 guidance scales came for 1"),
        (lambda: generate(free, [1], guidance_scale=2.0), "takes no condition, so there is nothing to guide"),
        (lambda: generate(free, [1], prompts=["a"]), "takes nothing, not prompts"),
    ]
    for call, message in cases:
        with pytest.raises(InputError, match=message):
            call()
    with pytest.raises(ModelError, match="latents are not finite after step"):
        generate(sampler, [1], prompts=["a"], guidance_scale=1e38)
