"""Objects before other backgrounds: what a shortcut cost is won back."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from snellen.core.finding import Finding
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.truth import set_column
from snellen.methods.treatments.background_swaps import BackgroundSwaps
from snellen.models.classifiers.trainable import trainable
from tests.methods.treatments.planted import LONG, accuracy, patient, pictures, trained

SHORTCUT = Finding(kind="background_shortcut", harm=0.3, title="planted")
CLASSES = (np.arange(240) % 2).tolist()


@pytest.fixture(scope="module")
def shortcut():
    """Trained where the ground is that of the class in every image."""
    images = pictures(CLASSES, CLASSES, masks=True)
    return patient(trained(images), images, pictures(CLASSES, CLASSES, seed=1), SHORTCUT)


def test_what_followed_the_background_follows_the_object(shortcut):
    usual, other = (pictures(CLASSES, grounds, seed=2) for grounds in (CLASSES, [1 - one for one in CLASSES]))
    audited = shortcut.classifier
    assert accuracy(audited, other) < 0.5
    treated = BackgroundSwaps(plan=LONG).treat(trainable(audited), shortcut, rng=Randomness(0))
    assert accuracy(treated, other) > 0.85
    assert accuracy(treated, usual) > accuracy(audited, usual) - 0.02


def test_an_object_stays_and_its_ground_is_that_of_another_class(shortcut):
    (swap,) = BackgroundSwaps().term(shortcut, rng=Randomness(0)).transforms
    rows = torch.arange(8)
    images, labels = shortcut.training.read(rows)
    ids = [shortcut.training.ids[row] for row in rows.tolist()]
    # Other targets, as after cleaned labels: the ground is still one of the other class.
    swapped, targets = swap(images / 255, 1 - labels, Randomness(0).for_examples(ids))
    assert torch.equal(targets, 1 - labels)
    for row in rows.tolist():
        mask = torch.tensor(np.array(shortcut.images.read_mask(row))) > 127
        assert torch.allclose(swapped[row][:, mask], images[row][:, mask] / 255)
        blue = swapped[row][2][~mask].mean() > swapped[row][1][~mask].mean()
        assert bool(blue) == (labels[row] == 0), "green is the ground of the class 0"


def test_without_masks_it_refuses():
    images = pictures(CLASSES, CLASSES)
    bare = patient(trained(images, epochs=1), images, pictures(CLASSES, seed=1), SHORTCUT)
    assert "--masks" in BackgroundSwaps().refusal(trainable(bare.classifier), bare)


def test_with_masks_in_one_class_it_refuses(shortcut):
    column = [f"{label}" if label else None for label in shortcut.images.labels.tolist()]
    images = pictures(CLASSES, CLASSES, masks=True)
    images = replace(images, table=set_column(images.table, "mask", pa.array(column)))
    one = patient(shortcut.classifier, images, images, SHORTCUT)
    assert "two classes" in BackgroundSwaps().refusal(trainable(one.classifier), one)
    assert BackgroundSwaps().refusal(trainable(one.classifier), shortcut) is None
