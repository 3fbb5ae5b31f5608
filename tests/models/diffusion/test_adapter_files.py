"""Adapters as files: read again to the bit, by peft and by diffusers too, and what is refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from snellen.core.errors import InputError, UnknownNameError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.adapter_files import CONFIG, WEIGHTS, load_adapter, save_adapter
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.low_rank import ATTENTION, SLIDER, LowRank
from snellen.models.weights.quiet_loading import quiet_loading

diffusers = pytest.importorskip("diffusers")
peft = pytest.importorskip("peft")


def noise(*shape, seed=0):
    return Randomness(seed).bind(shape[0]).normal("inputs", shape[1:])


def make_unet(width=8):
    with quiet_loading():
        torch.manual_seed(0)
        unet = diffusers.UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(width, 2 * width),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=4,
            norm_num_groups=4,
        )
    return unet.eval().requires_grad_(False)


@torch.no_grad()
def run(unet):
    return unet(noise(2, 4, 8, 8), 500, noise(2, 5, 16)).sample


def trained(unet, settings=SLIDER):
    adapters = Adapters(unet)
    adapters.add("snow", settings, rng=Randomness(0))
    with torch.no_grad():
        for index, parameter in enumerate(adapters.parameters("snow")):
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)))
    return adapters


@pytest.fixture(scope="module")
def expected():
    """The un-adapted output and the one at strength 1."""
    unet = make_unet()
    adapters = trained(unet)
    with adapters.on({"snow": 1.0}):
        return run(make_unet()), run(unet)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_adapter(trained(make_unet()), "snow", tmp_path_factory.mktemp("adapters") / "snow")


# -- oracle ----------------------------------------------------------------------------------------------------------


def test_a_folder_is_read_again_to_the_bit(folder, expected):
    unet = make_unet()
    adapters = Adapters(unet)
    load_adapter(adapters, "winter", folder)
    assert adapters.names == ("winter",)
    assert adapters.identity("winter") == trained(make_unet()).identity("snow")
    assert torch.equal(run(unet), expected[0])
    with adapters.on({"winter": 1.0}):
        assert torch.equal(run(unet), expected[1])


def test_peft_reads_the_folder(folder, expected):
    with quiet_loading():
        model = peft.PeftModel.from_pretrained(make_unet(), folder)
    assert torch.allclose(run(model), expected[1], rtol=0, atol=1e-6)


def test_diffusers_reads_the_folder_with_its_scale(folder, expected):
    unet = make_unet()
    with quiet_loading():
        unet.load_lora_adapter(folder, weight_name=WEIGHTS, prefix="base_model.model", local_files_only=True)
    assert torch.allclose(run(unet), expected[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("settings", [SLIDER, ATTENTION])
def test_files_of_diffusers_are_read(settings, tmp_path):
    unet = make_unet()
    adapters = trained(unet, settings)
    with adapters.on({"snow": 1.0}):
        wanted = run(unet)
    with quiet_loading():
        unet.save_lora_adapter(tmp_path, adapter_name="snow")
    fresh = make_unet()
    again = Adapters(fresh)
    load_adapter(again, "snow", tmp_path / "pytorch_lora_weights.safetensors")
    with again.on({"snow": 1.0}):
        assert torch.equal(run(fresh), wanted)


def test_files_of_pipelines_are_read_by_the_name_of_the_part(folder, tmp_path):
    unet = make_unet()
    adapters = trained(unet, ATTENTION)
    layers = {f"unet.{key}": tensor.clone() for key, tensor in adapters.tensors("snow").items()}
    other = {"text_encoder.layers.0.q_proj.lora_A.weight": torch.zeros(2, 2)}
    save_file({**layers, **other}, tmp_path / "pipeline.safetensors")
    fresh = make_unet()
    again = Adapters(fresh)
    load_adapter(again, "snow", tmp_path / "pipeline.safetensors", prefix="unet")
    with adapters.on({"snow": 1.0}), again.on({"snow": 1.0}):
        assert torch.equal(run(fresh), run(unet)), "without a configuration alpha is the rank, as in diffusers"


def test_an_adapter_of_diffusers_with_different_ranks_is_read(tmp_path):
    layers = {"0": (3, 4, 8), "2": (2, 8, 2)}  # rank, in, out
    tensors = {}
    for layer, (rank, inputs, outputs) in layers.items():
        tensors[f"{layer}.lora_A.weight"] = noise(rank, inputs)
        tensors[f"{layer}.lora_B.weight"] = noise(outputs, rank, seed=1)
    save_file(tensors, tmp_path / "file.safetensors")
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    twin = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    twin.load_state_dict(network.state_dict())
    adapters = Adapters(network)
    load_adapter(adapters, "both", tmp_path / "file.safetensors")
    with torch.no_grad():
        for layer in layers:
            change = tensors[f"{layer}.lora_B.weight"] @ tensors[f"{layer}.lora_A.weight"]
            twin[int(layer)].weight += change
        with adapters.on({"both": 1.0}):
            assert torch.allclose(network(noise(5, 4)), twin(noise(5, 4)), atol=1e-5)


# -- properties ------------------------------------------------------------------------------------------------------


def test_the_same_adapter_gives_the_same_bytes(folder, tmp_path):
    again = save_adapter(trained(make_unet()), "snow", tmp_path)
    for name in (WEIGHTS, CONFIG):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    other = make_unet()
    adapters = trained(other)
    adapters.add("fog", ATTENTION, rng=Randomness(5))
    save_adapter(adapters, "snow", tmp_path / "beside another")
    assert (tmp_path / "beside another" / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()


def test_two_files_on_one_network(folder, expected, tmp_path):
    save_adapter(trained(make_unet(), ATTENTION), "snow", tmp_path)
    unet = make_unet()
    adapters = Adapters(unet)
    load_adapter(adapters, "first", folder)
    load_adapter(adapters, "second", tmp_path)
    with adapters.on({"first": 1.0}):
        assert torch.equal(run(unet), expected[1])
    with adapters.on({"first": 1.0, "second": 1.0}):
        assert not torch.allclose(run(unet), expected[1], atol=1e-2)


def test_reading_leaves_the_global_generator_alone(folder):
    state = torch.random.get_rng_state()
    load_adapter(Adapters(make_unet()), "snow", folder)
    assert torch.equal(torch.random.get_rng_state(), state)


# -- failures --------------------------------------------------------------------------------------------------------


def changed(folder, target, *, config=None, tensors=None):
    shutil.copytree(folder, target)
    if config is not None:
        settings = json.loads((target / CONFIG).read_text())
        (target / CONFIG).write_text(json.dumps({**settings, **config}))
    if tensors is not None:
        save_file(tensors(load_file(target / WEIGHTS)), target / WEIGHTS)
    return target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {"use_dora": True}}, "adapters with use_dora = True are not read"),
        ({"config": {"modules_to_save": ["conv_in"]}}, r"modules_to_save = \['conv_in'\]"),
        ({"config": {"bias": "all"}}, "bias = 'all'"),
        ({"config": {"peft_type": "LOKR"}}, "an adapter of type LOKR; only LORA is read"),
        ({"config": {"r": 8}}, r"is \(4, 8, 3, 3\) in the file, and \(8, 8, 3, 3\) by its configuration"),
        (
            {"tensors": lambda all_: dict(sorted(all_.items())[1:])},
            "one of the two factors of layer '.*' is missing",
        ),
        ({"tensors": lambda all_: {**all_, "base_model.model.x.lora_magnitude": torch.ones(1)}}, "is not a factor"),
        ({"tensors": lambda _: {"a.lora_A.weight": torch.ones(1, 1)}}, "unknown layer in"),
    ],
)
def test_what_is_more_or_less_than_low_rank_changes_is_refused(folder, tmp_path, changes, message):
    unet = make_unet()
    adapters = Adapters(unet)
    shown = repr(unet)
    with pytest.raises(InputError, match=message):
        load_adapter(adapters, "snow", changed(folder, tmp_path / "changed", **changes))
    assert adapters.names == ()
    assert repr(unet) == shown


def test_an_adapter_of_another_network_is_refused(folder, tmp_path):
    wide = Adapters(make_unet(width=16))
    with pytest.raises(InputError, match=r"by its configuration and the network; .* tensors do not fit"):
        load_adapter(wide, "snow", folder)
    with pytest.raises(UnknownNameError, match="the Sequential has no 'down_blocks"):
        load_adapter(Adapters(nn.Sequential(nn.Linear(2, 2))), "snow", folder)


def test_files_that_cannot_be_read_are_named(folder, tmp_path):
    adapters = Adapters(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(InputError, match=r"is not there; expected a folder with adapter_model\.safetensors"):
        load_adapter(adapters, "snow", tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"no tensors")
    with pytest.raises(InputError, match="is not a safetensors file"):
        load_adapter(adapters, "snow", tmp_path)
    shutil.copy(folder / WEIGHTS, tmp_path / WEIGHTS)
    with pytest.raises(InputError, match=r"configuration of .* cannot be read"):
        load_adapter(adapters, "snow", tmp_path)
    with pytest.raises(InputError, match=r"no weights under 'unet'; its names begin with base_model"):
        load_adapter(adapters, "snow", tmp_path / WEIGHTS, prefix="unet")
    with pytest.raises(UnknownNameError, match="unknown adapter 'rain'"):
        save_adapter(adapters, "rain", tmp_path)


def test_rank_one_and_dots_in_names(tmp_path):
    network = nn.ModuleDict({"a": nn.ModuleDict({"b": nn.Linear(3, 3)}), "b": nn.Linear(3, 3)})
    adapters = Adapters(network)
    adapters.add("one", LowRank(rank=1, alpha=2.0, layers=("b",)), rng=Randomness(0))
    assert list(adapters.tensors("one")) == ["b.lora_A.weight", "b.lora_B.weight"]
    save_adapter(adapters, "one", tmp_path)
    adapters.unload()
    load_adapter(adapters, "two", tmp_path)
    assert list(adapters.tensors("two")) == ["b.lora_A.weight", "b.lora_B.weight"]
    assert isinstance(network["a"]["b"], nn.Linear)
