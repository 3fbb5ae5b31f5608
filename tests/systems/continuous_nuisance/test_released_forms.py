"""Learned tokens of classes and released sliders, in the forms in which they are published."""

import pytest
import torch
from torch import nn

from snellen.core.errors import InputError
from snellen.models.diffusion.adapter_files import load_adapter
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.low_rank import adaptable_layers
from snellen.systems.continuous_nuisance.class_tokens import read_tokens, tokens_in_order, with_class_tokens
from snellen.systems.continuous_nuisance.method import ContinuousNuisance
from snellen.systems.continuous_nuisance.released_sliders import import_slider, released_file
from snellen.systems.continuous_nuisance.slider_folder import sliders_in
from tests.systems.continuous_nuisance.released import released_slider, token_folder


@pytest.fixture
def tokens(generator, tmp_path):
    return token_folder(generator, tmp_path / "star", ["crane", "tench", "crane"], ["<one>", "<two>", "<three>"])


def test_a_token_of_a_class_stands_for_its_words(generator, tokens):
    assert dict(read_tokens(tokens)) == {"crane": "<one>", "tench": "<two>"}
    assert tokens_in_order(tokens) == ("<one>", "<two>", "<three>")
    knowing = with_class_tokens(generator, tokens)
    assert knowing.denoiser is generator.denoiser
    ids = knowing.text.towers[0].tokenizer("a picture of a <two>", add_special_tokens=False).input_ids
    assert len(knowing.text.towers[0].tokenizer("<two>", add_special_tokens=False).input_ids) == 1, ids
    first, other = (knowing.encode_prompts([f"a <{name}>"]) for name in ("one", "two"))
    assert not torch.allclose(first.text, other.text)
    # Prompts without a token are as before.
    before, after = (one.encode_prompts(["a star"]).text for one in (generator, knowing))
    assert torch.allclose(before, after, atol=1e-5)
    method = ContinuousNuisance(concept=("snow",), classes=("tench",), tokens=tokens, sliders="s")
    assert method.prompt("tench") == "a picture of a <two>"
    with pytest.raises(InputError, match="class with a token"):
        method.prompt("trench")


def test_tokens_in_another_form_are_refused_and_no_code_is_run(generator, tokens):
    torch.save({"initializer_words": ["tench"], "tokens": ["<a>", "<b>"]}, tokens / "tokens.pt")
    read_tokens.cache_clear()
    with pytest.raises(InputError, match="of one length"):
        read_tokens(tokens)
    torch.save({"initializer_words": ["tench"], "tokens": ["<new>"]}, tokens / "tokens.pt")
    read_tokens.cache_clear()
    with pytest.raises(InputError, match="does not know the token <new>"):
        with_class_tokens(generator, tokens)
    torch.save({"initializer_words": nn.Linear(1, 1), "tokens": []}, tokens / "tokens.pt")
    read_tokens.cache_clear()
    with pytest.raises(InputError, match="without running code"):
        read_tokens(tokens)
    read_tokens.cache_clear()


def test_a_released_slider_changes_layers_as_published(generator, tmp_path):
    network = generator.denoiser.network
    file, factors = released_slider(generator, tmp_path / "all" / "snow_class_002_alpha1.0_rank4_noxattn" / "2.pt")
    (file.parent / "1.pt").write_bytes(b"an earlier step")
    assert released_file(tmp_path / "all", "snow", 2) == file
    with pytest.raises(InputError, match="has no slider snow_class_003"):
        released_file(tmp_path / "all", "snow", 3)
    slider = import_slider(file, generator, tmp_path / "sliders" / "snow", "in snow", ["a <two>"])
    assert (slider.card.fit.rank, slider.card.fit.alpha) == (4, 1.0)
    assert sliders_in(tmp_path / "sliders", generator, {"snow": "in snow"}, ["a <two>"])["snow"] == slider
    adapters = Adapters(network)
    load_adapter(adapters, "snow", slider.folder)
    try:
        layers = dict(adaptable_layers(network))
        for name in (next(one for one in factors if "attn1" in one), next(one for one in factors if "conv1" in one)):
            layer, (down, up, alpha) = layers[name], factors[name]
            inputs = (
                torch.randn(2, layer.in_channels, 8, 8)
                if isinstance(layer, nn.Conv2d)
                else torch.randn(2, layer.in_features)
            )
            plain = layer(inputs)
            with adapters.on({"snow": 1.5}):
                shifted = network.get_submodule(name)(inputs)
            if isinstance(layer, nn.Conv2d):
                added = nn.functional.conv2d(inputs, down, None, layer.stride, layer.padding)
                added = nn.functional.conv2d(added, up)
            else:
                added = inputs @ down.T @ up.T
            assert torch.allclose(shifted, plain + 1.5 * alpha / 4 * added, atol=1e-4), name
    finally:
        adapters.unload()


def test_a_slider_of_another_form_is_refused(generator, tmp_path):
    file, _ = released_slider(generator, tmp_path / "whole.pt")
    whole = torch.load(file, weights_only=True)
    names = sorted(whole)
    for change, message in (
        ({"unet.x.lora_A.weight": torch.zeros(1)}, "is no tensor of a released slider"),
        ({"lora_unet_nowhere.alpha": torch.tensor(1.0)}, "the generator has no"),
    ):
        torch.save({**whole, **change}, tmp_path / "other.pt")
        with pytest.raises(InputError, match=message):
            import_slider(tmp_path / "other.pt", generator, tmp_path / "out", "in snow", ["a star"])
    torch.save({name: whole[name] for name in names[1:]}, tmp_path / "cut.pt")
    with pytest.raises(InputError, match="the file is cut"):
        import_slider(tmp_path / "cut.pt", generator, tmp_path / "out", "in snow", ["a star"])
    down = next(name for name in names if name.endswith("lora_down.weight"))
    torch.save({**whole, down: whole[down][:, :1]}, tmp_path / "small.pt")
    with pytest.raises(InputError, match="of another generator"):
        import_slider(tmp_path / "small.pt", generator, tmp_path / "out", "in snow", ["a star"])
    assert not (tmp_path / "out").exists()
    assert Adapters(generator.denoiser.network).names == ()
