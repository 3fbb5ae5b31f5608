"""Part of the classes: the mask acts before the argmax, targets are ranks, and two names of one class are one."""

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core.errors import InputError
from snellen.metrics.class_subset import restricted, shared_classes
from snellen.training.batches import ImageStore
from snellen.training.students import measured

MODEL = ("cat", "dog", "tabby", "bus")


@pytest.mark.covers("6.4")
def test_the_mask_acts_on_scores_and_targets_are_ranks_among_what_is_kept():
    groups = shared_classes(MODEL, ("bus", "dog"))
    scores = torch.tensor([[9.0, 3.0, 8.0, 1.0], [9.0, 1.0, 8.0, 2.0]])
    assert restricted(scores, groups).argmax(1).tolist() == [1, 0]
    assert (scores.argmax(1) == 0).all(), "a decision that is masked afterwards is wrong both times"
    targets = torch.tensor([1, 0])

    class Fixed(nn.Module):
        def forward(self, images):
            return scores

    store = ImageStore.of_tensors(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), targets)
    assert measured(Fixed(), store, groups=groups).right.all()
    assert not measured(Fixed(), ImageStore.of_tensors(store.images, torch.tensor([1, 3]))).right.any()
    expected = torch.nn.functional.cross_entropy(scores[:, [3, 1]], targets, reduction="none")
    assert measured(Fixed(), store, groups=groups).losses == pytest.approx(expected.numpy())


@pytest.mark.covers("6.4")
def test_a_class_may_stand_for_several_and_none_stands_for_two():
    groups = shared_classes(MODEL, ("cat", "dog"), {"cat": ["cat", "tabby"]})
    assert restricted(torch.tensor([[0.0, 3.0, 4.0, 9.0]]), groups).tolist() == [[4.0, 3.0]]
    for test, names, message in (
        (("cat", "dog"), {"dog": "cat"}, "'cat' of the model stands for two"),
        (("cat", "yak"), None, "class 'yak' of the test set would be 'yak' of the model"),
        (("cat", "dog"), {"yak": "cat"}, "'yak' is no class of the test set"),
        (("cat",), None, "between at least 2 classes"),
    ):
        with pytest.raises(InputError, match=message):
            shared_classes(MODEL, test, names)


@pytest.mark.covers("6.10")
def test_flips_add_the_scores_of_the_mirrored_image():
    class Left(nn.Module):
        def forward(self, images):
            return images[:, 0, 0, :2] * 255

    pixels = torch.from_numpy(np.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4).astype(np.uint8))
    store = ImageStore.of_tensors(pixels, torch.tensor([0, 1]))
    plain, both = (measured(Left(), store, mirrored=mirrored).losses for mirrored in (False, True))
    own, other = pixels[:, 0, 0, :2].float(), pixels.flip(3)[:, 0, 0, :2].float()
    for found, scores in ((plain, own), (both, own + other)):
        wanted = torch.nn.functional.cross_entropy(scores, store.targets, reduction="none")
        assert found == pytest.approx(wanted.numpy())
