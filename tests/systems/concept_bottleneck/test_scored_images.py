"""Scores are made once for a set of images, a model and a list of concepts, and found again under all three."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.data.files.arrays import load_arrays
from snellen.models.dual_encoders.towers import Towers
from snellen.models.random_folders import write_random_clip
from snellen.models.references import load_two_tower
from snellen.systems.concept_bottleneck.scored_images import score_images

LISTS = {"concepts": ("red", "a star"), "random": ("a dog", "red", "sky")}


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Towers:
    loaded = load_two_tower(f"hf:{write_random_clip(tmp_path_factory.mktemp('clip'))}")
    assert isinstance(loaded, Towers)
    return loaded


def pets(count: int = 5, seed: int = 0) -> ImageSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return load_arrays(pixels, np.arange(count) % 2, class_names=["cat", "dog"], name="pets")


class Count:
    """How many images went through a network."""

    def __init__(self, tower: Towers) -> None:
        self.images = 0
        self.handle = tower.image_tower.register_forward_pre_hook(self)

    def __call__(self, _module: object, inputs: tuple[torch.Tensor, ...]) -> None:
        self.images += len(inputs[0])


def test_scores_of_all_lists_come_from_one_pass(tower: Towers) -> None:
    counted = Count(tower)
    found = score_images(pets(), tower, LISTS)
    counted.handle.remove()
    # One image more is the probe of a new encoder.
    assert counted.images == 5 + 1
    shown = torch.stack([tower.preparation(pets().read(row)) for row in range(5)])
    vectors = tower.encode_images(shown)
    for name, phrases in LISTS.items():
        assert torch.allclose(found.cosines[name], vectors @ tower.encode_texts(phrases).T, atol=1e-5)
    assert torch.equal(found.cosines["concepts"][:, 0], found.cosines["random"][:, 1])


@pytest.mark.covers("1.5")
def test_a_second_call_encodes_no_image_and_any_other_change_encodes_all(tower: Towers, tmp_path: Path) -> None:
    first = score_images(pets(), tower, LISTS, folder=tmp_path)

    def encoded(images: ImageSet, lists: dict[str, tuple[str, ...]], **options: object) -> int:
        counted = Count(tower)
        found = score_images(images, tower, lists, folder=tmp_path, **options)  # type: ignore[arg-type]
        counted.handle.remove()
        assert len(found.positions) == len(images)
        return counted.images - 1

    assert encoded(pets(), LISTS) == 0
    again = score_images(pets(), tower, LISTS, folder=tmp_path)
    assert all(torch.equal(again.cosines[name], first.cosines[name]) for name in LISTS)
    # Labels are no part of it; images, phrases, their order, and how they are put are.
    unlabelled = load_arrays(np.stack([np.asarray(pets().read(row)) for row in range(5)]), name="others")
    assert encoded(unlabelled, LISTS) == 0
    assert encoded(pets(seed=1), LISTS) == 5
    assert encoded(pets(), {"concepts": ("red", "a ring")}) == 5
    assert encoded(pets(), {"concepts": ("a ring", "red")}) == 5
    assert encoded(pets(), {"concepts": ("red", "a ring")}, templates=("a {} thing",)) == 5
    counted = [folder.name for folder in tmp_path.iterdir()]
    assert len(counted) == 5
    # Another text side, at the same image side, is another model.
    parameter = next(tower.text_tower.parameters())
    with torch.no_grad():
        parameter.add_(0.5)
    try:
        assert encoded(pets(), LISTS) == 5
    finally:
        with torch.no_grad():
            parameter.sub_(0.5)


def test_no_concepts_are_refused(tower: Towers) -> None:
    with pytest.raises(InputError, match="no concepts to score images by"):
        score_images(pets(), tower, {"concepts": ()})
