"""The method: a trajectory for each request, what is told of it, and what it refuses before anything is trained."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.generation.made_images import generator_of
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.systems.continuous_nuisance import method as module
from snellen.systems.continuous_nuisance.filtering import SCORES
from snellen.systems.continuous_nuisance.method import ContinuousNuisance
from snellen.systems.continuous_nuisance.slider import SliderFit
from snellen.systems.continuous_nuisance.slider_folder import filter_of, nuisance_generator, sliders_of

pytest.importorskip("diffusers")
pytest.importorskip("peft")

QUICK = SliderFit(iterations=2, batch_size=1, steps=2, learning_rate=0.05)


@pytest.fixture(scope="module")
def method(tmp_path_factory):
    return ContinuousNuisance(
        concept=("fog", "striped=with stripes"), classes=("star", "ring"), sliders=str(tmp_path_factory.mktemp("own")),
        strengths=(0, 1, 2.5), template="a {}", steps=4, guidance_scale=2.0, fit=QUICK,
    )  # fmt: skip


REQUESTS = [
    {"id": "a", "class": "star", "concept": "fog", "seed": 7},
    {"id": "b", "class": "ring", "concept": "striped", "seed": 8},
    {"id": "c", "class": "star", "concept": "striped", "seed": 7},
    {"id": "d", "class": "ring", "concept": "fog"},
]


@pytest.fixture(scope="module")
def made(method):
    return method.generate(REQUESTS, rng=Randomness(0))


def pixels(images, key):
    return np.array(images.read(images.ids.index(key))).astype(int)


def test_a_trajectory_for_each_request_in_its_order(method, made):
    assert made.ids == [f"{key}/{strength}" for key in "abcd" for strength in ("0", "1", "2.5")]
    assert made.column("unit_id") == [key for key in "abcd" for _ in range(3)]
    assert [made.class_names[label] for label in made.labels[::3]] == ["star", "ring", "star", "ring"]
    told = [json.loads(str(text)) for text in made.column("attributes")]
    assert told[4] == {"class": "ring", "concept": "striped", "strength": 1.0, "seed": 8}
    assert told[9]["seed"] == told[11]["seed"]
    assert {json.loads(str(text))["prompt"] for text in made.column("provenance")} == {"a star", "a ring"}
    # Strength 0 of one class and seed is one image; above it shifts differ.
    assert np.array_equal(pixels(made, "a/0"), pixels(made, "c/0"))
    assert np.abs(pixels(made, "a/2.5") - pixels(made, "c/2.5")).max() > 2
    plain = generate(
        Sampler(load_generator("bundled:scene-diffusion"), steps=4), [7], prompts=["a star"], guidance_scale=2.0
    )
    assert np.abs(pixels(made, "a/0") - plain.bytes()[0].permute(1, 2, 0).numpy().astype(int)).max() <= 1


def test_an_image_does_not_depend_on_what_else_is_requested(method, made):
    alone = method.generate(REQUESTS[3:], rng=Randomness(0))
    assert np.abs(pixels(alone, "d/2.5") - pixels(made, "d/2.5")).max() <= 1
    twice = method.generate([REQUESTS[0], {**REQUESTS[0], "id": "again"}], rng=Randomness(0))
    assert np.abs(pixels(twice, "again/2.5") - pixels(made, "a/2.5")).max() <= 1


@pytest.mark.covers("2.6", "2.15")
def test_rejected_trajectories_are_reported_as_a_whole(method, monkeypatch):
    def scores(encoders, images, class_names, words, **_):
        assert (list(class_names), words) in ((["star"], "in fog"), (["ring"], "with stripes"))
        high = np.ones(images.shape[:2])
        spoilt = high.copy()
        spoilt[:, 1] = np.nan if class_names == ["star"] else 0
        return {name: spoilt if name != "class" else high for name in SCORES}

    monkeypatch.setattr(module, "filter_scores", scores)
    filtered = method.model_copy(
        update={
            "text_image": "bundled:scene-clip",
            "second_encoder": "bundled:scene-sam",
            "thresholds": dict.fromkeys(SCORES, 0.5),
        }
    )
    found = filtered.generate(REQUESTS[:2], rng=Randomness(0))
    told = [json.loads(str(text)) for text in found.column("attributes")]
    assert [row["kept"] for row in told] == [False] * 6
    assert {row["reason"] for row in told[:3]} == {"at strength 1, the score 'class and shift' is not a finite number"}
    assert {row["reason"] for row in told[3:]} == {"at strength 1, 1 of 4 scores exceeds its threshold, and 2 must"}
    origin = json.loads(str(found.column("provenance")[0]))
    assert (origin["accepted"], origin["reason"]) == (False, told[0]["reason"])
    assert "filter's encoder" in filtered.identities()


@pytest.mark.covers("2.14")
def test_what_is_refused_before_anything_is_trained(method, tmp_path):
    empty = {"classes": ("star",), "sliders": str(tmp_path / "none")}
    with pytest.raises(InputError, match="zebra"):
        ContinuousNuisance(concept=("fog",), classes=("zebra",), sliders=str(tmp_path)).check([{"id": "a"}])
    with pytest.raises(InputError, match="asks for the class 'cross'; there are star, ring"):
        method.check([{"id": "a", "class": "cross", "concept": "fog"}])
    with pytest.raises(InputError, match="asks for the concept None; there are fog, striped"):
        method.check([{"id": "a", "class": "star"}])
    with pytest.raises(InputError, match="multiples of 4"):
        ContinuousNuisance(concept=("fog",), size=33, **empty).check([{"id": "a"}])
    for fields, said in (
        ({"strengths": (0, 2, 1)}, "1 comes after 2"),
        ({"concept": ("fog", "fog")}, "two shifts called"),
        ({"text_image": "bundled:scene-clip"}, "both of them or none"),
        (
            {"text_image": "a", "second_encoder": "b", "thresholds": {"class": 1.0}},
            "thresholds are those of class, class and shift",
        ),
    ):
        with pytest.raises((ValidationError, InputError), match=said):
            ContinuousNuisance(**{"concept": ("fog",), **empty, **fields})
    assert not (tmp_path / "none").exists()
    assert "--concept" in str(ContinuousNuisance(**empty).missing())
    assert "--sliders" in str(ContinuousNuisance(concept=("fog",)).missing())
    assert "--classes" in str(ContinuousNuisance(concept=("fog",), sliders="x").missing())
    with pytest.raises(InputError, match="needs a shift"):
        sliders_of(ContinuousNuisance(**empty), ("star",))


def test_identities_tell_sliders(method, made):
    assert {"slider fog", "slider striped", "denoiser"} <= set(method.identities())
    assert "not calibrated" in method.notes()[0]


def test_each_class_has_sliders_of_its_own_where_requested(method, made, tmp_path):
    own = method.model_copy(update={"sliders_for": "each", "sliders": str(tmp_path), "concept": ("fog",)})
    asked = [REQUESTS[0], {**REQUESTS[0], "id": "b", "class": "ring"}]
    one = own.generate(asked[1:], rng=Randomness(0))
    assert [path.name for path in tmp_path.iterdir()] == ["ring"], "those of classes that are asked for alone"
    found = own.generate(asked, rng=Randomness(0))
    assert np.abs(pixels(one, "b/2.5") - pixels(found, "b/2.5")).max() <= 1
    assert np.array_equal(pixels(made, "a/0"), pixels(found, "a/0"))
    # A folder of one class is one of sliders, which others may be asked to use.
    of_stars = own.model_copy(update={"sliders_for": "all", "sliders": str(tmp_path / "star")})
    shared = of_stars.generate(asked, rng=Randomness(0))
    assert np.abs(pixels(shared, "a/2.5") - pixels(found, "a/2.5")).max() <= 1
    assert np.abs(pixels(shared, "b/2.5") - pixels(found, "b/2.5")).max() > 2
    sliders = sliders_of(own, own.classes)
    assert {name: by_shift["fog"].card.prompts for name, by_shift in sliders.items()} == {
        "star": ("a star",),
        "ring": ("a ring",),
    }
    identities = {key: value for key, value in own.identities().items() if key.startswith("slider")}
    assert identities == {f"slider {name}/fog": by_shift["fog"].card.sha256 for name, by_shift in sliders.items()}
    assert len(set(identities.values())) == 2
    with pytest.raises(InputError, match=r"was trained on 'a ring', not on 'a large ring' alone; take another folder"):
        sliders_of(own.model_copy(update={"template": "a large {}"}), ("ring",))


def test_images_have_the_size_and_the_weights_the_precision_that_are_requested(method):
    small = method.model_copy(update={"concept": ("fog",), "size": 48, "kept_size": 24})
    found = small.generate(REQUESTS[:1], rng=Randomness(0))
    assert found.read(0).size == (24, 24)
    whole = small.model_copy(update={"kept_size": None}).generate(REQUESTS[:1], rng=Randomness(0))
    assert whole.read(2).size == (48, 48)
    scaled = np.asarray(whole.read(2).resize((24, 24), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(scaled - np.asarray(found.read(2)).astype(int)).max() <= 3
    half = ContinuousNuisance(dtype="bfloat16")
    assert nuisance_generator(half).denoiser.dtype == torch.bfloat16
    assert nuisance_generator(method) is generator_of(method.generator), "loaded once"


def test_generator_and_encoders_run_on_the_given_device(method):
    towers = {"text_image": "bundled:scene-clip", "second_encoder": "bundled:scene-sam"}
    elsewhere = ContinuousNuisance(device="cuda:99", concept=("fog",), classes=("star",), sliders="x", **towers)
    for ask in (lambda: elsewhere.check([{"id": "a"}]), elsewhere.make_ready, lambda: filter_of(elsewhere)):
        with pytest.raises(InputError, match="device 'cuda:99'"):
            ask()


def test_a_generator_of_half_precision_trains_and_samples(tmp_path):
    half = ContinuousNuisance(
        concept=("fog",), classes=("star",), sliders=str(tmp_path), strengths=(0, 2.5), template="a {}", steps=2,
        guidance_scale=2.0, fit=SliderFit(iterations=1, batch_size=1, steps=2, learning_rate=0.05), dtype="bfloat16",
    )  # fmt: skip
    found = half.generate(REQUESTS[:1], rng=Randomness(0))
    assert np.abs(pixels(found, "a/0") - pixels(found, "a/2.5")).max() > 2
    with pytest.raises(InputError, match="was trained for bundled:scene-diffusion"):
        sliders_of(half.model_copy(update={"dtype": "float32"}), ("star",))
