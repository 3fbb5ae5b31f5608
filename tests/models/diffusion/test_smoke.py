"""Smoke folders: the form of the public models, the same bytes each time."""

import json

import pytest
import torch
from safetensors.torch import load_file

from snellen.core.errors import UnknownNameError
from snellen.models.diffusion.sampler import Sampler, seeded
from snellen.models.diffusion.smoke import SMOKE_FOLDERS, t5_tokenizer, write_smoke_folder
from snellen.models.tokens.small_tokenizers import WORDS, clip_tokenizer

#: Blocks of the public configurations.
BLOCKS = {
    "stable-diffusion-1.5": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "stable-diffusion-2.1": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "stable-diffusion-xl": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
}


def weights(folder):
    return {path.parent.name: path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}


def tensors(folder):
    return {
        f"{path.parent.name}.{name}": tensor
        for path in folder.rglob("*.safetensors")
        for name, tensor in load_file(path).items()
    }


@pytest.mark.parametrize("name", ["stable-diffusion-xl", "pixart", "dit", "class-unet"])
def test_a_folder_is_made_of_its_name_and_seed(smoke_folder, tmp_path, name):
    before = torch.get_rng_state()
    first = weights(smoke_folder(name))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(17)  # a library's first weights come from the global state, ours do not
        again = weights(write_smoke_folder(name, tmp_path / "again"))
    other = weights(write_smoke_folder(name, tmp_path / "other", seed=1))
    assert torch.equal(before, torch.get_rng_state())
    assert again == first
    assert first.keys() == other.keys()
    assert all(other[part] != content for part, content in first.items())


def test_every_weight_is_drawn_anew(smoke_folder, tmp_path):
    """Gains, biases and embeddings too: what a library had drawn for them is gone."""
    first = tensors(smoke_folder("class-unet"))
    other = tensors(write_smoke_folder("class-unet", tmp_path / "other", seed=1))
    assert [name for name, tensor in first.items() if bool((tensor == other[name]).any())] == []


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_are_those_of_the_public_models(smoke_folder, name):
    config = json.loads((smoke_folder(name) / "unet" / "config.json").read_text(encoding="utf-8"))
    assert config["down_block_types"] == BLOCKS[name]


@pytest.mark.parametrize("name", SMOKE_FOLDERS)
def test_the_condition_matters_to_every_network(smoke, name):
    """A layer that starts at zero would make all prompts give one picture."""
    generator = smoke(name)
    if generator.takes == "nothing":
        return
    pair = (
        [generator.encode_prompts([prompt]) for prompt in ("a red star", "a dog")]
        if generator.takes == "prompts"
        else [generator.encode_classes([index]) for index in (0, 1)]
    )
    sampler = Sampler(generator, steps=2)
    start = sampler.start(seeded([1]))
    first, second = (sampler.run(start, condition).latents for condition in pair)
    assert float((first - second).abs().max()) > 1e-3


def test_an_unknown_name():
    with pytest.raises(UnknownNameError, match="unknown smoke folder 'pixar'; did you mean 'pixart'"):
        write_smoke_folder("pixar", "anywhere")


def test_words_are_one_token_each_and_everything_else_is_letters():
    tokenizer = t5_tokenizer()
    for word in WORDS:
        assert len(tokenizer(word).input_ids) == 2, word
    for text in ("a zebra, 7!", "quixotic: (yes)"):
        assert tokenizer.unk_token_id not in tokenizer(text).input_ids
    assert tokenizer.unk_token_id in tokenizer("ß").input_ids


def test_tokenizers_come_back_from_their_files_as_they_were(smoke):
    for name, made in (("stable-diffusion-1.5", clip_tokenizer()), ("pixart", t5_tokenizer())):
        loaded = smoke(name).text.towers[0].tokenizer
        assert type(loaded) is type(made)
        assert loaded("a red zebra on grass, 7").input_ids == made("a red zebra on grass, 7").input_ids
