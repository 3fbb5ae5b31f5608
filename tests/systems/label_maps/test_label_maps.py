"""The recipe on label maps: what it learns, what it refuses, what it never does."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import snellen.systems.label_maps.method as module
from snellen.core import index
from snellen.core.artifact import Artifact
from snellen.core.errors import InputError, RunConflictError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.files.folder import load_folder
from snellen.data.files.joining import join
from snellen.data.files.splits import as_split
from snellen.models.classifiers.references import load_classifier
from snellen.systems.label_maps.annotating import annotate
from snellen.systems.label_maps.method import FewLabelsFoundWarning, LabelMapsRecipe
from snellen.systems.label_maps.store import LabelMaps
from snellen.testing import check_method
from snellen.training.plan import TrainingPlan
from tests.systems.label_maps.annotators import NAMES, colour_annotator, two_sided

PLAN = TrainingPlan(epochs=2, batch_size=16, learning_rate=3e-3, schedule="constant")
TIMM = "timm:resnet10t"


def recipe(maps: Path, **changes: object) -> LabelMapsRecipe:
    return LabelMapsRecipe(**{"maps": maps, "architecture": "fashion_cnn", "side": 28, "plan": PLAN, **changes})


def maps_of(images: ImageSet, folder: Path) -> Path:
    return annotate(images, colour_annotator(), folder, kept=2).folder


def bars(count: int, seed: int = 0) -> ImageSet:
    """Grey images with lying bars left and upright bars right, or the other way round: the network sees grey alone.

    The green channel of the annotator's own copy says where upright bars are; see ``bar_maps``.
    """
    pixels = np.random.default_rng(seed).integers(0, 60, (count, 28, 28, 3))
    stripes = 140 * (np.arange(28) // 2 % 2)
    labels = np.arange(count) % 2
    pixels += np.where(labels[:, None, None] == 0, stripes[:, None], stripes[None, :])[..., None]
    return load_arrays(pixels.astype(np.uint8), labels, class_names=["lying", "upright"], name="bars")


def bar_maps(images: ImageSet, folder: Path) -> Path:
    """Maps of an annotator that knows the answers: it reads them off a coloured copy under the same ids."""
    coloured = np.zeros((len(images), 28, 28, 3), dtype=np.uint8)
    coloured[np.arange(len(images)), :, :, images.labels] = 255
    copy = load_arrays(coloured, images.labels, class_names=images.class_names)
    # Under the hashes of the images themselves.
    source = replace(copy, table=copy.table.set_column(0, "id", images.table["id"]))

    class Same:
        read = staticmethod(source.source.read)
        content_hash = staticmethod(images.source.content_hash)

    annotator = colour_annotator(names=("red", "green"))
    annotator.class_names = images.class_names
    return annotate(replace(source, source=Same()), annotator, folder, kept=2).folder


def test_conforms_and_learns(tmp_path: Path) -> None:
    check_method(index.entry("recipes", "label_maps"))
    images = bars(64)
    made = recipe(
        bar_maps(images, tmp_path / "maps"), smallest_crop=0.3, plan=PLAN.model_copy(update={"epochs": 8})
    ).fit(images, rng=Randomness(0))
    made.save(tmp_path / "made")
    classifier = load_classifier(f"artifact:{tmp_path / 'made'}")
    shown = bars(40, seed=1)
    scores = classifier(torch.stack([classifier.prepare(example.image) for example in shown]))
    assert (classifier.predict(scores).numpy() == shown.labels).mean() > 0.9
    told = made.card.lineage.recipe
    assert made.card.name == "label-maps"
    assert told["agreement"] == told["likeliest_agreement"] == 1.0
    assert told["maps_sha256"] == LabelMaps.load(tmp_path / "maps").record.sha256
    assert told["annotation"]["annotator"] == "colours"


@pytest.mark.covers("9.12")
def test_the_val_split_is_judged_by_its_labels(tmp_path: Path) -> None:
    """The maps are made to say the opposite: the student learns it, and the validation labels call that wrong."""
    train, val = as_split(bars(64), "train"), as_split(bars(40, seed=1), "val")
    swapped = replace(
        train, table=train.table.set_column(train.table.column_names.index("label"), "label", [1 - train.labels])
    )
    folder = bar_maps(swapped, tmp_path / "maps")
    made = recipe(folder, smallest_crop=0.3, plan=PLAN.model_copy(update={"epochs": 8})).fit(
        join([train, val]), rng=Randomness(0)
    )
    assert made.card.history[-1]["val.accuracy"] < 0.1
    assert made.card.metrics["val.accuracy"] == max(row["val.accuracy"] for row in made.card.history)


@pytest.mark.covers("9.10")
def test_the_annotator_is_loaded_for_new_maps_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    annotator = colour_annotator()
    asked: list[str] = []

    def load(reference: str) -> object:
        asked.append(reference)
        return annotator

    monkeypatch.setattr(module, "load_classifier", load)
    images = two_sided(12, 28, 28)
    first = recipe(tmp_path / "maps", annotator="timm:some").fit(images, rng=Randomness(0))
    assert (asked, annotator.spent.queries) == (["timm:some"], 12 + 2)
    second = recipe(tmp_path / "maps", annotator="timm:some").fit(images, rng=Randomness(0))
    assert (asked, annotator.spent.queries) == (["timm:some"] * 2, 12 + 2), "loaded to compare it, and asked nothing"
    third = recipe(tmp_path / "maps").fit(images, rng=Randomness(0))
    assert (asked, annotator.spent.queries) == (["timm:some"] * 2, 12 + 2)
    assert all(torch.equal(first.tensors[name], third.tensors[name]) for name in first.tensors)
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)


@pytest.mark.covers("9.11")
def test_the_same_seed_gives_the_same_student_and_a_checkpoint_too(tmp_path: Path) -> None:
    images = two_sided(24, 28, 28)
    folder = maps_of(images, tmp_path / "maps")
    made = [
        recipe(folder, cutmix_probability=0.5, plain_epochs=1).fit(
            images, rng=Randomness(seed), checkpoint=tmp_path / f"{seed}.safetensors" if place else None
        )
        for place, seed in enumerate((0, 0, 1))
    ]
    same, other = ([torch.equal(made[0].tensors[n], one.tensors[n]) for n in made[0].tensors] for one in made[1:])
    assert all(same)
    assert not all(other)


def test_goes_on_from_a_base(tmp_path: Path) -> None:
    images = two_sided(12, 28, 28)
    folder = maps_of(images, tmp_path / "maps")
    base = recipe(folder).fit(images, rng=Randomness(0))
    further = recipe(folder, side=224).fit(images, base=Artifact(base.tensors, base.card), rng=Randomness(0))
    assert further.card.lineage.parent == base.card.sha256
    assert further.card.preparation == base.card.preparation


def test_missing_maps(tmp_path: Path) -> None:
    images = two_sided(12, 28, 28)
    with pytest.raises(InputError, match="needs the folder of the label maps"):
        LabelMapsRecipe().fit(images, rng=Randomness(0))
    with pytest.raises(InputError, match=r"finds no label maps in .*name the annotator"):
        recipe(tmp_path / "none").fit(images, rng=Randomness(0))
    folder = maps_of(images.select(range(10)), tmp_path / "maps")
    with pytest.raises(InputError, match=r"2 of 12 images have no label map .*'000010' \(unknown to the maps\)"):
        recipe(folder).fit(images, rng=Randomness(0))
    assert recipe(folder, without_map="label").fit(images, rng=Randomness(0)).card.kind == "classifier"
    unrelated = maps_of(as_split(images, "val"), tmp_path / "unrelated")
    with pytest.raises(InputError, match="12 of 12 images have no label map"):
        recipe(unrelated, without_map="label").fit(images, rng=Randomness(0))


def test_maps_that_are_not_those_requested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = two_sided(6, 28, 28)
    folder = maps_of(images, tmp_path / "maps")
    for annotator, kept, differing in (
        (colour_annotator(), 5, "kept"),
        (colour_annotator(scale=3.0), 2, "annotator_fingerprint"),
        (None, 3, "kept"),
    ):
        monkeypatch.setattr(module, "load_classifier", lambda reference, loaded=annotator: loaded)
        asked = recipe(folder, annotator="timm:some" if annotator else None, kept=kept)
        with pytest.raises(RunConflictError, match=rf"label maps of another plan \(differs in: {differing}\)"):
            asked.fit(images, rng=Randomness(0))


def test_cutmix_in_no_epoch(tmp_path: Path) -> None:
    images = two_sided(6, 28, 28)
    never = recipe(maps_of(images, tmp_path / "maps"), cutmix_probability=1.0, plain_epochs=2)
    with pytest.raises(InputError, match="would never mix: of 2 epochs, the last 2 are without CutMix"):
        never.fit(images, rng=Randomness(0))


def test_maps_of_other_images_or_classes(tmp_path: Path) -> None:
    images = two_sided(6, 28, 28)
    folder = maps_of(images, tmp_path / "maps")
    changed = load_arrays(np.zeros((6, 28, 28, 3), dtype=np.uint8), images.labels, class_names=NAMES)
    with pytest.raises(InputError, match="'000000' is not the image of its label map"):
        recipe(folder).fit(changed, rng=Randomness(0))
    others = {("green", "red", "blue"): "in another order", ("a", "b", "c"): r"other classes \(a, b, blue"}
    for names, reason in others.items():
        with pytest.raises(InputError, match=reason):
            recipe(folder).fit(replace(images, class_names=names), rng=Randomness(0))
    with pytest.raises(InputError, match="test images"):
        recipe(folder).fit(replace(images, split="test"), rng=Randomness(0))


def test_a_joined_set_finds_its_maps(tmp_path: Path) -> None:
    """Maps of a folder serve the command line's --val, which joins two folders and puts the split before the ids."""
    images = two_sided(6, 28, 28)
    folder = maps_of(images, tmp_path / "maps")
    both = join([as_split(images, "train"), as_split(two_sided(3, 28, 28), "val")])
    assert "val.accuracy" in recipe(folder).fit(both, rng=Randomness(0)).card.metrics


def test_orientation_is_read_alike(tmp_path: Path) -> None:
    """Where EXIF data ask for a turn, map and training see the same; a source that turns otherwise is refused."""
    for name, label in (("red", 0), ("blue", 2)):
        (tmp_path / "data" / name).mkdir(parents=True)
        pixels = np.zeros((16, 32, 3), dtype=np.uint8)
        pixels[:, :16, label] = 230
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(pixels).save(tmp_path / "data" / name / "a.jpg", exif=exif, quality=95)
    images = load_folder(tmp_path / "data")
    maps = annotate(images, colour_annotator(names=("red", "blue")), tmp_path / "maps", kept=2)
    seen = images[0].image
    assert maps.rows["size"].tolist() == [list(seen.size)] * 2
    # What the map says of the image is where the decoded image has it.
    coloured = np.asarray(seen.resize((4, 4), Image.Resampling.BOX)).max(2) > 100
    assert np.array_equal(maps.read(torch.arange(2)).dense(2)[1, 1].numpy() > 5, coloured)
    assert recipe(tmp_path / "maps").fit(images, rng=Randomness(0)).card.kind == "classifier"

    class Turned:
        content_hash = staticmethod(images.source.content_hash)

        def read(self, row: int) -> Image.Image:
            return images.source.read(row).transpose(Image.Transpose.ROTATE_90)

    with pytest.raises(InputError, match=r"pixels, but was .*turned: the orientation in its EXIF"):
        recipe(tmp_path / "maps").fit(replace(images, source=Turned()), rng=Randomness(0))


def test_a_weak_annotator_is_reported(tmp_path: Path) -> None:
    images = two_sided(12, 28, 28)
    strange = replace(images, table=images.table.set_column(1, "label", [np.full(12, 2)]))
    folder = annotate(strange, colour_annotator(), tmp_path / "maps", kept=1).folder
    with pytest.warns(FewLabelsFoundWarning, match="in only 67% of the images .fewer than 80%."):
        recipe(folder, least_agreement=0.8).fit(strange, rng=Randomness(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recipe(folder, least_agreement=0.6).fit(strange, rng=Randomness(0))
