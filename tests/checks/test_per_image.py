"""The clean evidence as arrays, and what became of each image."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from snellen.auditing.clean_evidence import clean_evidence, score_batch
from snellen.checks.check import Batch
from snellen.checks.independent import in_first_half
from snellen.checks.per_image import ABSENT, RIGHT, WRONG, PerImage, rows_of
from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.references import load_images
from snellen.models.classifiers.pooled_features import LARGEST_WIDTH
from snellen.testing.conformance import small_problem

KEEP = ("scores", "features", "fingerprints", "properties")


def batch_of(classifier, images, labels, keep=KEEP, units=None):
    ids = tuple(f"i{n}" for n in range(len(images)))
    scores, features = score_batch(classifier, images, keep)
    return Batch(
        classifier, ids, units or (None,) * len(ids), images, labels, scores, Randomness(0).for_examples(ids), features
    )


@pytest.fixture
def batch():
    classifier, images, labels = small_problem(count=9, size=16)
    labels = labels.clone()
    labels[0] = -1
    classifier.feature_layer = "3"
    return batch_of(classifier, images, labels, units=("u", "u", "v", None, None, None, None, None, None))


def test_what_is_kept_survives_the_table(batch, tmp_path):
    evidence = clean_evidence(batch, KEEP)
    evidence.write(tmp_path / "clean.parquet")
    known = PerImage.of(Evidence.merge([Evidence.read(tmp_path / "clean.parquet")]))
    assert known.ids == batch.ids
    assert known.labels.tolist() == batch.labels.tolist()
    assert np.allclose(known.scores, batch.scores, atol=1e-7)
    assert np.array_equal(known.features, batch.features.numpy())
    assert known.features.shape == (9, 128)
    assert len(set(known.pixel_hashes)) == 9
    assert known.fingerprints.thumbnails.shape == (9, 16, 16)
    assert known.properties.brightness.shape == (9,)
    assert known.units[0] == known.units[1] != known.units[2]
    assert not known.labelled[0]
    assert not known.correct[0]


def test_what_is_not_kept_is_none(batch):
    known = PerImage.of(clean_evidence(batch, ()))
    assert (known.scores, known.features, known.pixel_hashes, known.fingerprints, known.properties) == (None,) * 5


def test_selecting_all_copies_nothing(batch):
    known = PerImage.of(clean_evidence(batch, KEEP))
    assert known.select(np.ones(len(known), dtype=bool)) is known
    assert known.select(known.labelled) is not known


def test_selecting_keeps_the_arrays_together(batch):
    known = PerImage.of(clean_evidence(batch, KEEP))
    for chosen in (np.arange(9) % 2 == 0, np.array([0, 2, 4, 6, 8])):
        part = known.select(chosen)
        assert part.ids == batch.ids[::2]
        assert np.array_equal(part.features, known.features[::2])
        assert part.pixel_hashes == known.pixel_hashes[::2]
        assert np.array_equal(part.fingerprints.frequency, known.fingerprints.frequency[::2])
        assert np.array_equal(part.properties.contrast, known.properties.contrast[::2])
        assert np.array_equal(part.correct, known.correct[::2])


def test_outcomes_are_matched_by_id():
    known = PerImage(ids=tuple("abcde"), labels=np.array([0, 1, 0, 1, -1]), predictions=np.zeros(5, dtype=int))
    rows = Evidence.merge(
        [
            Evidence.of(["d", "a"], setting="fog.1", model="m", label=[1, 0], prediction=[1, 1]),
            Evidence.of(["c"], setting="fog.1", model="m", label=[0], status="failed", reason="nan"),
            Evidence.of(["b"], setting="fog.1", model="m", label=[1], status="invalid", reason="no cat left"),
            Evidence.of(["e"], setting="fog.1", model="m", prediction=[0]),
            Evidence.of(["b"], setting="fog.2", model="m", label=[1], prediction=[1]),
        ]
    )
    assert known.outcomes(rows, "fog.1").tolist() == [WRONG, ABSENT, WRONG, RIGHT, ABSENT]
    assert known.outcomes(rows, "fog.1", undecided=ABSENT).tolist() == [WRONG, ABSENT, ABSENT, RIGHT, ABSENT]
    decided, sure = known.decisions(rows, "fog.1")
    assert decided.tolist() == [1, -1, -1, 1, 0]
    assert np.isnan(sure).all()


def test_groups_and_splits_come_from_the_set():
    images = load_images(np.zeros((3, 8, 8, 3), dtype=np.uint8))
    table = images.table.append_column("group", [["north", None, "south"]])
    known = PerImage.of(
        Evidence.of(images.ids, setting="clean", model="m", prediction=[0, 0, 0]), replace(images, table=table)
    )
    assert known.groups == ("north", None, "south")
    assert known.splits == (None,) * 3
    assert {name: rows.tolist() for name, rows in rows_of(known.groups).items()} == {"north": [0], "south": [2]}


def test_wide_features_are_projected_and_keep_their_distances():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Identity(), torch.nn.Linear(3 * 16 * 16, 2))
    classifier = Classifier(network, class_names="ab", preparation=Preprocessing(size=(16, 16)), feature_layer="1")
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    scores, features = score_batch(classifier, images, KEEP)
    assert torch.equal(scores, classifier(images))
    assert features.shape == (8, LARGEST_WIDTH)
    before, after = torch.pdist(images.flatten(1)), torch.pdist(features)
    assert torch.allclose(after / before, torch.ones(28), atol=0.2)


def test_features_of_maps_and_of_models_without_layers():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with_layer = Classifier(network, class_names="abcd", feature_layer="0")
    assert torch.allclose(score_batch(with_layer, images, KEEP)[1], network[0](images).mean((2, 3)))
    plain = Classifier(lambda batch: network(batch), class_names="abcd")
    scores, features = score_batch(plain, images, KEEP)
    assert torch.equal(scores, features), "a model of which only scores are known"
    assert score_batch(plain, images, ())[1] is None


def test_the_two_parts_share_no_unit_and_do_not_depend_on_order():
    units = [f"u{n % 37}" for n in range(200)]
    first = in_first_half(units)
    assert len({unit for unit, chosen in zip(units, first, strict=True) if chosen}) == 18
    by_unit = dict(zip(units, first.tolist(), strict=True))
    order = np.random.default_rng(0).permutation(200)
    assert in_first_half([units[row] for row in order]).tolist() == [by_unit[units[row]] for row in order]
