"""Every smoke folder loads; each thing that can be wrong with a folder has its own message."""

import json
import shutil
import sys
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file

import snellen.models.diffusion.loading
from snellen.core.artifact import Lineage
from snellen.core.errors import InputError, MissingExtraError, UnknownNameError
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler, seeded
from snellen.models.diffusion.smoke import SMOKE_FOLDERS
from snellen.models.weights.bundled_folders import bundled_folder, write_card

EXPECTED = {
    "stable-diffusion-1.5": ("prompts", "epsilon", True),
    "stable-diffusion-2.1": ("prompts", "v_prediction", True),
    "stable-diffusion-xl": ("prompts", "epsilon", True),
    "pixart": ("prompts", "epsilon", True),
    "dit": ("classes", "epsilon", True),
    "class-unet": ("classes", "epsilon", False),
    "unconditional-unet": ("nothing", "epsilon", False),
    "adm-256": ("nothing", "epsilon", False),
}


def copy(folder, target):
    shutil.copytree(folder, target)
    return target


def change(path, **values):
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **values}), encoding="utf-8")


def sampled(generator):
    condition = generator.encode_classes([3]) if generator.takes == "classes" else None
    sampler = Sampler(generator, steps=3)
    return generator.decode(sampler.run(sampler.start(seeded([1])), condition).latents)


@pytest.mark.parametrize("name", SMOKE_FOLDERS)
def test_every_family_loads_frozen_and_quietly(smoke, capsys, name):
    before = torch.get_rng_state()
    generator = smoke(name)
    takes, prediction, latent = EXPECTED[name]
    assert (generator.takes, generator.denoiser.prediction, generator.vae is not None) == (takes, prediction, latent)
    assert generator.image_size == (generator.denoiser.size[0] * generator.factor,) * 2
    assert name in repr(generator)
    assert takes in repr(generator)
    for module in generator.modules().values():
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())
    assert torch.equal(before, torch.get_rng_state())
    assert capsys.readouterr() == ("", "")


def test_null_classes(smoke):
    assert (smoke("dit").classes, smoke("dit").null_class) == (1000, 1000)
    assert (smoke("class-unet").classes, smoke("class-unet").null_class) == (10, 10)
    assert smoke("class-unet").null(2).classes.tolist() == [10, 10]


def test_names_of_classes_say_whether_there_is_a_null_class(smoke_folder, tmp_path):
    folder = copy(smoke_folder("class-unet"), tmp_path / "named")
    change(folder / "model_index.json", id2label={str(index): f"kind {index}" for index in range(10)})
    named = load_generator(f"diffusers:{folder}")
    assert named.class_names[9] == "kind 9"
    assert named.null_class == 10
    change(folder / "model_index.json", id2label={str(index): f"kind {index}" for index in range(11)})
    without = load_generator(f"diffusers:{folder}")
    assert (without.classes, without.null_class) == (11, None)
    with pytest.raises(InputError, match="no class that means 'none'"):
        without.null(1)


def test_the_former_name_of_the_transformers_is_understood(smoke, smoke_folder, tmp_path):
    folder = copy(smoke_folder("dit"), tmp_path / "old")
    change(folder / "model_index.json", transformer=["diffusers", "Transformer2DModel"])
    change(folder / "transformer" / "config.json", _class_name="Transformer2DModel")
    assert torch.allclose(sampled(load_generator(f"diffusers:{folder}")), sampled(smoke("dit")), atol=1e-5)


def test_a_bare_network_with_its_scheduler(smoke, smoke_folder, tmp_path):
    source = smoke_folder("class-unet")
    bare = copy(source / "unet", tmp_path / "bare")
    with pytest.raises(InputError, match=r"no noise schedule; expected .*scheduler_config\.json"):
        load_generator(f"diffusers:{bare}")
    shutil.copy(source / "scheduler" / "scheduler_config.json", bare)
    assert torch.allclose(sampled(load_generator(f"diffusers:{bare}")), sampled(smoke("class-unet")), atol=1e-5)


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_half_precision_files_become_single_precision(smoke, smoke_folder, tmp_path, variant):
    folder = copy(smoke_folder("dit"), tmp_path / "half")
    for part in ("transformer", "vae"):
        path = folder / part / "diffusion_pytorch_model.safetensors"
        halves = {name: tensor.half() for name, tensor in load_file(path).items()}
        path.unlink()
        target = path if variant is None else path.with_name(f"diffusion_pytorch_model.{variant}.safetensors")
        save_file(halves, target, metadata={"format": "pt"})
    generator = load_generator(f"diffusers:{folder}")
    assert generator.denoiser.dtype == torch.float32 == generator.vae.dtype
    difference = (sampled(generator) - sampled(smoke("dit"))).abs().max()
    assert 0 < float(difference) < 0.02


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_weights_in_several_files(smoke, smoke_folder, tmp_path, variant):
    folder = copy(smoke_folder("class-unet"), tmp_path / "shards")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    smoke("class-unet").denoiser.network.save_pretrained(folder / "unet", max_shard_size="50KB", variant=variant)
    assert len(list((folder / "unet").glob("*.safetensors"))) > 2
    assert torch.allclose(sampled(load_generator(f"diffusers:{folder}")), sampled(smoke("class-unet")), atol=1e-5)


def test_weights_in_another_precision(smoke_folder):
    generator = load_generator(f"diffusers:{smoke_folder('dit')}", dtype=torch.bfloat16)
    assert generator.denoiser.dtype == torch.bfloat16
    assert sampled(generator).dtype == torch.float32


def test_a_decoder_that_overflows_in_half_precision_stays_in_single(smoke_folder, tmp_path):
    folder = copy(smoke_folder("dit"), tmp_path / "upcast")
    change(folder / "vae" / "config.json", force_upcast=False)
    assert load_generator(f"diffusers:{folder}", dtype=torch.bfloat16).vae.dtype == torch.bfloat16
    change(folder / "vae" / "config.json", force_upcast=True)
    assert load_generator(f"diffusers:{folder}", dtype=torch.bfloat16).vae.dtype == torch.float32


def test_a_bundled_folder_is_checked_against_its_card(smoke_folder, tmp_path, monkeypatch):
    folder = copy(smoke_folder("class-unet"), tmp_path / "tiny")
    lineage = Lineage(recipe={"method": "none"}, data="-", seed=0, code_version="0")
    write_card(folder, name="tiny", kind="diffusion", description="random weights", lineage=lineage)
    monkeypatch.setattr(snellen.models.diffusion.loading, "bundled_folder", partial(bundled_folder, assets=tmp_path))
    assert load_generator("bundled:tiny").name == "bundled:tiny"
    change(folder / "scheduler" / "scheduler_config.json", beta_end=0.03)
    with pytest.raises(InputError, match=r"sha256 .* is not the card's"):
        load_generator("bundled:tiny")
    with pytest.raises(UnknownNameError, match="unknown bundled model 'tine'; did you mean 'tiny'"):
        load_generator("bundled:tine")


def test_references_that_are_none(smoke_folder, tmp_path):
    for reference, message in (
        ("sd", "'sd' is not a reference of a generator; expected diffusers:FOLDER or bundled:NAME"),
        (str(tmp_path), f"write diffusers:{tmp_path}"),
        ("diffusers:", "names no generator"),
        ("diffuser:x", "unknown kind of generator 'diffuser'; did you mean 'diffusers'"),
        ("diffusers:stabilityai/sdxl", "not a folder on this machine.*hf download"),
        (f"diffusers:{tmp_path}", "neither model_index.json nor config.json"),
    ):
        with pytest.raises(InputError, match=message):
            load_generator(reference)
    with pytest.raises(InputError, match="unknown device 'gpu'"):
        load_generator(f"diffusers:{smoke_folder('dit')}", device="gpu")


def test_a_network_that_takes_more_than_noise_is_refused(smoke_folder, tmp_path):
    """Six channels in, three out, as in models that enlarge pictures."""
    folder = copy(smoke_folder("unconditional-unet"), tmp_path / "enlarging")
    change(folder / "unet" / "config.json", in_channels=6)
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["conv_in.weight"] = tensors["conv_in.weight"].repeat(1, 2, 1, 1)
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"takes 6 channels, but its latents have 3, .*load_inpainting_generator\(\)"):
        load_generator(f"diffusers:{folder}")


def test_a_missing_extra_is_named(smoke_folder, monkeypatch):
    folder = smoke_folder("dit")
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingExtraError, match=r"needs the package 'diffusers'.*snellen\[diffusion\]"):
        load_generator(f"diffusers:{folder}")


def broken(name, message):
    """A folder with one fault, and what is said of it."""

    def decorate(function):
        return pytest.param(name, function, message, id=function.__name__)

    return decorate


@broken("stable-diffusion-1.5", "names a vae, but there is no folder")
def no_folder_of_a_part(folder):
    shutil.rmtree(folder / "vae")


@broken("stable-diffusion-1.5", "a UNet2DConditionModel reads text, but the folder has no text_encoder")
def no_text_encoder(folder):
    change(folder / "model_index.json", text_encoder=[None, None])


@broken("stable-diffusion-1.5", "has a text_encoder but no tokenizer")
def no_tokenizer(folder):
    change(folder / "model_index.json", tokenizer=[None, None])


@broken("class-unet", "names no unet and no transformer; it has: _class_name")
def no_denoiser(folder):
    change(folder / "model_index.json", unet=[None, None])


@broken("class-unet", "a unet of class UNet3DConditionModel is not supported; expected one of UNet2DConditionModel")
def unknown_class(folder):
    change(folder / "model_index.json", unet=["diffusers", "UNet3DConditionModel"])


@broken("class-unet", "its weights in diffusion_pytorch_model.bin, a pickle, which is not read; convert it once")
def pickles(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_suffix(".bin"))


@broken("class-unet", "has no weights: expected diffusion_pytorch_model.safetensors or model.safetensors")
def no_weights(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()


@broken("class-unet", "has no config.json")
def no_configuration(folder):
    (folder / "unet" / "config.json").unlink()


@broken("class-unet", r"weights lack 2 tensors of a UNet2DModel \(conv_in.bias, conv_in.weight\)")
def weights_missing(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    kept = {name: tensor for name, tensor in load_file(path).items() if not name.startswith("conv_in")}
    save_file(kept, path, metadata={"format": "pt"})


@broken("class-unet", "cannot be loaded as a UNet2DModel")
def damaged_weights(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


@broken("class-unet", "model_index.json cannot be read")
def damaged_index(folder):
    (folder / "model_index.json").write_text("{", encoding="utf-8")


@broken("class-unet", "holds a list; expected a JSON object")
def strange_index(folder):
    (folder / "model_index.json").write_text("[]", encoding="utf-8")


@broken("class-unet", "prediction type 'flow_prediction' is not one of")
def unknown_prediction(folder):
    change(folder / "scheduler" / "scheduler_config.json", prediction_type="flow_prediction")


@broken("class-unet", "belongs to a flow-matching model")
def flow_matching(folder):
    change(folder / "scheduler" / "scheduler_config.json", _class_name="FlowMatchEulerDiscreteScheduler")


@broken("class-unet", "EDMEulerScheduler is not one of betas")
def schedule_of_sigmas(folder):
    settings = {"_class_name": "EDMEulerScheduler", "sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(settings), encoding="utf-8")


@broken("class-unet", "noise schedule .* cannot be built")
def unknown_schedule(folder):
    change(folder / "scheduler" / "scheduler_config.json", beta_schedule="square")


@broken("class-unet", "its schedule ends in pure noise")
def pure_noise(folder):
    change(folder / "scheduler" / "scheduler_config.json", rescale_betas_zero_snr=True)


@broken("class-unet", "gives no sample_size")
def no_size(folder):
    change(folder / "unet" / "config.json", sample_size=None)


@broken("stable-diffusion-xl", "text encoders CLIPTextModelWithProjection and CLIPTextModel are not read together")
def unknown_pair_of_towers(folder):
    change(folder / "model_index.json", text_encoder=["transformers", "CLIPTextModelWithProjection"])
    change(folder / "model_index.json", text_encoder_2=["transformers", "CLIPTextModel"])


@broken("stable-diffusion-xl", "a refiner, which takes an aesthetic score, is not supported")
def refiner(folder):
    change(folder / "model_index.json", requires_aesthetics_score=True)


@broken("stable-diffusion-1.5", "a UNet2DConditionModel with the text encoder T5EncoderModel is not supported")
def text_of_another_family(folder):
    change(folder / "model_index.json", text_encoder=["transformers", "T5EncoderModel"])


FAULTS = [fault for fault in vars().values() if isinstance(fault, type(pytest.param(0)))]


@pytest.mark.parametrize(("name", "fault", "message"), FAULTS)
def test_each_fault_of_a_folder_has_its_message(smoke_folder, tmp_path, name, fault, message):
    folder = copy(smoke_folder(name), tmp_path / "broken")
    fault(folder)
    with pytest.raises(InputError, match=message):
        load_generator(f"diffusers:{folder}")
