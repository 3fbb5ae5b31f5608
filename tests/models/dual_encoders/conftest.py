"""Small text–image models of random weights in each format, written once."""

from pathlib import Path

import pytest

from snellen.models.random_folders import write_random_clip, write_random_openclip, write_random_siglip

TEXTS = ["a photo of a cat", "a small red striped star on grass", "Zwölf!", ""]


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_siglip(tmp_path_factory.mktemp("siglip"))


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
