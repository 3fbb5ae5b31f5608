"""The full experiment with a handful of annotated units and photographs, and a real ResNet-18 of a small side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.reproduction.neuron_descriptions import full as full_module
from snellen.reproduction.neuron_descriptions.experiment import neuron_descriptions
from snellen.reproduction.neuron_descriptions.full import BASE, ENCODER, HELD_OUT, TEST, TRAIN, WANTED, FullSize, full
from snellen.reproduction.neuron_descriptions.lettered_photographs import LetteredPhotographs, with_word
from snellen.systems.neuron_descriptions.fitting import Sizes
from snellen.training.plan import TrainingPlan
from tests.verbs.picture_sets import InMemory

PLAN = TrainingPlan(epochs=2, batch_size=4, learning_rate=1e-2)
SIZE = FullSize(
    levels=("body.2",), exemplars=3, sentences=2, held_out=0.2, sizes=Sizes(8, 16, 16, 0.0), plan=PLAN,
    language_plan=PLAN, beams=4, edited=("conv1",), edited_plan=TrainingPlan(epochs=1, batch_size=4), side=64,
    tests=4, counts=(0, 2),
)  # fmt: skip


def write_annotations(root: Path, layer: str, units: int, seed: int) -> Path:
    """Units of regions at 224 pixels, red or blue by turns, with what two people said of each."""
    generator, folder = np.random.default_rng(seed), root / layer
    folder.mkdir(parents=True)
    images = generator.integers(0, 80, (units, 4, 3, 224, 224), dtype=np.uint8)
    for unit in range(units):
        images[unit, :, 0 if unit % 2 else 2] += 150
    masks = np.zeros((units, 4, 1, 224, 224), dtype=np.uint8)
    masks[:, :, :, 50:150, 50:150] = 1
    np.save(folder / "images.npy", images)
    np.save(folder / "masks.npy", masks)
    said = [(f"{colour} things", f"all {colour}") for colour in ("blue", "red")]
    rows = [f"{layer},{unit},{one}" for unit in range(units) for one in said[unit % 2]]
    (root / "annotations.csv").write_text("\n".join(["layer,unit,summary", *rows]))
    return root


def photographs(count: int, split: str, classes: tuple[str, ...] = ("cat", "dog", "fish")) -> ImageSet:
    generator = np.random.default_rng(count)
    pictures = [Image.fromarray(generator.integers(0, 256, (90, 70, 3), dtype=np.uint8)) for _ in range(count)]
    table = pa.table({"id": [f"{split}{one}" for one in range(count)], "label": [one % 3 for one in range(count)]})
    return ImageSet(InMemory(pictures), table, classes, name=split)


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, ImageSet]:
    base = [write_annotations(tmp_path / name, "conv1", 6, seed) for seed, name in enumerate(("alexnet", "resnet"))]
    monkeypatch.setenv(BASE, ";".join(map(str, base)))
    monkeypatch.setenv(HELD_OUT, str(write_annotations(tmp_path / "dino", "blocks.3", 4, 9)))
    monkeypatch.setenv(ENCODER, "bundled:scene-cnn")
    images = {"train": photographs(12, "train"), "test": photographs(6, "test")}
    for variable, name in ((TRAIN, "train"), (TEST, "test")):
        monkeypatch.setenv(variable, name)
    monkeypatch.setattr(full_module, "load_images", images.__getitem__)
    return images


@pytest.mark.usefixtures("given")
def test_the_full_experiment_gives_every_figure_of_its_claims() -> None:
    figures = full(0, Silent(), size=SIZE)
    claims = [claim for claim in find_system("17").claims if "full" in claim.scales]
    named = {name for claim in claims for name in (claim.metric, claim.baseline, *claim.controls) if name}
    assert {claim.id for claim in claims} == {"17.10", "17.11", "17.12", "17.13"}
    assert named | {"edit.shortcut", "edit.curve.described.2"} <= set(figures)
    assert figures["annotated.constant.bleu"] <= 1
    assert figures["edit.shortcut"] >= 0
    assert figures["edit.before.worst"] == min(figures[f"edit.before.{group}"] for group in ("none", "own", "wrong"))


def test_a_word_changes_its_corner_and_nothing_else() -> None:
    plain = Image.fromarray(np.full((64, 64, 3), 90, dtype=np.uint8))
    changed = (np.asarray(with_word(plain, "cat")) != np.asarray(plain)).any(2)
    assert changed[50:, :20].any()
    assert not changed[:40].any()
    assert with_word(plain, None) is plain


def test_photographs_are_read_with_their_words_and_keep_their_labels() -> None:
    images = photographs(6, "train")
    shown = LetteredPhotographs(images, (4, 1, 2), (None, "dog", "cat"), Preprocessing(size=(64, 64)))
    pixels, labels = shown.read(torch.tensor([2, 0]))
    assert (pixels.shape, labels.tolist()) == ((2, 3, 64, 64), [2, 1])
    plain = LetteredPhotographs(images, (4, 1, 2), (None, None, None), shown.preparation)
    same = (plain.pictures([0, 1, 2]) == shown.pictures([0, 1, 2])).flatten(1).all(1)
    assert same.tolist() == [True, False, False]
    again = shown.as_images()
    assert tuple(again.ids) == ("train4", "train1", "train2")
    assert np.array_equal(np.asarray(again.read(1)), shown.pictures([1])[0].permute(1, 2, 0).numpy())
    assert shown.fingerprint() != plain.fingerprint()


def test_refusals_name_what_is_needed(given: dict[str, ImageSet], monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in WANTED:
        monkeypatch.delenv(variable)
    with pytest.raises(InputError) as refused:
        neuron_descriptions("full", 0, Silent())
    assert all(variable in str(refused.value) for variable in WANTED)
