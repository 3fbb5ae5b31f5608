"""Fine-tuning after forgetting: what is trained, what comes back, and images of other classes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.preparation import Preparation
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.methods.forgetting.relearning import Relearning, relearning_images
from snellen.models.classifiers.trainable import trainable
from snellen.testing.treating import small_patient

PREPARATION = Preparation(size=(8, 8))


def arrays(labels, names, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (len(labels), 8, 8, 3), dtype=np.uint8)
    return load_arrays(pixels, labels, class_names=names)


def test_labels_are_matched_by_name_and_other_classes_are_counted():
    forgotten = arrays([0], ["cat", "dog"], seed=9)
    same, classes = relearning_images(arrays([0, 1], ["Dog", "cat"]), ("cat", "dog"), PREPARATION, forgotten)
    assert (same.targets.tolist(), classes) == ([1, 0], None)
    for names in (["ox", "cow", "hen"], None):
        others, classes = relearning_images(arrays([0, 2], names), ("cat", "dog"), PREPARATION, forgotten)
        assert (others.targets.tolist(), classes) == ([0, 2], 3)
    with pytest.raises(InputError, match="hen"):
        relearning_images(arrays([0, 1], ["cat", "hen"]), ("cat", "dog"), PREPARATION, forgotten)
    with pytest.raises(InputError, match=r"1 of 1 images of .* are to be forgotten"):
        relearning_images(forgotten, ("cat", "dog"), PREPARATION, forgotten)
    with pytest.raises(InputError, match="has no labels"):
        relearning_images(replace(same_images(), class_names=None), ("cat", "dog"), PREPARATION, forgotten)


def same_images():
    images = arrays([0, 1], ["cat", "dog"])
    return replace(images, table=images.table.drop_columns(["label"]))


@pytest.mark.parametrize("classes", [None, 5])
def test_a_pass_trains_the_network_and_its_own_last_layer_comes_back(classes):
    patient = small_patient()
    network = trainable(patient.classifier).eval()
    before = {name: one.clone() for name, one in network.state_dict().items()}
    store = patient.training
    images = store if classes is None else replace(store, targets=torch.arange(len(store)) % classes)
    seen = []

    def judge(judged):
        assert not judged.training
        seen.append({name: one.clone() for name, one in judged.state_dict().items()})
        return len(seen)

    found = Relearning(images, 2, classes).curve(network, judge, Randomness(0))
    assert found == (1, 2)
    assert all(torch.equal(one, network.state_dict()[name]) for name, one in before.items()), "the given one stays"
    assert seen[0].keys() == before.keys()
    changed = {name for name in before if not torch.equal(seen[1][name], before[name])}
    last = list(before)[-1].rpartition(".")[0]
    assert changed
    assert any(name.startswith(last) for name in changed) == (classes is None)
    first = seen.copy()
    Relearning(images, 2, classes).curve(network, judge, Randomness(0))
    for one, other in zip(first, seen[2:], strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one), "the same seed gives the same course"
