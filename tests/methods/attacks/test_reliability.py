"""Signs against gradient attacks: each is raised by a model that has it, and none by a sound one."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.methods.attacks.ensemble import StandardEnsemble
from snellen.methods.attacks.reliability import doubts_after, doubts_before
from snellen.testing.conformance import small_problem


class Straight(torch.autograd.Function):
    """The identity with a random gradient."""

    @staticmethod
    def forward(ctx, images):
        return images.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient + torch.rand_like(gradient)


def with_layer(layer, position="before"):
    classifier, images, labels = small_problem()
    parts = (layer, classifier.module) if position == "before" else (classifier.module, layer)
    return Classifier(nn.Sequential(*parts), class_names=classifier.class_names), images, labels


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, batch):
        return self.function(batch)


CASES = {
    "gave other scores for 12 of 12": (Function(lambda x: x + 0.1 * torch.rand_like(x)), "before"),
    "equal scores and other gradients for 12 of 12": (Function(Straight.apply), "before"),
    "the scores are probabilities": (nn.Softmax(1), "after"),
    "is exactly zero on 12 of 12": (Function(lambda x: (x * 255).round() / 255), "before"),
}


@pytest.mark.parametrize("sign", CASES)
def test_each_sign_is_reported_where_it_is(sign):
    classifier, images, labels = with_layer(*CASES[sign])
    (told,) = doubts_before(classifier, images, labels)
    assert sign in told


def test_a_sound_model_raises_none_at_the_price_that_is_reported():
    classifier, images, labels = small_problem()
    with classifier.counting() as spent:
        assert doubts_before(classifier, images, labels) == ()
    assert (spent().queries, spent().gradients) == (3 * 12, 4 * 12)
    assert doubts_before(classifier, images[:0], labels[:0]) == ()
    with torch.inference_mode():
        assert doubts_before(classifier, images, labels) == ()
    with pytest.raises(InputError):
        doubts_before(classifier, images, labels[:3])


def test_successes_of_square_after_blind_gradient_attacks_are_reported():
    classifier, images, labels = small_problem(count=24)
    # Whole grey levels forwards, no gradient backwards: three attacks go nowhere.
    hidden = Classifier(
        nn.Sequential(Function(lambda x: (x * 255).round() / 255 + 0 * x), classifier.module),
        class_names=classifier.class_names,
    )
    labels = hidden(images).argmax(1)
    ensemble = StandardEnsemble(epsilon=0.02, steps=5, target_classes=2, queries=60)
    attacked = ensemble.attack(hidden, images, labels)
    assert "square" in attacked.found_by
    (told,) = doubts_after(attacked)
    assert f"broke {attacked.found_by.count('square')} images" in told
    sound = ensemble.attack(classifier, images, labels)
    if "square" not in sound.found_by:
        assert doubts_after(sound) == ()
    assert doubts_after(StandardEnsemble(epsilon=0, steps=1, queries=1).attack(classifier, images, labels)) == ()
