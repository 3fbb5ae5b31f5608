"""Low-rank adapters against peft itself: strengths by row, nothing left when they are off, training, merging."""

import copy
from contextlib import ExitStack

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier, hash_tensors
from snellen.core.layer_hooks import is_edited
from snellen.core.randomness import Randomness
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.low_rank import ATTENTION, SLIDER, TEXT_ATTENTION, LowRank, chosen_layers
from snellen.models.weights.quiet_loading import quiet_loading
from tests.models.small_networks import make_text_encoder, make_unet, noise, run

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")


def make_resnet():
    torchvision = pytest.importorskip("torchvision")
    with quiet_loading():
        torch.manual_seed(0)
        return torchvision.models.resnet18(num_classes=5).eval()


@pytest.fixture(scope="module")
def unet():
    return make_unet().requires_grad_(False)


@pytest.fixture
def adapters(unet):
    """Two trained-looking adapters on a network that has none again afterwards."""
    made = Adapters(unet)
    for seed, name in enumerate(["snow", "fog"]):
        made.add(name, SLIDER, rng=Randomness(seed))
        disturb(made, name, seed)
    yield made
    made.unload()


def disturb(adapters, name, seed=0, size=0.3):
    """Give the factors B values, as training would."""
    for index, parameter in enumerate(adapters.parameters(name)):
        if index % 2:
            with torch.no_grad():
                generator = torch.Generator().manual_seed(1000 * seed + index)
                parameter.copy_(size * torch.randn(parameter.shape, generator=generator))


# -- oracle ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [1.0, 0.5, -2.0])
def test_a_constant_strength_is_the_scale_of_peft(adapters, unet, strength):
    with adapters.on({"snow": strength}):
        ours = run(unet)
    theirs = make_unet().requires_grad_(False)
    theirs.add_adapter(copy.deepcopy(adapters.config("snow")), "snow")
    with torch.no_grad():
        for key, tensor in adapters.tensors("snow").items():
            layer, factor = key.removesuffix(".weight").rsplit(".", 1)
            theirs.get_parameter(f"{layer}.{factor}.snow.weight").copy_(tensor)
    for module in theirs.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            module.set_scale("snow", strength)
    assert torch.allclose(ours, run(theirs), rtol=0, atol=1e-6)
    assert not torch.allclose(ours, run(make_unet().requires_grad_(False)), atol=1e-2)


def test_each_row_has_its_strength_as_if_it_ran_alone(adapters, unet):
    snow, fog = torch.tensor([0.0, 0.5, 2.0]), torch.tensor([1.0, 0.0, -1.0])
    with adapters.on({"snow": snow, "fog": fog}):
        together = run(unet)
    for row in range(3):
        with adapters.on({"snow": float(snow[row]), "fog": float(fog[row])}):
            assert torch.allclose(together[row], run(unet)[row], rtol=0, atol=1e-5)


def test_the_slider_leaves_out_cross_attention_and_time_embeddings(unet):
    names = set(chosen_layers(unet, SLIDER))
    expected = set()
    for block, module in unet.named_modules():
        if type(module).__name__ in ("Attention", "ResnetBlock2D", "Downsample2D", "Upsample2D"):
            for name, layer in module.named_modules(prefix=block):
                if type(layer) in (nn.Linear, nn.Conv2d) and "attn2" not in name and "time_emb" not in name:
                    expected.add(name)
    assert names == expected
    assert not [name for name in names if "attn2" in name or "time_emb" in name]
    assert {"conv_in", "conv_out"}.isdisjoint(names)
    kinds = {type(layer).__name__ for layer in chosen_layers(unet, SLIDER).values()}
    assert kinds == {"Linear", "Conv2d"}
    for part in ("attn1.to_q", "attn1.to_out.0", "conv1", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv"):
        assert any(name.endswith(part) for name in names), part


def test_numbers_of_parameters_are_those_of_the_formula(unet):
    adapters = Adapters(unet)
    adapters.add("few-shot", ATTENTION, rng=Randomness(0))
    layers = chosen_layers(unet, ATTENTION)
    assert layers
    expected = sum(16 * (layer.in_features + layer.out_features) for layer in layers.values())
    assert sum(parameter.numel() for parameter in adapters.parameters("few-shot")) == expected
    first = adapters.parameters("few-shot")[0]
    assert float(first.std()) == pytest.approx(1 / 16, rel=0.2)
    adapters.unload()


def test_merged_weights_give_what_the_adapters_give(adapters, unet):
    weights = hash_tensors(unet.state_dict())
    plain = run(unet)
    with adapters.on({"snow": 0.5, "fog": -1.0}):
        expected = run(unet)
    with adapters.merged({"snow": 0.5, "fog": -1.0}):
        assert torch.allclose(run(unet), expected, atol=1e-5)
        assert hash_tensors(unet.state_dict()) != weights
    assert hash_tensors(unet.state_dict()) == weights
    assert torch.equal(run(unet), plain)
    with pytest.raises(ZeroDivisionError), adapters.merged({"snow": 1.0}):
        raise ZeroDivisionError
    assert hash_tensors(unet.state_dict()) == weights


# -- properties ------------------------------------------------------------------------------------------------------


def test_a_fresh_adapter_changes_nothing_at_any_strength(unet):
    plain = run(unet)
    adapters = Adapters(unet)
    adapters.add("snow", SLIDER, rng=Randomness(0))
    down, up = adapters.parameters("snow")[:2]
    assert float(down.detach().abs().max()) > 0
    assert not up.any()
    with adapters.on({"snow": torch.tensor([0.0, 1.0, 100.0])}):
        assert torch.equal(run(unet), plain)
    adapters.unload()


def test_off_is_the_network_without_adapters_bit_for_bit(adapters, unet):
    plain = run(make_unet().requires_grad_(False))
    assert torch.equal(run(unet), plain), "outside of a block"
    with adapters.on({"snow": 0.0, "fog": torch.zeros(3)}):
        assert torch.equal(run(unet), plain)
    with adapters.on({"snow": 1.0}):
        assert not torch.equal(run(unet), plain)
        with adapters.off():
            assert torch.equal(run(unet), plain)
    with adapters.on({"snow": torch.tensor([0.0, 1.0, 0.0])}):
        mixed = run(unet)
    assert torch.equal(mixed[[0, 2]], plain[[0, 2]])
    assert not torch.equal(mixed[1], plain[1])


def test_adapters_that_are_off_are_not_computed(adapters, unet):
    called = []
    handles = [
        layer.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, layer in unet.named_modules()
        if name.endswith(("lora_A.snow", "lora_B.snow", "lora_A.fog", "lora_B.fog"))
    ]
    with adapters.on({"snow": 0.0, "fog": torch.zeros(3)}):
        run(unet)
    assert not called
    with adapters.on({"snow": 0.0, "fog": torch.tensor([0.0, 1.0, 0.0])}):
        run(unet)
    assert called
    assert all(name.endswith("fog") for name in called)
    for handle in handles:
        handle.remove()


def test_blocks_nest_and_end_in_any_order(adapters, unet):
    plain = run(unet)
    with adapters.on({"fog": 1.0}):
        foggy = run(unet)
    with adapters.on({"snow": 1.0}):
        snowy = run(unet)
    outer, inner = ExitStack(), ExitStack()
    outer.enter_context(adapters.on({"snow": 1.0}))
    inner.enter_context(adapters.on({"snow": 0.0, "fog": 1.0}))
    assert torch.equal(run(unet), foggy)
    outer.close()
    assert torch.equal(run(unet), foggy)
    inner.close()
    assert torch.equal(run(unet), plain)
    error = ExitStack()
    error.enter_context(pytest.raises(ZeroDivisionError))
    error.enter_context(adapters.on({"snow": 1.0}))
    with error:
        _ = torch.equal(run(unet), snowy) / 0
    assert torch.equal(run(unet), plain)


def test_only_the_adapter_learns(adapters, unet):
    frozen = hash_tensors({name: tensor for name, tensor in unet.state_dict().items() if ".snow." not in name})
    images, text = noise(2, 4, 8, 8), noise(2, 5, 16)
    with adapters.training("snow") as parameters, adapters.on({"snow": 1.0, "fog": 1.0}):
        assert {id(p) for p in unet.parameters() if p.requires_grad} == {id(p) for p in parameters}
        optimiser = torch.optim.AdamW(parameters, lr=1e-2)
        unet(images, 500, text).sample.square().mean().backward()
        assert all(p.grad is not None and bool(p.grad.any()) for p in parameters)
        assert all(p.grad is None for n, p in unet.named_parameters() if ".snow." not in n)
        optimiser.step()
    assert not any(parameter.requires_grad for parameter in unet.parameters())
    unchanged = {name: tensor for name, tensor in unet.state_dict().items() if ".snow." not in name}
    assert hash_tensors(unchanged) == frozen


def test_unloading_gives_the_network_back_bit_for_bit():
    network = make_unet().requires_grad_(False)
    network.conv_in.requires_grad_(True)
    before = hash_tensors(network.state_dict())
    layers, shown, flags = [*network.named_modules()], repr(network), [p.requires_grad for p in network.parameters()]
    attributes = set(vars(network))
    adapters = Adapters(network)
    for name in ("snow", "fog"):
        adapters.add(name, SLIDER, rng=Randomness(0))
        disturb(adapters, name)
    adapters.remove("snow")
    assert adapters.names == ("fog",)
    adapters.unload()
    assert [*network.named_modules()] == layers
    assert (repr(network), [p.requires_grad for p in network.parameters()]) == (shown, flags)
    assert hash_tensors(network.state_dict()) == before
    assert set(vars(network)) == attributes
    again = Adapters(network)
    again.add("snow", SLIDER, rng=Randomness(0))
    again.unload()


def test_weights_depend_on_seed_name_and_layer_alone(unet):
    state = torch.random.get_rng_state()
    tensors = []
    for seed, order in [(0, ["snow", "fog"]), (0, ["fog", "snow"]), (1, ["snow"])]:
        adapters = Adapters(unet)
        for name in order:
            adapters.add(name, SLIDER, rng=Randomness(seed))
        tensors.append(adapters.identity("snow"))
        if "fog" in order:
            assert adapters.identity("fog") != adapters.identity("snow")
        adapters.unload()
    assert tensors[0] == tensors[1] != tensors[2]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_text_encoders_take_adapters():
    network = make_text_encoder(layers=2)
    tokens = torch.arange(14).view(2, 7)
    with torch.no_grad():
        plain = network(tokens).last_hidden_state
        adapters = Adapters(network)
        adapters.add("style", TEXT_ATTENTION, rng=Randomness(0))
        assert len(adapters.parameters("style")) == 2 * 4 * 2
        disturb(adapters, "style")
        with adapters.on({"style": torch.tensor([0.0, 1.0])}):
            adapted = network(tokens).last_hidden_state
    assert torch.equal(adapted[0], plain[0])
    assert not torch.allclose(adapted[1], plain[1], atol=1e-2)
    adapters.unload()
    with torch.no_grad():
        assert torch.equal(network(tokens).last_hidden_state, plain)


def test_classifiers_take_adapters_on_convolutions():
    network = make_resnet()
    settings = LowRank(rank=16, alpha=8.0, layers=("conv1", "layer?.?.conv?"))
    images = noise(2, 3, 32, 32)
    with torch.no_grad():
        plain = network(images)
        adapters = Adapters(network)
        adapters.add("noisy", settings, rng=Randomness(0))
        assert len(adapters.parameters("noisy")) == 2 * 17
        disturb(adapters, "noisy", size=0.1)
        with adapters.on({"noisy": torch.tensor([1.0, 0.0])}):
            adapted = network(images)
        with adapters.on({"noisy": 1.0}):
            constant = network(images)
        with adapters.merged({"noisy": 1.0}):
            assert torch.allclose(network(images), constant, atol=1e-4)
    assert torch.equal(adapted[1], plain[1])
    assert torch.allclose(adapted[0], constant[0], atol=1e-5)
    assert not torch.allclose(adapted[0], plain[0], atol=1e-2)
    adapters.unload()


def test_a_classifier_has_no_fingerprint_while_an_adapter_acts():
    network = make_resnet()
    adapters = Adapters(network)
    adapters.add("noisy", LowRank(layers=("layer1*",)), rng=Randomness(0))
    classifier = Classifier(network, class_names=list("abcde"))
    before = classifier.fingerprint()
    assert before is not None
    with adapters.on({"noisy": 1.0}):
        assert classifier.fingerprint() is None
        with adapters.off():
            assert classifier.fingerprint() == before
        assert classifier.fingerprint() is None
    assert classifier.fingerprint() == before
    adapters.unload()
    assert not is_edited(network)


def test_half_precision_stays_what_it_is_when_off():
    network = make_unet().requires_grad_(False).to(torch.bfloat16)
    images, text = noise(2, 4, 8, 8).bfloat16(), noise(2, 5, 16).bfloat16()
    adapters = Adapters(network)
    adapters.add("snow", SLIDER, rng=Randomness(0))
    disturb(adapters, "snow")
    with torch.no_grad():
        plain = network(images, 500, text).sample
        with adapters.on({"snow": torch.tensor([0.0, 1.0])}):
            adapted = network(images, 500, text).sample
    assert adapted.dtype == torch.bfloat16
    assert torch.equal(adapted[0], plain[0])
    assert not torch.equal(adapted[1], plain[1])
