"""Small captioners of random weights in each format, written once; and the models of the library in them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

from snellen.models.random_folders import write_random_blip, write_random_vit_gpt2
from snellen.models.weights.quiet_loading import quiet_loading


@pytest.fixture(scope="session")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_blip(tmp_path_factory.mktemp("blip"))


@pytest.fixture(scope="session")
def answerer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_blip(tmp_path_factory.mktemp("answerer"), answering=True)


@pytest.fixture(scope="session")
def vit_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_vit_gpt2(tmp_path_factory.mktemp("vit_gpt2"))


@pytest.fixture(scope="session")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ViT and GPT-2 of different widths, with a layer in between."""
    return write_random_vit_gpt2(tmp_path_factory.mktemp("narrow"), encoder_width=24)


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="session")
def library() -> Callable[[Path, str], tuple[torch.nn.Module, object]]:
    """Loads a folder as the library does: model and tokenizer."""

    def load(folder: Path, kind: str) -> tuple[torch.nn.Module, object]:
        with quiet_loading():
            model = getattr(transformers, kind).from_pretrained(folder).eval()
            return model, transformers.AutoTokenizer.from_pretrained(folder)

    return load


@pytest.fixture(scope="session")
def eager() -> Callable[[Path, Path, float], Path]:
    """Copies a BLIP with another bias of its end mark, so that sentences end early, each at its own place."""

    def copy(folder: Path, target: Path, bias: float) -> Path:
        kind = transformers.AutoConfig.from_pretrained(folder).architectures[0]
        with quiet_loading():
            model = getattr(transformers, kind).from_pretrained(folder)
            model.text_decoder.cls.predictions.bias.data[model.config.text_config.sep_token_id] += bias
            model.save_pretrained(target)
            transformers.AutoProcessor.from_pretrained(folder, backend="pil").save_pretrained(target)
        return target

    return copy
