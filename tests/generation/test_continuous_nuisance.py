"""The method: a trajectory for each request, what is told of it, and what it refuses before anything is trained."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from snellen.diffusion.generate import generate
from snellen.diffusion.loading import load_generator
from snellen.diffusion.sampler import Sampler
from snellen.errors import InputError
from snellen.generation import continuous_nuisance as module
from snellen.generation.continuous_nuisance import ContinuousNuisance, sliders_of
from snellen.nuisance_sliders.filtering import SCORES
from snellen.nuisance_sliders.settings import SliderFit
from snellen.randomness import Randomness

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


def test_an_image_does_not_depend_on_what_else_is_asked_for(method, made):
    alone = method.generate(REQUESTS[3:], rng=Randomness(0))
    assert np.abs(pixels(alone, "d/2.5") - pixels(made, "d/2.5")).max() <= 1
    twice = method.generate([REQUESTS[0], {**REQUESTS[0], "id": "again"}], rng=Randomness(0))
    assert np.abs(pixels(twice, "again/2.5") - pixels(made, "a/2.5")).max() <= 1


@pytest.mark.covers("2.6", "2.15")
def test_rejected_trajectories_are_told_as_a_whole(method, monkeypatch):
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
        sliders_of(ContinuousNuisance(**empty))


def test_identities_tell_sliders(method, made):
    assert {"slider fog", "slider striped", "denoiser"} <= set(method.identities())
    assert "not calibrated" in method.notes()[0]
