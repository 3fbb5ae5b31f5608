"""The method ``sample``: requests of classes and prompts, the three references, and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.generation import guided_sampling as module
from snellen.methods.generation.sample import Sample
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.models.diffusion.smoke import write_smoke_folder

SEEDED = [{"id": "a", "class": "cat", "seed": 5}, {"id": "b", "prompt": "a red dog", "class": "dog", "seed": 6}]


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    kinds = {"prompts": "stable-diffusion-1.5", "classes": "class-unet", "nothing": "unconditional-unet"}
    made = {kind: f"diffusers:{write_smoke_folder(name, folder / kind)}" for kind, name in kinds.items()}
    weak = write_smoke_folder("stable-diffusion-1.5", folder / "weak", seed=1)
    return {**made, "weak": f"diffusers:{weak}"}


def pixels(images):
    return torch.stack([torch.from_numpy(np.array(images.read(row))) for row in range(len(images))])


def sampled(reference, requests=SEEDED, **fields):
    return Sample(generator=reference, steps=2, **fields).generate(requests, rng=Randomness(0))


def plain(reference, **options):
    made = generate(Sampler(load_generator(reference), steps=2), [5, 6], **options)
    return made.bytes().permute(0, 2, 3, 1)


def close(first, second):
    return float((first.float() - second.float()).abs().max()) <= 1.0


def test_images_are_those_of_classifier_free_guidance_and_say_what_they_are(references):
    images = sampled(references["prompts"], guidance_scale=4.0)
    prompts = ["a cat", "a red dog"]
    assert close(pixels(images), plain(references["prompts"], prompts=prompts, guidance_scale=4.0))
    assert images.column("caption") == prompts
    assert [images.class_names[label] for label in images.labels] == ["cat", "dog"]
    origins = [json.loads(str(one)) for one in images.column("provenance")]
    assert [(one["prompt"], one["seed"], one["guidance_scale"]) for one in origins] == [
        ("a cat", 5, 4.0),
        ("a red dog", 6, 4.0),
    ]


def test_scale_one_is_plain_sampling_and_needs_no_reference(references):
    found = sampled(references["prompts"], guidance_scale=1.0, rescale=0.7)
    assert torch.equal(pixels(found), plain(references["prompts"], prompts=["a cat", "a red dog"]))
    requests = [{"id": "a", "seed": 5}, {"id": "b", "seed": 6}]
    free = sampled(references["nothing"], requests, guidance_scale=1.0)
    assert torch.equal(pixels(free), plain(references["nothing"]))


def test_a_negative_prompt_and_a_weak_denoiser_are_other_references(references):
    prompts = ["a cat", "a red dog"]
    negative = pixels(sampled(references["prompts"], guidance_scale=4.0, negative="blurry"))
    wanted = plain(references["prompts"], prompts=prompts, guidance_scale=4.0, negative="blurry")
    assert close(negative, wanted)
    own = pixels(sampled(references["prompts"], guidance_scale=4.0, negative="a red dog"))
    assert close(own[1], plain(references["prompts"], prompts=prompts)[1])
    weak = pixels(sampled(references["prompts"], guidance_scale=3.0, weak=references["weak"]))
    itself = pixels(sampled(references["prompts"], guidance_scale=3.0, weak=references["prompts"]))
    assert close(itself, plain(references["prompts"], prompts=prompts))
    assert not close(weak, itself)


def test_an_interval_and_rescaling_change_what_guidance_does(references):
    strong = pixels(sampled(references["prompts"], guidance_scale=6.0))
    early = pixels(sampled(references["prompts"], guidance_scale=6.0, interval=(400, 1000)))
    never = pixels(sampled(references["prompts"], guidance_scale=6.0, interval=(2000, 3000)))
    rescaled = pixels(sampled(references["prompts"], guidance_scale=6.0, rescale=1.0))
    assert torch.equal(never, plain(references["prompts"], prompts=["a cat", "a red dog"]))
    assert not torch.equal(early, strong)
    assert not close(early, never)
    assert not close(rescaled, strong)


def test_a_generator_of_classes_is_queried_by_name_or_number(references):
    requests = [{"id": "a", "class": 3, "seed": 5}, {"id": "b", "class": "class 7", "seed": 6}]
    images = sampled(references["classes"], requests, guidance_scale=2.0)
    assert close(pixels(images), plain(references["classes"], classes=[3, 7], guidance_scale=2.0))
    assert images.column("caption") == ["class 3", "class 7"]
    assert images.labels.tolist() == [3, 7]


def test_an_image_depends_on_its_request_alone(references):
    requests = [{"id": name, "class": "cat"} for name in "abc"]
    together = pixels(sampled(references["prompts"], requests))
    alone = pixels(sampled(references["prompts"], requests[1:2]))
    assert close(together[1:2], alone)
    assert not close(together[0], together[1])


def test_prompts_say_where_their_class_is(references):
    method = Sample(generator=references["prompts"])
    requests = [
        {"id": "a", "class": "dog", "prompt": "a dog on grass"},
        {"id": "b", "class": "dog", "prompt": "one {} more"},
        {"id": "c", "class": "dog", "caption": "a dog and a dog"},
        {"id": "d", "prompt": "a dog"},
        {"id": "e", "class": "dog", "prompt": "a dog, by a dog-rose and hotdogs"},
    ]
    asked = method.generator_call(requests, Randomness(0))
    assert asked.templates == (
        "a {} on grass",
        "one {} more",
        "a dog and a dog",
        "a dog",
        "a {}, by a dog-rose and hotdogs",
    )
    assert asked.classes.tolist() == [0, 0, 0, -1, 0]


@pytest.mark.parametrize(
    ("kind", "fields", "requests", "message"),
    [
        ("nothing", {}, [{"id": "a"}], "nothing to guide away from: --guidance-scale"),
        ("prompts", {}, [{"id": "a"}], "neither a 'class' nor a text 'prompt'"),
        ("classes", {}, [{"id": "a", "class": "cat"}], "names class 'cat'; there are class 0"),
        ("classes", {}, [{"id": "a", "class": 99}], "names class 99; there are 0 to"),
        ("classes", {}, [{"id": "a"}], "request 'a' names no class, and the generator takes nothing else"),
        ("classes", {}, [{"id": "a", "class": 1, "prompt": "a cat"}], "has a prompt, and .* takes classes: leave"),
        ("classes", {"negative": "a"}, [{"id": "a", "class": 1}], "takes classes, not prompts"),
        ("nothing", {"guidance_scale": 1.0}, [{"id": "a", "class": "cat"}], "so it cannot take a class"),
        ("prompts", {}, [{"id": "a", "class": 1}, {"id": "b", "class": 2}], "names class 1; .* so name it"),
        ("prompts", {}, [{"id": "a", "class": "cat", "seed": "7"}], "a seed is a whole number; got '7'"),
        ("prompts", {}, [{"id": "a", "class": "cat", "seed": None}], "a seed is a whole number; got None"),
    ],
)
def test_what_does_not_go_together_is_refused(references, kind, fields, requests, message):
    with pytest.raises(InputError, match=message):
        sampled(references[kind], requests, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"negative": "a", "weak": "bundled:scene-diffusion"}, "both what to guide away from"),
        ({"interval": (9, 3)}, "from a lower to a higher timestep; got 9.0 to 3.0"),
        ({"interval": (float("nan"), 3)}, "from a lower to a higher timestep"),
        ({"rescale": 1.5}, "at most 1"),
        ({"guidance_scale": float("nan")}, "finite"),
    ],
)
def test_fields_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Sample(**fields)


def test_classes_of_one_name_are_requested_by_number(references, monkeypatch):
    """ImageNet has two kinds of crane."""
    known = load_generator(references["classes"])
    names = ("crane", "dog", "crane", *(f"n{row}" for row in range(known.classes - 3)))
    monkeypatch.setattr(module, "generator_of", lambda reference: replace(known, class_names=names))
    method = Sample(generator="cranes")
    asked = method.generator_call([{"id": "a", "class": 2}, {"id": "b", "class": "dog"}], Randomness(0))
    assert asked.own.classes.tolist() == [2, 1]
    with pytest.raises(InputError, match="several classes are called 'crane'; ask by number"):
        method.generator_call([{"id": "a", "class": "crane"}], Randomness(0))


def test_weights_are_reported(references):
    one = Sample(generator=references["prompts"]).identities()
    two = Sample(generator=references["prompts"], weak=references["weak"]).identities()
    assert set(one) == {"denoiser", "text_encoder", "vae"}
    assert two["weak denoiser"] != two["denoiser"] == one["denoiser"]
