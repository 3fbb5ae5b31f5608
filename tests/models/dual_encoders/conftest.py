"""Small text–image models of random weights in each format, written once."""

from pathlib import Path

import pytest
import transformers

from snellen.models.random_folders import draw_weights, write_random_clip, write_random_openclip, write_random_siglip
from snellen.models.tokens.small_tokenizers import WORDS, bert_tokenizer
from snellen.models.weights.quiet_loading import quiet_loading

TEXTS = ["a photo of a cat", "a small red striped star on grass", "Zwölf!", ""]


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_siglip(tmp_path_factory.mktemp("siglip"))


@pytest.fixture(scope="session")
def pair_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT beside a ViT, in the form in which medical pairs are saved."""
    folder, words = tmp_path_factory.mktemp("pair"), bert_tokenizer(WORDS, context_length=32)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = transformers.BertConfig(**sizes, vocab_size=len(words), max_position_embeddings=32)
    vision = transformers.ViTConfig(**sizes, image_size=32, patch_size=8)
    with quiet_loading():
        config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=24)
        model = transformers.VisionTextDualEncoderModel(config)
        draw_weights(model, seed=0)
        model.save_pretrained(folder)
        words.save_pretrained(folder)
        transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def openclip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_openclip(tmp_path_factory.mktemp("openclip"), activation="quick_gelu")


@pytest.fixture(scope="session")
def resnet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_openclip(tmp_path_factory.mktemp("resnet"), convolutional=True, image_size=96)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Short and long, upper case, letters outside of the vocabulary, and nothing at all."""
    return TEXTS
