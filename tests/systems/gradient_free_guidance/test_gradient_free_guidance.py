"""The method ``gradient-free-guidance``: requests in, images with decisions out; what it refuses, and when."""

import json

import numpy as np
import pytest
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnknownNameError
from snellen.core.index import entry
from snellen.core.randomness import Randomness
from snellen.methods.generation import guided_sampling
from snellen.methods.generation.sample import Sample
from snellen.models.diffusion.generate import generate as sample
from snellen.models.diffusion.sampler import Sampler
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.systems.gradient_free_guidance import method as module
from snellen.systems.gradient_free_guidance.method import GradientFreeGuidance
from snellen.verbs.generate import generate
from snellen.verbs.requests import load_requests

REQUESTS = [
    {"id": "a", "class": "Shirt", "seed": 1},
    {"id": "b", "class": 3, "seed": 2},
    {"id": "c", "class": "Bag"},
]


def method(**changes):
    return GradientFreeGuidance(**{"steps": 3, **changes})


def reported(images):
    return [json.loads(str(row)) for row in images.column("attributes")]


def test_images_come_with_decisions_and_provenance():
    own = method(judge="bundled:fashion-judge")
    images = own.generate(REQUESTS, rng=Randomness(0))
    assert images.ids == ["a", "b", "c"]
    assert images.column("caption") == ["Shirt", "Dress", "Bag"]
    rows = reported(images)
    assert rows[0]["guided"]
    names = own.known_classes()
    for row, name in zip(rows, ("Shirt", "Dress", "Bag"), strict=True):
        assert all(
            0 <= step < 3 and away in names and away != name and 1 < w <= 5 for step, away, w, _ in row["guided"]
        )
    first, second, *_ = own.notes()
    assert "of the 3 images made now" in first
    assert "bundled:fashion-cnn was shown 9 estimates" in first
    assert second.startswith("bundled:fashion-judge sees the requested class in ")
    assert second.endswith("of 3 images")


def test_asking_twice_what_was_decided_counts_once():
    own = method()
    requested = own.generator_call(REQUESTS, Randomness(0))
    steer = own.steering(requested)
    sampler = Sampler(requested.generator, steps=3)
    sample(sampler, requested.seeds, condition=requested.own, steer=steer, batch_size=2)
    assert steer.reported() == steer.reported()
    assert steer.tally.images == 3
    assert steer.tally.classified == 9


def test_gamma_zero_gives_the_images_of_plain_sampling():
    plain = Sample(generator="bundled:fashion-diffusion", guidance_scale=1.0, steps=3)
    none = method(gamma=0.0).generate(REQUESTS, rng=Randomness(0))
    assert none.content_hash(0) == plain.generate(REQUESTS, rng=Randomness(0)).content_hash(0)
    assert [row["guided"] for row in reported(none)] == [[], [], []]
    guided = method(gamma=3.0).generate(REQUESTS, rng=Randomness(0))
    assert guided.content_hash(0) != none.content_hash(0)


def test_each_combination_makes_other_images():
    settings = [
        {},
        {"reference": "even"},
        {"scale": "linear", "lowest_scale": 2.0, "highest_scale": 2.0},
        {"guidance_scale": 2.0},
        {"guidance_scale": 2.0, "mix": True},
        {"weak": "bundled:fashion-diffusion", "weak_scale": 4.5, "confused_above": 0.0},
        {"lagged_reference": True},
        {"every": 2},
        {"reference": "fixed", "fixed_reference": "Sandal"},
    ]
    hashes = {method(**one).generate(REQUESTS[:1], rng=Randomness(0)).content_hash(0) for one in settings}
    assert len(hashes) == len(settings)
    fixed = reported(method(reference="fixed", fixed_reference="Sandal").generate(REQUESTS[:1], rng=Randomness(0)))
    assert {away for _, away, *_ in fixed[0]["guided"]} == {"Sandal"}


def test_a_stopped_run_goes_on(tmp_path):
    (tmp_path / "asked.json").write_text(json.dumps(REQUESTS), encoding="utf-8")
    requests = load_requests(str(tmp_path / "asked.json"))
    whole = generate(method(), requests, out=tmp_path / "whole", batch_size=1)

    class Stops(GradientFreeGuidance):
        def generate(self, requests, *, rng):
            if requests[0]["id"] == "b":
                raise KeyboardInterrupt
            return super().generate(requests, rng=rng)

    with pytest.raises(KeyboardInterrupt):
        generate(Stops(steps=3), requests, out=tmp_path / "stopped", batch_size=1)
    again = method()
    generate(again, requests, out=tmp_path / "stopped", batch_size=1)
    assert "of the 2 images made now" in again.notes()[0]
    assert whole.manifest.read_bytes() == (tmp_path / "stopped" / "manifest.csv").read_bytes()


def test_what_it_made_is_no_part_of_what_it_is():
    own = method()
    own.generate(REQUESTS[:1], rng=Randomness(0))
    assert own == method()
    assert own.cache_key() == method().cache_key()
    assert method().notes() == ()
    assert set(own.identities()) == {"denoiser", "classifier"}
    assert set(method(weak="bundled:fashion-diffusion", judge="bundled:fashion-judge").identities()) == {
        "denoiser",
        "weak denoiser",
        "classifier",
        "judge",
    }


def test_prompts_say_where_the_class_is():
    requested = [
        {"id": "a", "class": "star", "seed": 1},
        {"id": "b", "class": "ring", "prompt": "a red ring", "seed": 2},
    ]
    scenes = method(generator="bundled:scene-diffusion", classifier="bundled:scene-cnn", skip_below=0.0)
    images = scenes.generate(requested, rng=Randomness(0))
    assert images.column("caption") == ["a star", "a red ring"]
    assert all(row["guided"] for row in reported(images))
    with pytest.raises(InputError, match="does not say where its class is"):
        scenes.generate([{"id": "a", "class": "star", "prompt": "a red box"}], rng=Randomness(0))
    with pytest.raises(InputError, match="each image needs a class"):
        scenes.generate([{"id": "a", "prompt": "a red star"}], rng=Randomness(0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": -1.0}, "at least 0"),
        ({"mix": True}, "guidance_scale 1.0"),
        ({"weak": "bundled:fashion-diffusion", "guidance_scale": 2.0}, "leave mix and guidance_scale away"),
        ({"reference": "fixed"}, "fixed_reference goes with"),
        ({"fixed_reference": "Bag"}, "fixed_reference goes with"),
        ({"judge": "bundled:fashion-cnn"}, "the judge is another classifier"),
        ({"lowest_scale": 3.0, "highest_scale": 2.0}, "the lowest not above the highest"),
        ({"sigmas": (3.0, 1.0)}, "the lower one first"),
        ({"every": 0}, "at least 1"),
    ],
)
def test_fields_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        method(**settings)


def test_what_does_not_fit_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    (tmp_path / "asked.json").write_text(json.dumps(REQUESTS), encoding="utf-8")
    requests = load_requests(str(tmp_path / "asked.json"))
    loaded = module.classifier_of
    known = loaded("bundled:fashion-cnn", None)
    assert known.module is not None
    others = {
        "one class": Classifier(nn.Flatten(), class_names=["Shirt"]),
        "strangers": Classifier(nn.Flatten(), class_names=["Shirt", "Hat"]),
        "the guide again": Classifier(known.module, class_names=known.class_names),
        "few": Classifier(nn.Linear(2, 2), class_names=["Shirt", "Bag"]),
    }
    monkeypatch.setattr(module, "classifier_of", lambda name, classes=None: others.get(name) or loaded(name, classes))
    cases = [
        (method(classifier="one class"), "at least two classes"),
        (method(classifier="strangers"), "must have the same names of classes"),
        (method(judge="the guide again"), "a guide does not judge itself"),
        (method(judge="few"), "does not know the classes T-shirt/top"),
        (method(reference="fixed", fixed_reference="Hat"), "unknown class of fixed_reference 'Hat'"),
    ]
    for refused, message in cases:
        with pytest.raises(InputError, match=message):
            generate(refused, requests, out=tmp_path / "none")
        assert not list((tmp_path / "none").glob("images/*"))


def test_names_of_classes_can_be_given(tmp_path):
    listed = tmp_path / "names.txt"
    listed.write_text("\n".join(f"class {number}" for number in range(10)), encoding="utf-8")
    folder = write_smoke_folder("class-unet", tmp_path / "unet")
    own = method(generator=f"diffusers:{folder}", classes=str(listed), steps=2)
    images = own.generate([{"id": "x", "class": "class 3", "seed": 0}], rng=Randomness(0))
    assert images.column("caption") == ["class 3"]
    with pytest.raises(InputError, match="must have the same names"):
        method(generator=f"diffusers:{folder}", steps=2).identities()


@pytest.mark.parametrize("fields", [{}, {"guidance_scale": 2.0}, {"guidance_scale": 2.0, "mix": True}])
def test_images_that_are_sampled_in_several_batches_are_the_same(monkeypatch, fields):
    """Each batch knows its own classes and prompts."""
    requested = [
        {"id": name, "class": name, "prompt": f"a {colour} {{}}", "seed": seed}
        for seed, (name, colour) in enumerate((("star", "red"), ("ring", "blue"), ("heart", "green")))
    ]
    scenes = method(generator="bundled:scene-diffusion", classifier="bundled:scene-cnn", temperature=20.0, **fields)
    together = scenes.generate(requested, rng=Randomness(0))
    monkeypatch.setattr(guided_sampling, "_TOGETHER", 1)
    apart = scenes.generate(requested, rng=Randomness(0))
    for row in range(3):
        difference = np.array(together.read(row)).astype(int) - np.array(apart.read(row))
        assert abs(difference).max() <= 1
    for one, other in zip(reported(together), reported(apart), strict=True):
        assert [step[:2] for step in one["guided"]] == [step[:2] for step in other["guided"]]
        assert one["mean scale"] == pytest.approx(other["mean scale"], abs=1e-3)


def test_it_is_found_under_its_names():
    for name in ("gradient-free-guidance", "gfcg"):
        assert entry("generation", name).load() is GradientFreeGuidance
    with pytest.raises(UnknownNameError, match="gradient-free"):
        entry("generation", "gradient-free-guidence")
