"""Slides as image sets: what the columns say is what the pixels show, and nothing else gives it away."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import from_numpy
from torch.nn.functional import max_pool2d

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet
from snellen.data.worlds.slides.slides import Slides

SLIDES = Slides(count=4, tiles_across=8, tile_size=64, seed=5)


def test_columns_say_what_is_known() -> None:
    tiles = SLIDES.images()
    assert set(tiles.table.column_names) <= set(COLUMNS)
    assert all(tiles.table.schema.field(name).type == COLUMNS[name] for name in tiles.table.column_names)
    assert tiles.split == "test"
    assert set(tiles.column("split")) == {"test"}
    labels = SLIDES.slide_labels()
    assert set(tiles.column("bag_id")) == set(labels)
    for bag, text in zip(tiles.column("bag_id"), tiles.column("attributes"), strict=True):
        assert json.loads(str(text))["slide_label"] == labels[str(bag)]
    assert tiles.unlabelled().column("bag_label") == [labels[str(bag)] for bag in tiles.column("bag_id")]
    example = json.loads(str(tiles.column("attributes")[0]))
    assert tiles.ids[0] == f"test/0000/{example['row']:03d}-{example['column']:03d}"
    assert tiles.column("mask")[0] == f"masks/{tiles.ids[0]}.png"


def test_masks_are_empty_exactly_in_healthy_tiles() -> None:
    tiles = Slides(count=3, tiles_across=6, tile_size=32, positive_rate=0.4, seed=2).images()
    shown = [bool(np.asarray(tiles.read_mask(index)).any()) for index in range(len(tiles))]
    np.testing.assert_array_equal(shown, tiles.labels == 1)
    mask, image = tiles.read_mask(0), tiles.read(0)
    assert mask is not None
    assert (mask.mode, mask.size, image.mode, image.size) == ("L", (32, 32), "RGB", (32, 32))


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5, 1.0])
def test_shares_are_those_requested(rate: float) -> None:
    slides = Slides(count=48, tiles_across=12, tile_size=32, positive_rate=rate, positive_slides=0.25, seed=1)
    labels = slides.slide_labels()
    assert sum(labels.values()) == 12
    for index in range(slides.count):
        slide = slides.slide(index)
        asked = max(1, round(rate * slide.tissue.sum())) if slide.label else 0
        assert slide.positive.sum() == asked
        assert not (slide.positive & ~slide.tissue).any()
        assert slide.label == labels[slide.id]


def test_a_slide_does_not_depend_on_how_many_there_are() -> None:
    few, many = SLIDES.images(), SLIDES.model_copy(update={"count": 9}).images()
    assert many.table.slice(0, len(few)).equals(few.table)
    assert many.content_hash(3) == few.content_hash(3)
    last = len(few) - 1
    assert many.read(last).tobytes() == few.read(last).tobytes()


def test_splits_seeds_and_sizes_share_nothing() -> None:
    train, test = SLIDES.images(split="train"), SLIDES.images(split="test")
    for column in ("id", "unit_id", "bag_id", "mask"):
        assert not set(train.column(column)) & set(test.column(column))
    assert SLIDES.slide(0, split="train").seed != SLIDES.slide(0).seed
    others = [SLIDES.model_copy(update=change) for change in ({"seed": 6}, {"positive_rate": 0.2})]
    assert len({slides.images().content_hash(0) for slides in (SLIDES, *others)}) == 3


def test_sites_are_the_same_laboratory_in_each_split() -> None:
    slides = Slides(count=40, tiles_across=4, tile_size=32, sites=3, slides_per_patient=2)
    seen: dict[str, list[NDArray[np.float32]]] = {}
    patients: dict[str, set[str]] = {}
    for split in ("train", "test"):
        for index in range(slides.count):
            slide = slides.slide(index, split=split)
            seen.setdefault(slide.site, []).append(slide.stains)
            patients.setdefault(slide.patient, set()).add(slide.site)
    assert len(seen) == 3
    assert len(patients) == 40
    assert all(len(sites) == 1 for sites in patients.values())
    within = max(np.stack(stains).std(0).max() for stains in seen.values())
    between = np.stack([np.mean(stains, 0) for stains in seen.values()]).std(0).max()
    assert between > 2 * within


def test_the_stain_does_not_predict_the_label() -> None:
    """Areas under the curve of each of the 9 numbers of a stain, and of the site, are those of chance."""
    slides = Slides(count=480, tiles_across=4, tile_size=32, sites=4, seed=11)
    made = [slides.slide(index) for index in range(slides.count)]
    labels = np.array([slide.label for slide in made])
    stains = np.stack([slide.stains.ravel() for slide in made])
    areas = np.array([roc_auc_score(labels, stains[:, place]) for place in range(9)])
    sites = np.array([slide.site for slide in made])
    areas = np.append(areas, [roc_auc_score(labels, sites == site) for site in np.unique(sites)])
    # One area of chance has a deviation of 1/√(12·120) = 0.026; 3.5 of them for the worst of thirteen.
    assert np.abs(areas - 0.5).max() < 3.5 * 0.0264


def test_nuclei_tell_tiles_with_tumour_apart_where_darkness_does_not() -> None:
    """Trained on true labels of tiles, on other patients; features: how dark what is left after openings is."""
    settings = {"tiles_across": 8, "positive_slides": 1.0, "positive_rate": 0.4, "seed": 4}
    train, test = (Slides(count=count, **settings).images(split=split) for count, split in ((10, "train"), (6, "test")))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000))
    (fitting, _), (judged, dark) = features(train), features(test)
    model.fit(fitting, train.labels)
    area = roc_auc_score(test.labels, model.decision_function(judged))
    assert area > 0.97
    assert roc_auc_score(test.labels, dark) < area - 0.05


def features(tiles: ImageSet) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    red = np.stack([np.asarray(tiles.read(index))[:, :, 0] for index in range(len(tiles))])
    dark = from_numpy(1 - red.astype(np.float32) / 255)[:, None]
    found = []
    for size in (1, 3, 5, 7, 9):
        # Openings keep what holds a square: large nuclei outlive small ones.
        eroded = -max_pool2d(-dark, size, 1)
        opened = max_pool2d(eroded, size, 1).flatten(1).double().numpy()
        found += [opened.mean(1)] + [np.quantile(opened, share, axis=1) for share in (0.5, 0.8, 0.9, 0.96, 0.99)]
    return np.stack(found, 1), dark.flatten(1).double().mean(1).numpy()


def test_a_thumbnail_is_the_whole_slide() -> None:
    slide = SLIDES.slide(0)
    thumbnail = SLIDES.thumbnail(0, longest=100)
    assert thumbnail.size == (64, 64)
    bright = np.asarray(thumbnail).reshape(8, 8, 8, 8, 3).mean((1, 3, 4))
    assert bright[slide.tissue].mean() < bright[~slide.tissue].mean() - 20
    assert SLIDES.thumbnail(0, longest=4000).size == (512, 512)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="slide 4 of 4: expected 0 to 3"):
        SLIDES.slide(4)
    with pytest.raises(InputError, match="at least 1 pixel wide, got 0"):
        SLIDES.thumbnail(0, longest=0)
    for wrong in ({"tile_size": 40}, {"positive_rate": 0.0}, {"sites": 0}, {"colour": "red"}):
        with pytest.raises(InputError):
            Slides(**wrong)
