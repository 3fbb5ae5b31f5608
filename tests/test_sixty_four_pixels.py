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


@pytest.fixture
def measuring(trained, monkeypatch, tmp_path):
    """The script that measures, with the smallest sizes, and the folder that it works in."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    script = importlib.import_module("measure_generated_scenes")
    monkeypatch.setattr(script, "GENERATOR", trained[1])
    monkeypatch.setattr(script, "WRITTEN", tmp_path / "written.json")
    monkeypatch.setattr(script, "SHIFTS", {"textures": {"textures": ("striped",)}})
    return script


def tiny(script):
    by_updates = script.BY_UPDATES.model_copy(update={"amount": 4, "batch_size": 8})
    fit = script.FEW_SHOT.fit.model_copy(
        update={"most_steps": 1, "check_every": 0, "crops": 1, "rank": 2, "batch_size": 2}
    )
    by_epochs = script.BY_EPOCHS.model_copy(update={"amount": 1})
    return script.Size(
        steps=1, shift_real=2, shift_test=1, shift_seeds=2, shift_students=by_epochs, scales=(1.0, 4.0), real=4, made=4,
        validation=1, tested=1, probe=2, students=by_updates, plan_seeds=2, proof_seeds=2, shots=2, adapted_made=1,
        adapted_test=1, oracle=2, adapted_seeds=2, fit=fit,
    )  # fmt: skip


def measured_twice(script, part, monkeypatch, folder, calls):
    """What the script writes of a part; the second time nothing is called that measures."""
    size = tiny(script)
    monkeypatch.setattr(script, "Size", lambda: size)
    monkeypatch.setattr(sys, "argv", ["measure_generated_scenes.py", "--folder", str(folder / "work"), part])
    script.main()
    before = script.WRITTEN.read_bytes()

    def refused(*_, **__):
        raise AssertionError("a finished part is kept")

    monkeypatch.setattr(script, calls, refused)
    script.main()
    assert script.WRITTEN.read_bytes() == before
    found = json.loads(before)
    assert set(found) == {"autoencoder", part}
    return found


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("generated_set_tables")


def test_shifts_are_measured_once_and_kept(measuring, tables, monkeypatch, tmp_path):
    found = measured_twice(measuring, "shift", monkeypatch, tmp_path, "study_robustness")
    assert {row["arm"] for row in found["shift"]["accuracies"]} >= set(tables.ARMS)
    assert "| both, equal updates |" in tables.scenes_arms(found)


def test_laws_are_measured_once_and_kept(measuring, tables, monkeypatch, tmp_path):
    found = measured_twice(measuring, "laws", monkeypatch, tmp_path, "plan_synthesis")
    laws = found["laws"]
    assert [(row["scale"], row["than"]) for row in laws["differences"]] == [(1.0, 4.0)]
    assert laws["best"] in laws["scales"]
    assert {row["config"].partition(" + ")[0] for row in laws["gains"]} == {laws["best"]}
    assert {row["class_name"] for row in laws["classes"]} >= set(laws["unknown"])
    assert "| guidance 4 |" in tables.scenes_laws(found)


def test_adapting_is_measured_once_and_kept(measuring, tables, monkeypatch, tmp_path):
    found = measured_twice(measuring, "adapted", monkeypatch, tmp_path, "adapted_seed")
    adapted = found["adapted"]
    assert set(adapted["accuracy"]) == {"shots", "unadapted", "adapted", "adapted and shots", "oracle"}
    adapted["changes"]["adapted less unadapted"] = [0.3, 0.09, 0.5]
    assert "| Adapted images are better by 10 points or more | not shown |" in tables.scenes_adapted(found)
    adapted["changes"]["adapted less unadapted"] = [0.3, 0.11, 0.5]
    assert "| Adapted images are better by 10 points or more | holds |" in tables.scenes_adapted(found)


def test_without_its_generator_the_script_says_how_to_train_it(measuring, monkeypatch, tmp_path):
    monkeypatch.setattr(measuring, "GENERATOR", tmp_path / "none")
    with pytest.raises(SystemExit, match=r"train_scene_autoencoder_64\.py"):
        measuring.generator()


def test_differences_pair_the_seeds_of_two_curves(measuring):
    def run(config, size, seed, loss):
        return {"config": config, "size": size, "seed": seed, "loss": loss, "accuracy": 0.5, "test": "val"}

    runs = [
        run(config, size, seed, factor * (2 + seed) * size**-power)
        for config, factor, power in (("low", 1.0, 0.5), ("high", 2.0, 0.25))
        for size in (10, 20, 40)
        for seed in ((0, 1) if config == "low" else (1, 0))
    ]
    (found,) = measuring.differences(runs, {"low": 1.0, "high": 7.5})
    assert found["exponent"][0] == pytest.approx(0.25)
    by_seed = [(2 + seed) * (40**-0.5 - 2 * 40**-0.25) for seed in (0, 1)]
    assert found["loss"] == pytest.approx([sum(by_seed) / 2, min(by_seed), max(by_seed)])
