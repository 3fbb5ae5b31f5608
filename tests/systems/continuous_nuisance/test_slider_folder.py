"""Sliders in folders: whose they are, what is refused, and words that a small generator does not know."""

import json
import shutil

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.adapter_files import WEIGHTS
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.systems.continuous_nuisance import slider_folder
from snellen.systems.continuous_nuisance.slider import CARD, Slider, SliderFit, sliders_on
from snellen.systems.continuous_nuisance.slider_folder import sliders_in
from snellen.systems.continuous_nuisance.words import check_words, class_prompt, named_phrases, shifted_prompt

QUICK = SliderFit(iterations=1, batch_size=1, steps=2)


@pytest.mark.covers("2.13")
def test_a_slider_of_another_generator_or_with_other_weights_is_refused(generator, sliders, tmp_path):
    other = load_generator(f"diffusers:{write_smoke_folder('stable-diffusion-2.1', tmp_path / 'sd', seed=1)}")
    with pytest.raises(InputError, match=r"was trained for diffusers:sd .*other weights, text encoder or noise"):
        sliders["snow"].check(other)
    with pytest.raises(InputError, match="was trained for"), sliders_on(other, sliders):
        pass
    copied = tmp_path / "copied"
    shutil.copytree(sliders["sand"].folder, copied)
    assert Slider.load(copied).card == sliders["sand"].card
    shutil.copyfile(sliders["snow"].folder / WEIGHTS, copied / WEIGHTS)
    with pytest.raises(InputError, match="is not the card's"):
        Slider.load(copied)
    (copied / CARD).write_text("{}")
    with pytest.raises(InputError, match="not the card of a slider"):
        Slider.load(copied)
    (copied / CARD).unlink()
    with pytest.raises(InputError, match=f"no slider: {CARD} is missing"):
        Slider.load(copied)


@pytest.mark.covers("2.13")
def test_another_text_encoder_or_kind_of_prediction_is_another_generator(generator, sliders):
    tower = generator.text.towers[0].network
    weight = next(tower.parameters())
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.add_(1)
        try:
            with pytest.raises(InputError, match="text encoder"):
                sliders["snow"].check(generator)
        finally:
            weight.copy_(kept)
    sliders["snow"].check(generator)


def test_missing_sliders_are_trained_once_and_those_that_are_there_are_kept(generator, tmp_path):
    first = sliders_in(tmp_path, generator, {"snow": "in snow"}, ["a cat"], fit=QUICK)
    made = first["snow"].folder / WEIGHTS
    stamp = made.stat().st_mtime_ns
    shifts = {"snow": "in snow", "heavy rain": "in heavy rain"}
    both = sliders_in(tmp_path, generator, shifts, ["a cat"], fit=QUICK, seed=1)
    assert sliders_in(tmp_path, generator, shifts, ["a cat"]) == both
    assert made.stat().st_mtime_ns == stamp
    assert (list(both), both["snow"]) == (["snow", "heavy rain"], first["snow"])
    assert both["heavy rain"].card.seed == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["heavy rain", "snow"]
    card = json.loads((tmp_path / "snow" / CARD).read_text())
    assert card["fit"]["iterations"] == 1
    with pytest.raises(InputError, match="a slider of 'in snow', not of 'in sleet'"):
        sliders_in(tmp_path, generator, {"snow": "in sleet"}, ["a cat"])
    with pytest.raises(InputError, match="trained with iterations 1, not 400"):
        sliders_in(tmp_path, generator, {"snow": "in snow"}, ["a cat"], fit=SliderFit(batch_size=1, steps=2))
    for name in ("../snow", "", ".hidden"):
        with pytest.raises(InputError, match="letters, digits"):
            sliders_in(tmp_path, generator, {name: "in snow"}, ["a cat"], fit=QUICK)
    with pytest.raises(InputError, match="no shift"):
        sliders_in(tmp_path, generator, {}, ["a cat"])


def test_a_training_that_was_stopped_leaves_no_slider(generator, tmp_path, monkeypatch):
    def stopped(generator, folder, *args, **options):
        folder.mkdir(parents=True)
        (folder / WEIGHTS).write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(slider_folder, "fit_slider", stopped)
        with pytest.raises(KeyboardInterrupt):
            sliders_in(tmp_path, generator, {"snow": "in snow"}, ["a cat"], fit=QUICK)
    assert not (tmp_path / "snow").exists()
    assert sliders_in(tmp_path, generator, {"snow": "in snow"}, ["a cat"], fit=QUICK)["snow"].card.words == "in snow"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["snow"]


def test_a_generator_that_carries_adapters_is_refused_and_left_as_it_is(generator, sliders):
    carried = Adapters(generator.denoiser.network)
    carried.add("mine", SliderFit().low_rank(), rng=Randomness(0))
    try:
        with pytest.raises(InputError, match=r"other weights|carries adapters"), sliders_on(generator, sliders):
            pass
        assert carried.names == ("mine",)
    finally:
        carried.unload()


@pytest.mark.covers("2.14")
def test_a_word_that_the_generator_of_scenes_does_not_know_is_named(generator):
    scenes = load_generator("bundled:scene-diffusion")
    check_words(scenes, ["a picture of a star, in heavy fog", "A large ring, with stripes"])
    with pytest.raises(InputError, match="zebra") as told:
        check_words(scenes, ["a star", "a zebra, in fog"])
    assert "diffusers:FOLDER" in str(told.value)
    check_words(generator, ["a zebra, in fog"])  # any other generator has a vocabulary of its own


def test_prompts():
    assert shifted_prompt(class_prompt("a picture of a {}", "star"), "in fog") == "a picture of a star, in fog"
    assert shifted_prompt("a star", "in fog", "{} seen {}") == "a star seen in fog"
    assert class_prompt("a {}", "{}") == "a "
    for template in ("a star", "{} {}"):
        with pytest.raises(InputError, match="1 time; got"):
            class_prompt(template, "star")
    with pytest.raises(InputError, match="has words"):
        shifted_prompt("a star", " ")
    assert named_phrases(["fog", "dense=in dense fog", "striped = with stripes"]) == {
        "fog": "in fog", "dense": "in dense fog", "striped": "with stripes",
    }  # fmt: skip
    for wrong, said in ((["=fog"], "NAME=WORDS"), (["fog="], "NAME=WORDS"), (["fog", "fog=mist"], "two shifts")):
        with pytest.raises(InputError, match=said):
            named_phrases(wrong)
