"""Examples that repeat: each as often as the others, ids of their own, and the same pixels, targets and weights."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.training.batches import ImageStore
from snellen.training.repeated import Repeated


def store(count=3):
    images = torch.arange(count, dtype=torch.uint8).reshape(count, 1, 1, 1).expand(count, 3, 2, 2)
    return ImageStore.of_tensors(images, torch.arange(count), weights=torch.arange(1.0, count + 1))


@pytest.mark.parametrize("count", [2, 3, 7, 9])
def test_every_example_comes_equally_often_with_its_own_pixels_target_and_weight(count):
    many = Repeated(store(), count)
    images, targets = many.read(torch.arange(count))
    assert len(many) == len(many.ids) == len(set(many.ids)) == len(many.weights) == count
    times = torch.bincount(targets, minlength=3)
    assert int(times.max() - times.min()) <= 1
    assert torch.equal(images[:, 0, 0, 0].long(), targets)
    assert torch.equal(many.weights, targets + 1.0)


def test_the_fingerprint_covers_examples_and_number():
    prints = {
        Repeated(store(), 5).fingerprint(),
        Repeated(store(), 6).fingerprint(),
        Repeated(store(4), 5).fingerprint(),
    }
    assert len(prints) == 3
    assert Repeated(store(), 5).fingerprint() == Repeated(store(), 5).fingerprint()


def test_a_test_split_stays_one_and_no_example_is_refused():
    images = torch.zeros(2, 3, 2, 2, dtype=torch.uint8)
    assert Repeated(ImageStore.of_tensors(images, torch.tensor([0, 1]), split="test"), 4).split == "test"
    with pytest.raises(InputError, match="at least one example; got 0"):
        Repeated(store(), 0)
