"""Adapters of a generator: they start at nothing, are all that changes, are swapped, and stop before they copy."""

import itertools
import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import snellen
from snellen.core.errors import InputError, RunConflictError
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.references import load_images
from snellen.data.worlds.optotypes.small_world import WORLD
from snellen.methods.generation.made_images import generator_of
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.nearness import spread_of, thumbnails
from snellen.models.diffusion.denoiser import squared_errors, training_target
from snellen.models.diffusion.fitting import _window, cropped_latents, denoising_loss
from snellen.models.diffusion.generator_adapters import CARD, NAME, GeneratorAdapters, model_hashes
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.systems.few_shot_adaptation import adapting
from snellen.systems.few_shot_adaptation.adapting import (
    AdapterFit,
    Shots,
    fit_adapter,
)
from snellen.systems.few_shot_adaptation.few_shot import _read, few_shot, fit_adapters
from snellen.systems.few_shot_adaptation.shots import FewerShotsWarning, domain_template, few_shots

TINY = AdapterFit(
    rank=2, alpha=2, most_steps=2, batch_size=2, learning_rate=1e-2, warmup_steps=0, crops=1, check_every=0
)
METHOD = ByName(steps=1)
NAMES = ("star", "ring")


def scenes(count=24, split="train"):
    return WORLD.model_copy(update={"shapes": NAMES, "count": count}).images(split=split)


@pytest.fixture(scope="module")
def source():
    return few_shots(scenes(), 2)


@pytest.fixture(scope="module")
def by_class(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters") / "by-class"
    return fit_adapters(METHOD, source, folder, fit=TINY)


@pytest.fixture(scope="module")
def shared(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters") / "shared"
    return fit_adapters(METHOD, source, folder, fit=TINY.model_copy(update={"variant": "set"}))


# -- shots -------------------------------------------------------------------------------------------------------------


@pytest.mark.covers("8.9")
def test_shots_of_a_smaller_number_are_among_those_of_a_larger_one():
    images = scenes(60)
    chosen = [set(few_shots(images, count, seed=3).images.ids) for count in (1, 2, 4, 8)]
    for small, large in itertools.pairwise(chosen):
        assert small < large
    assert set(few_shots(images, 4, seed=4).images.ids) != chosen[2]
    turned = images.select(list(reversed(range(len(images)))))
    assert set(few_shots(turned, 4, seed=3).images.ids) == chosen[2], "the order of files decides nothing"


def test_shots_are_training_images_alone():
    splits = ["train", "test", "val"] * 8
    images = scenes(24)
    marked = replace(images, split=None, table=images.table.drop_columns(["split"]).append_column("split", [splits]))
    found = few_shots(marked, 2)
    assert {splits[images.ids.index(one)] for one in found.images.ids} == {"train"}


def test_a_class_with_fewer_images_gives_them_all_and_one_without_any_is_refused():
    images = scenes(24)
    ones = [row for row, label in enumerate(images.labels) if label]
    few = images.select([*ones[:3], int(np.argmin(images.labels))])
    with pytest.warns(FewerShotsWarning, match="1 classes have fewer than 3 training images"):
        assert sorted(np.bincount(few_shots(few, 3).images.labels)) == [1, 3]
    with pytest.raises(InputError, match="no training image of class"):
        few_shots(images.select(ones), 1)


def test_generated_images_are_no_shots():
    images = scenes(24)
    marked = replace(images, table=images.table.append_column("synthetic", [["1"] * len(images)]))
    with pytest.raises(InputError, match="shots are real images"):
        few_shots(marked, 1)


# -- the equation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["stable-diffusion-2.1", "stable-diffusion-xl"])
def test_the_loss_is_that_of_the_denoiser_on_noisy_latents_of_the_prompt(folder, tmp_path):
    generator = load_generator(f"diffusers:{write_smoke_folder(folder, tmp_path / folder)}")
    draws = torch.Generator().manual_seed(0)
    latents = torch.randn(2, *generator.latent_shape(), generator=draws)
    noise = torch.randn(latents.shape, generator=draws)
    times, prompts = torch.tensor([10, 900]), ["a star", "a ring"]
    kept = generator.denoiser.alphas_cumprod[times].view(2, 1, 1, 1)
    noisy = kept.sqrt() * latents + (1 - kept).sqrt() * noise
    target = training_target(generator.denoiser.prediction, latents, noise, generator.denoiser.alphas_cumprod, times)
    predicted = generator.denoiser(noisy, times, generator.encode_prompts(prompts))
    found = denoising_loss(generator, latents, prompts, times, noise, text=False)
    torch.testing.assert_close(found, squared_errors(predicted, target).mean())


# -- what is trained ---------------------------------------------------------------------------------------------------


def fresh(generator, text=True):
    """A fitting that is stopped before its first step, and what it would train."""
    seen = {}

    def first(parameters, **_):
        seen["parameters"] = [one.detach().clone() for one in parameters]
        seen["outputs"] = outputs(generator)
        seen["trained"] = {
            f"{part} {name}"
            for part, network in generator.modules().items()
            for name, one in network.named_parameters()
            if one.requires_grad
        }
        raise KeyboardInterrupt

    return seen, first


def outputs(generator):
    latents = torch.ones(1, *generator.latent_shape())
    with torch.no_grad():
        return generator.denoiser(latents, torch.tensor([500]), generator.encode_prompts(["a star"]))


@pytest.mark.covers("8.1")
@pytest.mark.covers("8.2")
@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("folder", ["stable-diffusion-2.1", "stable-diffusion-xl"])
def test_a_fresh_adapter_changes_nothing_and_is_all_that_is_trained(folder, text, tmp_path, monkeypatch):
    generator = load_generator(f"diffusers:{write_smoke_folder(folder, tmp_path / folder)}")
    before, weights = outputs(generator), model_hashes(generator)
    seen, first = fresh(generator)
    monkeypatch.setattr(torch.optim, "AdamW", first)
    shots = Shots(torch.zeros(1, *generator.latent_shape()), [["a star"]], torch.zeros(1, 3, 16, 16), None)
    fit = TINY.model_copy(update={"text": text})
    with pytest.raises(KeyboardInterrupt):
        fit_adapter(
            generator,
            shots,
            tmp_path / "out",
            fit=fit,
            guidance_scale=2.0,
            rng=Randomness(0),
            progress=Silent(),
            what="x",
        )
    assert torch.equal(seen["outputs"], before)
    assert all(f".{NAME}." in name for name in seen["trained"])
    assert {name.partition(" ")[0] for name in seen["trained"]} >= (
        {"denoiser", "text_encoder"} if text else {"denoiser"}
    )
    assert text or all(name.startswith("denoiser ") for name in seen["trained"])
    expected = 0
    for part, network in generator.modules().items():
        if part == "vae" or (part != "denoiser" and not text):
            continue
        ends = (
            ("to_q", "to_k", "to_v", "to_out.0") if part == "denoiser" else ("q_proj", "k_proj", "v_proj", "out_proj")
        )
        layers = [
            one for name, one in network.named_modules() if name.endswith(ends) and isinstance(one, torch.nn.Linear)
        ]
        assert layers
        expected += sum(2 * (one.in_features + one.out_features) for one in layers)
    assert sum(one.numel() for one in seen["parameters"]) == expected
    assert model_hashes(generator) == weights, "the generator is as it was"


@pytest.mark.covers("8.2")
def test_a_fitting_leaves_the_generator_as_it_was_and_changes_what_the_adapter_makes(by_class):
    generator = generator_of(METHOD.generator)
    assert model_hashes(generator) == by_class.card.models
    before = outputs(generator)
    with by_class.acting(generator, "star"):
        adapted = outputs(generator)
    assert not torch.equal(adapted, before)
    assert torch.equal(outputs(generator), before)
    assert {path.name for path in (by_class.folder / by_class.card.adapters["star"].folder).iterdir()} == {
        "adapter.json", "denoiser", "text_encoder",
    }  # fmt: skip


# -- class and set -----------------------------------------------------------------------------------------------------


@pytest.mark.covers("8.3")
def test_there_is_an_adapter_for_each_class_or_one_for_all(by_class, shared):
    assert set(by_class.card.adapters) == {"star", "ring"}
    assert {one.images for one in by_class.card.adapters.values()} == {2}
    assert by_class.card.adapters["star"].sha256 != by_class.card.adapters["ring"].sha256
    assert shared.card.classes == {"star": "all", "ring": "all"}
    assert shared.card.adapters["all"].images == 4


@pytest.mark.covers("8.3")
def test_adapters_of_classes_are_swapped_and_never_stacked(by_class, monkeypatch):
    generator = generator_of(METHOD.generator)
    acted = []
    plain = GeneratorAdapters.acting

    def watched(self, generator, name, strength=1.0):
        acted.append((name, len(getattr(generator.denoiser.network, "peft_config", {}))))
        return plain(self, generator, name, strength)

    monkeypatch.setattr(GeneratorAdapters, "acting", watched)
    adapted = METHOD.model_copy(update={"adapter": by_class.folder})
    requests = [
        {"id": f"{name}{index}", "label": name, "index": index, "prompt": f"a {name}", "seed": index}
        for index in range(2)
        for name in NAMES
    ]
    together = adapted.generate(requests, rng=Randomness(0))
    assert acted == [("star", 0), ("ring", 0)], "nothing is in the network when an adapter is put in"
    assert together.ids == [one["id"] for one in requests]
    assert [together.class_names[label] for label in together.labels] == [one["label"] for one in requests]
    for row, request in enumerate(requests):
        alone = adapted.generate([request], rng=Randomness(0))
        difference = np.abs(np.asarray(together.read(row), int) - np.asarray(alone.read(0), int))
        assert difference.max() <= 1, "an image does not depend on whose adapter acted before"
    with (
        by_class.acting(generator, "star"),
        pytest.raises(InputError, match="carries adapters already"),
        by_class.acting(generator, "ring"),
    ):
        pass
    assert model_hashes(generator) == by_class.card.models


# -- prompts and guidance ----------------------------------------------------------------------------------------------


@pytest.mark.covers("8.4")
def test_images_are_generated_from_the_prompts_of_the_fitting(by_class, tmp_path):
    assert domain_template("texture") == "a texture photo of a {}"
    assert by_class.card.prompts == {"star": ("a star",), "ring": ("a ring",)}
    other = METHOD.model_copy(update={"adapter": by_class.folder, "templates": ("a red {}",)})
    with pytest.raises(InputError, match="from 'a red ring', and its adapter was fitted with 'a ring'"):
        snellen.synthesize(other, ["ring", "star"], out=tmp_path / "out", count=1)
    with pytest.raises(InputError, match="no adapter of class 'heart'"):
        snellen.synthesize(other.model_copy(update={"templates": ("a {}",)}), ["heart"], out=tmp_path / "out", count=1)


@pytest.mark.covers("8.4")
def test_the_prompt_of_a_step_is_that_of_its_shot(source, tmp_path, monkeypatch):
    seen = []
    plain = adapting.denoising_loss

    def watched(generator, latents, prompts, *rest, **options):
        seen.append((latents.clone(), list(prompts)))
        return plain(generator, latents, prompts, *rest, **options)

    monkeypatch.setattr(adapting, "denoising_loss", watched)
    method = METHOD.model_copy(update={"templates": ("a red {}",)})
    found = fit_adapters(
        method, source, tmp_path / "out", fit=TINY.model_copy(update={"variant": "set", "batch_size": 4})
    )
    assert found.card.prompts["star"] == ("a red star",)
    generator = generator_of(METHOD.generator)
    pixels = [torch.from_numpy(np.array(source.images.read(row))).permute(2, 0, 1) / 255 for row in range(4)]
    latents = cropped_latents(generator, pixels, TINY.crops, Randomness(0).child("few-shot", "all"))
    for batch, prompts in seen:
        for one, prompt in zip(batch, prompts, strict=True):
            row = int((latents - one).flatten(1).norm(dim=1).argmin())
            assert prompt == f"a red {source.classes[source.images.labels[row]]}"


@pytest.mark.covers("8.5")
def test_guidance_is_two_by_default_and_reaches_images_and_record(by_class, tmp_path):
    assert ByName().guidance_scale == 2.0
    made = {}
    for scale in (1.0, 2.0):
        method = METHOD.model_copy(update={"adapter": by_class.folder, "guidance_scale": scale, "steps": 2})
        made[scale] = method.generate([{"id": "a", "label": "star", "prompt": "a star", "seed": 1}], rng=Randomness(0))
        assert json.loads(made[scale].column("provenance")[0])["guidance_scale"] == scale
    assert np.abs(np.asarray(made[1.0].read(0), int) - np.asarray(made[2.0].read(0), int)).max() > 1


# -- copies ------------------------------------------------------------------------------------------------------------


def fitted_with(copied, tmp_path, monkeypatch, most_steps=6):
    """A fitting whose checks see copies from a number of steps on."""
    generator = generator_of(METHOD.generator)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    calls = []

    def made(_sampler, seeds, **options):
        calls.append(options["guidance_scale"])
        pictures = images[:1] if 2 * len(calls) >= copied else torch.rand(1, 3, 32, 32)
        return type("Made", (), {"images": pictures.expand(len(seeds), -1, -1, -1)})

    monkeypatch.setattr(adapting, "generate", made)
    small = thumbnails(images)
    shots = Shots(
        cropped_latents(generator, list(images), TINY.crops, Randomness(0)), [["a star"]] * 3, small, spread_of(small)
    )
    fit = TINY.model_copy(update={"most_steps": most_steps, "check_every": 2, "checked": 2})
    found = fit_adapter(
        generator, shots, tmp_path / "one", fit=fit, guidance_scale=2.0, rng=Randomness(0), progress=Silent(), what="x"
    )
    assert set(calls) == {2.0}, "checks generate as the set will be generated"
    return found, len(calls)


def test_a_fitting_stops_at_copies_and_keeps_the_weights_before(tmp_path, monkeypatch):
    found, checks = fitted_with(4, tmp_path / "a", monkeypatch)
    assert (found.stopped, found.steps, checks) == (True, 2, 2)
    assert found.copies == ((2, 0.0), (4, 1.0))
    assert found.nearness[1] == (4, 0.0)
    shorter, _ = fitted_with(100, tmp_path / "b", monkeypatch, most_steps=6)
    assert (shorter.stopped, shorter.steps) == (False, 6)
    assert found.sha256 != shorter.sha256
    at_once, _ = fitted_with(2, tmp_path / "c", monkeypatch)
    assert (at_once.stopped, at_once.steps) == (True, 0)
    weights = {path.name for path in (tmp_path / "c" / "one" / "denoiser").iterdir()}
    assert "adapter_model.safetensors" in weights


# -- the whole call ----------------------------------------------------------------------------------------------------


def test_a_set_is_generated_and_its_copies_of_the_shots_are_counted(tmp_path):
    made = few_shot(scenes(), out=tmp_path / "set", method=METHOD, shots=2, count=2, fit=TINY)
    assert made.written == {"by_name": {"star": 2, "ring": 2}}
    assert made.copies["by_name"].of_real is not None
    assert made.plan["models"]["by_name"]["adapters"] == GeneratorAdapters.load(tmp_path / "set-adapters").identity
    images = snellen.load_images(made.manifest)
    assert set(images.column("synthetic")) == {"1"}
    again = few_shot(scenes(), out=tmp_path / "set", method=METHOD, shots=2, count=2, fit=TINY)
    assert again.written == made.written
    with pytest.raises(RunConflictError, match=r"other settings: \w+ \(there .*, now .*\)"):
        few_shot(scenes(), out=tmp_path / "set", method=METHOD, shots=1, count=2, fit=TINY)


def test_a_stopped_fitting_keeps_the_adapters_that_are_finished(source, tmp_path, monkeypatch):
    plain, calls = adapting.fit_adapter, []

    def stopped(*arguments, **options):
        calls.append(options["what"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(*arguments, **options)

    monkeypatch.setattr("snellen.systems.few_shot_adaptation.few_shot.fit_adapter", stopped)
    with pytest.raises(KeyboardInterrupt):
        fit_adapters(METHOD, source, tmp_path / "out", fit=TINY)
    assert not (tmp_path / "out" / CARD).exists()
    found = fit_adapters(METHOD, source, tmp_path / "out", fit=TINY)
    assert len(calls) == 3
    assert len(found.card.adapters) == 2


def test_changed_weights_and_other_generators_are_refused(by_class, shared, tmp_path):
    other = load_generator(f"diffusers:{write_smoke_folder('stable-diffusion-2.1', tmp_path / 'sd')}")
    with pytest.raises(InputError, match=r"has other weights \(denoiser"):
        by_class.check(other)
    file = shared.folder / "all" / "denoiser" / "adapter_model.safetensors"
    kept = file.read_bytes()
    file.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    try:
        with pytest.raises(InputError, match="file changed"):
            GeneratorAdapters.load(shared.folder)
    finally:
        file.write_bytes(kept)
    with pytest.raises(InputError, match="holds no adapters of a generator"):
        GeneratorAdapters.load(tmp_path)


def test_unreadable_shots_are_left_out_with_a_warning_and_a_class_of_them_is_refused(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    for row, name in enumerate(("star", "star", "heart", "heart")):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.fromarray(pixels[row]).save(tmp_path / name / f"{row}.png")
    (tmp_path / "star" / "broken.png").write_bytes(b"no picture")
    with pytest.warns(FewerShotsWarning, match="'heart' has 2"):
        source = few_shots(load_images(tmp_path), 3)
    with pytest.warns(FewerShotsWarning, match=r"1 of 5 shots cannot be read .* left out: star/broken.png \(.*\)$"):
        images, classes = _read(source)
    assert sorted(classes) == ["heart", "heart", "star", "star"]
    assert len(images) == 4
    for row in (0, 1):
        (tmp_path / "star" / f"{row}.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="no shot of class 'star' can be read"):
        _read(source)


def test_a_generator_of_classes_is_refused_and_enough_shots_are_no_reason_to_warn(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    images = load_arrays(pixels, [0, 0, 1, 1], class_names=NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert few_shots(images, 2).images.labels.tolist() == [0, 1, 0, 1]
    classes = ByName(generator="bundled:fashion-diffusion")
    with pytest.raises(InputError, match="takes classes"):
        fit_adapters(classes, few_shots(images, 2), tmp_path / "out", fit=TINY)


def test_windows_keep_the_aspect_and_lie_anywhere_along_the_long_side():
    """Left half 0, right half 1, in a ramp down: what a window shows says where it was cut."""
    across = torch.linspace(0, 1, 128).expand(3, 32, 128)
    draws = torch.Generator().manual_seed(0)
    cut = torch.cat([_window(across, (16, 16), draws) for _ in range(40)])
    assert cut.shape == (40, 3, 16, 16)
    # Scaled by a half: 16 of 64 columns, a quarter of the ramp.
    assert torch.allclose(cut[..., -1] - cut[..., 0], torch.tensor(15 / 63), atol=0.02)
    begins = cut[:, 0, 0, 0]
    assert float(begins.min()) < 0.15
    assert float(begins.max()) > 0.6
    down = torch.cat([_window(across.transpose(1, 2), (16, 16), draws) for _ in range(40)])
    assert float(down[:, 0, 0, 0].max()) > 0.6


def test_names_of_classes_alone_are_refused_by_what_they_lack(tmp_path):
    with pytest.raises(InputError, match="adapts to real images, and 'classes:star,heart' only names classes"):
        few_shot("classes:star,heart", out=tmp_path / "out")
