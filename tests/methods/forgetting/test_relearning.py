"""Fine-tuning after forgetting: what is trained, what comes back, and images of other classes."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core.errors import InputError, UnsupportedError
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.methods.forgetting.relearning import PASS, Relearning, relearning_images
from snellen.methods.forgetting.retraining import Retraining
from snellen.training.evaluation import score_examples
from tests.methods.forgetting.learned import learned

PREPARATION = Preprocessing(size=(8, 8))


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
def test_a_pass_trains_the_network_and_what_belongs_to_its_own_classes_comes_back(classes):
    network, store = learned()
    before = {name: one.clone() for name, one in network.state_dict().items()}
    images = store if classes is None else replace(store, targets=torch.arange(len(store)) % classes)
    seen = []

    def judge(judged):
        assert not judged.training
        seen.append({name: one.clone() for name, one in judged.state_dict().items()})
        return len(seen)

    assert Relearning(images, 2, classes, PASS).curve(network, judge, Randomness(0)) == (1, 2)
    assert all(torch.equal(one, network.state_dict()[name]) for name, one in before.items()), "the given one stays"
    for of in seen:
        changed = {name for name in before if not torch.equal(of[name], before[name])}
        own = {name for name in changed if "running" in name or name.startswith("network.4")}
        assert changed - own, "the passes change the network"
        assert bool(own) == (classes is None)
    first = seen.copy()
    Relearning(images, 2, classes, PASS).curve(network, judge, Randomness(0))
    for one, other in zip(first, seen[2:], strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one), "the same seed gives the same course"


def test_hidden_images_come_back_and_those_of_a_retrained_network_do_not():
    network, store = learned()
    rows = torch.arange(5, 17)
    split = ForgetSplit(store, rows)
    hidden = copy.deepcopy(network)
    with torch.no_grad():
        hidden.network[4].bias += torch.tensor([9.0, -9.0])

    def right(judged):
        scores, targets = score_examples(judged, split.forgotten)
        return float((scores.argmax(1) == targets).double().mean())

    plan = {"epochs": 30, "batch_size": 32, "optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.0}
    exact = Retraining(plan=plan).forget(network, split, rng=Randomness(1))
    passes = Relearning(split.remaining, 10)
    back, never = (passes.curve(one, right, Randomness(0)) for one in (hidden, exact))
    assert right(hidden) <= 0.6, "a shifted last layer hides what the network knows"
    assert back[-1] - right(hidden) >= 0.2
    assert abs(never[-1] - right(exact)) < 0.2


def test_other_classes_need_a_linear_last_layer():
    network, store = learned()
    convolution = copy.deepcopy(network)
    convolution.network[4] = nn.Sequential(nn.Unflatten(1, (16, 8, 8)), nn.Conv2d(16, 2, 8), nn.Flatten())
    with pytest.raises(UnsupportedError, match=r"need a linear last layer, and network\.4\.1 is a Conv2d"):
        Relearning(store, 1, 2).curve(convolution, lambda _: 0, Randomness(0))
