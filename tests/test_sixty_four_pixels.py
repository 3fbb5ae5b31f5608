"""The scripts that make a generator of 64 pixels and measure it, at the smallest size."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import snellen
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.sampler import Sampler

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The script, and the folder that it wrote after two updates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS / "embedded"))
        patch.syspath_prepend(str(SCRIPTS))
        script = importlib.import_module("train_scene_autoencoder_64")
        folder = tmp_path_factory.mktemp("build")
        for module in (script, sys.modules["runs"]):
            patch.setattr(module, "BUILD", folder)
        patch.setattr(script, "COUNT", 8)
        patch.setattr(script, "PLAN", script.PLAN.model_copy(update={"epochs": 2, "batch_size": 8, "warmup_steps": 1}))
        patch.setattr(sys, "argv", ["train_scene_autoencoder_64.py"])
        threads = torch.get_num_threads()
        script.main()
        torch.set_num_threads(threads)
        yield script, folder / script.NAME


def test_a_deeper_autoencoder_begins_with_the_weights_of_the_embedded_one(trained):
    script, _ = trained
    embedded = script.AutoencoderKL(**script.EMBEDDED)
    embedded.register_to_config(scaling_factor=0.5)
    ours, theirs = script.deepened(embedded), embedded.state_dict()
    assert ours.config.scaling_factor == 0.5
    weights = ours.state_dict()
    for name in (
        "quant_conv.weight",
        "decoder.up_blocks.2.resnets.0.conv1.weight",
        "decoder.mid_block.resnets.0.conv1.bias",
    ):
        assert torch.equal(weights[name], theirs[name])
    first = "encoder.down_blocks.{}.resnets.0.conv1.weight"
    assert torch.equal(weights[first.format(2)], theirs[first.format(1)])
    assert not torch.equal(weights[first.format(0)], theirs[first.format(0)])


def test_a_halved_scene_is_nearly_the_scene_that_is_drawn_half_as_large(trained):
    script, _ = trained
    drawn = script.scenes(script.WORLD, "val", count=16, seen=True)
    small, large = (
        script.SceneExamples(drawn, side, None, "val").images().float() / 127.5 - 1 for side in (script.SIZE, 64)
    )
    assert (script.halved(large) - small).square().mean().sqrt() < 0.05


def test_the_folder_is_a_generator_of_64_pixels_that_has_the_embedded_denoiser(trained):
    _, folder = trained
    made = snellen.load_generator(f"diffusers:{folder}")
    embedded = snellen.load_generator("bundled:scene-diffusion")
    assert made.image_size == (64, 64)
    assert embedded.image_size == (32, 32)
    ours, theirs = made.denoiser.network.state_dict(), embedded.denoiser.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    found = generate(Sampler(made, steps=2), seeds=[0], prompts=["a star"], guidance_scale=2.0)
    assert found.images.shape == (1, 3, 64, 64)


def test_the_record_holds_what_the_autoencoder_is_worth(trained):
    _, folder = trained
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert record["autoencoder"]["recipe"]["script"].endswith("train_scene_autoencoder_64.py")
    assert set(record["autoencoder"]["validation"]) == {"drawn", "returned", "latents", "enlarged"}
    assert "denoiser" in record
    assert not (folder / "card.json").exists()
