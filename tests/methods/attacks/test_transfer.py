"""Transfer: made on one classifier, judged on another."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import Misclassified
from snellen.core.errors import InputError
from snellen.methods.attacks.pgd import PGD
from snellen.methods.attacks.transfer import Transfer, transferred
from snellen.testing.conformance import small_problem


def relative(classifier, amount, seed=7):
    """The same network with its weights shaken: near, but not the same."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 5)
    )
    model.load_state_dict(classifier.module.state_dict())
    for parameter in model.parameters():
        parameter.data += amount * parameter.std() * torch.randn(parameter.shape, generator=generator)
    return Classifier(model, class_names=classifier.class_names, name="relative")


def test_success_is_judged_on_the_target_and_its_queries_are_counted():
    target, images, labels = small_problem(count=40)
    surrogate = relative(target, 0.02)
    attack = PGD(epsilon=0.03, steps=10)
    with target.counting() as spent:
        attacked = transferred(attack, surrogate, target, images, labels)
    assert attacked.spent.counts() == spent().counts()
    assert set(attacked.queries.tolist()) == {1, 2}
    assert not attacked.gradients.any()
    fooled = target(attacked.images).argmax(1) != labels
    assert torch.equal(fooled, attacked.success)
    assert 0 < int(attacked.success.sum()) < 40
    assert torch.equal(attacked.images[~fooled], images[~fooled])
    changed = (attacked.images - images).abs().flatten(1).amax(1)
    assert torch.allclose(attacked.distance, changed)
    # Made on the surrogate: there, every one of them fools.
    crafted = surrogate(attacked.images[fooled]).argmax(1) != labels[fooled]
    assert crafted.all()


def test_the_nearer_the_surrogate_the_more_transfers():
    target, images, labels = small_problem(count=60)
    attack = PGD(epsilon=0.05, steps=10)
    rates = [
        float(transferred(attack, relative(target, amount), target, images, labels).success.float().mean())
        for amount in (0.02, 2.0)
    ]
    assert rates[0] > rates[1]


def test_itself_is_the_bound():
    target, images, labels = small_problem()
    own = Transfer(crafted_by={"method": "pgd", "epsilon": 0.01}).attack(target, images, labels)
    assert own.gradients.any()
    assert torch.equal(own.success, target(own.images).argmax(1) != labels)


def test_images_that_are_wrong_already_are_returned_unchanged():
    target, images, labels = small_problem()
    labels = labels.clone()
    labels[:3] = (labels[:3] + 1) % 5
    attacked = transferred(PGD(), relative(target, 0.1), target, images, labels, criterion=Misclassified())
    assert attacked.status[:3] == ("already",) * 3
    assert torch.equal(attacked.images[:3], images[:3])


def test_a_target_without_gradients_will_do():
    target, images, labels = small_problem()
    surrogate = relative(target, 0.05)
    remote = Classifier(lambda batch: target(batch), class_names=target.class_names, name="remote")
    assert transferred(PGD(epsilon=0.1), surrogate, remote, images, labels).success.any()


def test_other_classes_are_refused():
    target, images, labels = small_problem()
    other = Classifier(target.module, class_names=list("edcba"), name="other")
    with pytest.raises(InputError, match="the surrogate other has the classes e, d, c, b"):
        transferred(PGD(), other, target, images, labels)
    with pytest.raises(InputError, match=r"classes .* \(10\)"):
        Transfer(surrogate="bundled:fashion-cnn").attack(target, images, labels)
