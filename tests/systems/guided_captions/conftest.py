"""Small captioners and a language model with the same tokens, of random weights; sentences end at different places."""

import pytest
import torch

from snellen.models.language.causal import load_causal_language_model, write_random_causal_model
from snellen.models.random_folders import write_random_blip, write_random_vit_gpt2
from snellen.models.references import load_captioner
from snellen.models.tokens.small_tokenizers import gpt2_tokenizer

#: The end mark of the random BLIP is made likelier, so that rows leave the batch one after the other.
EAGER = 14.0


@pytest.fixture(scope="session")
def caption_folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioning")
    write_random_blip(folder / "blip")
    write_random_vit_gpt2(folder / "vit_gpt2")
    write_random_causal_model(folder / "language", gpt2_tokenizer(context_length=64))
    return folder


@pytest.fixture
def vit_gpt2(caption_folders):
    return load_captioner(f"hf:{caption_folders / 'vit_gpt2'}")


@pytest.fixture
def blip(caption_folders):
    captioner = load_captioner(f"hf:{caption_folders / 'blip'}")
    captioner.module.text_decoder.cls.predictions.bias.data[captioner.end_token] += EAGER
    return captioner


@pytest.fixture
def language(caption_folders):
    return load_causal_language_model(f"hf:{caption_folders / 'language'}")


@pytest.fixture(params=["blip", "vit_gpt2"])
def captioner(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def pictures():
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(3))
