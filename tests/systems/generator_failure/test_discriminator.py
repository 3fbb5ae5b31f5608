"""The ensemble: quorum, invalid images, names in any order, and what it warns of and refuses."""

import warnings

import pytest
import torch

from snellen.core.errors import InputError, UnknownNameError
from snellen.core.randomness import Randomness
from snellen.systems.generator_failure.discriminator import (
    Discriminator,
    Views,
    WeakEnsembleWarning,
    independent_judge,
)
from tests.systems.generator_failure.parts import SHAPES, cnn, judge, member

pytestmark = pytest.mark.filterwarnings("ignore::snellen.systems.generator_failure.discriminator.WeakEnsembleWarning")


def pure(channel, count=1):
    images = torch.full((count, 3, 8, 8), 0.1)
    images[:, channel] = 0.9
    return images


def test_an_image_fails_when_as_many_members_as_the_quorum_miss_the_class():
    turned = member(1, names=("blue", "red"), name="turned", spurious=0.01)  # reads red as blue
    members = [member(), turned]
    assert Discriminator(members, ["red"]).verdict(pure(2), "red").failed.tolist() == [False]
    assert Discriminator(members, ["red"], quorum=1).verdict(pure(2), "red").failed.tolist() == [True]
    assert Discriminator(members[:1], ["red"]).verdict(torch.cat([pure(2), pure(0)]), "red").failed.tolist() == [1, 0]


def test_names_decide_and_not_the_order_of_outputs():
    usual = Discriminator([member()], ["red", "blue"]).verdict(pure(0), "red")
    other = Discriminator([member(names=("Blue", "RED, scarlet"))], ["blue", "red"]).verdict(pure(0), "blue")
    assert usual.probabilities.item() > 0.9
    assert other.probabilities.item() > 0.9


def test_a_low_probability_is_no_failure_while_the_class_is_the_likeliest():
    """Of many classes the likeliest may be below any threshold."""
    verdict = Discriminator([member()], ["red"], threshold=0.9999).verdict(pure(0), "red")
    assert verdict.probabilities.item() < 0.9999
    assert not verdict.failed.item()


def test_numbers_that_are_not_finite_are_invalid_and_no_failure():
    images = pure(2, 3)
    images[1, 0, 0, 0] = torch.nan
    verdict = Discriminator([member()], ["red"]).verdict(images, "red")
    assert verdict.valid.tolist() == [True, False, True]
    assert verdict.failed.tolist() == [True, False, True]
    assert verdict.probabilities[1].isnan().all()
    assert verdict.seen == ("blue", "", "blue")
    assert verdict.unrelated.tolist() == [True, False, True]


def test_the_loss_has_gradients_through_views_and_views_depend_on_the_seed_alone():
    found = Discriminator([member(), member(1, spurious=0.1)], ["red"], views=Views(count=3))
    images = pure(0, 2).requires_grad_(True)
    losses = found.loss(images, "red", Randomness(0))
    (gradient,) = torch.autograd.grad(losses.sum(), images)
    assert losses.shape == (2,)
    assert gradient.abs().sum() > 0
    assert torch.equal(losses, found.loss(images, "red", Randomness(0)))
    assert not torch.equal(losses, found.loss(images, "red", Randomness(1)))


def false_finds(discriminator, truth):
    """Of images that a search by gradient makes the discriminator miss, how many still show the class."""
    found = wrong = 0
    for seed in range(6):
        noise = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
        image = 0.4 * pure(0) + 0.2 + 0.1 * noise
        for _ in range(80):
            image.requires_grad_(True)
            (gradient,) = torch.autograd.grad(discriminator.loss(image, "red", Randomness(seed)).sum(), image)
            image = (image.detach() - 0.1 * gradient / gradient.norm()).clamp(0, 1)
            if discriminator.verdict(image, "red").failed.item():
                found += 1
                wrong += truth.verdict(image, "red").probabilities.item() >= 0.5
                break
    return found, wrong


@pytest.mark.covers("7.4")
def test_one_classifier_alone_gives_more_false_finds_than_a_quorum():
    """Each member leans on a direction of its own beside the truth."""
    truth = Discriminator([member()], ["red"])
    members = [member(seed, spurious=1.5) for seed in range(1, 6)]
    plain = Views(count=0)
    for one in members[:2]:
        assert false_finds(Discriminator([one], ["red"], views=plain), truth) == (6, 6)
    assert false_finds(Discriminator(members, ["red"], views=plain), truth) == (6, 0)
    assert false_finds(Discriminator(members, ["red"], views=plain, quorum=1), truth)[1] > 0


def test_weak_ensembles_are_warned_of_and_strong_ones_are_not():
    with pytest.warns(WeakEnsembleWarning, match="one classifier decides alone"):
        Discriminator([member()], ["red"], robust=["red None"])
    with pytest.warns(WeakEnsembleWarning, match="trained against adversarial images"):
        Discriminator([member(), member(1, spurious=0.1)], ["red"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        strong = member(1, spurious=0.1, recipe={"method": "smooth_adversarial"})
        assert Discriminator([member(), strong], ["red"]).robust == ("red 1",)
        assert Discriminator([member(), member(2, spurious=0.1)], ["red"], robust=["red 2"]).notes == ()
        for method in ("pgd_tuning", "trades_tuning"):
            recipe = {"method": "treat", "treatments": [{"method": "plain_tuning"}, {"method": method}]}
            treated = member(1, spurious=0.1, recipe=recipe)
            assert Discriminator([member(), treated], ["red"]).robust == ("red 1",)
    plain = member(1, spurious=0.1, recipe={"method": "treat", "treatments": [{"method": "plain_tuning"}]})
    with pytest.warns(WeakEnsembleWarning, match="trained against adversarial images"):
        Discriminator([member(), plain], ["red"])


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (([], ["red"]), "name at least one classifier"),
        (([member()], []), "name each class once"),
        (([member()], ["red", "red"]), "name each class once"),
        (([member(), member(name="again")], ["red"]), "again has the weights of another member"),
    ],
)
def test_members_that_cannot_decide(arguments, fault):
    with pytest.raises(InputError, match=fault):
        Discriminator(*arguments)


def test_thresholds_quorums_and_classes_out_of_range():
    with pytest.raises(InputError, match="probability in"):
        Discriminator([member()], ["red"], threshold=1.5)
    with pytest.raises(InputError, match="a quorum is 1 to 1"):
        Discriminator([member()], ["red"], quorum=2)
    with pytest.raises(UnknownNameError, match="class of red None"):
        Discriminator([member()], ["green"])
    with pytest.raises(UnknownNameError, match="class"):
        Discriminator([member()], ["red"]).verdict(pure(0), "blue")
    with pytest.raises(InputError, match="a class is recognised from"):
        Discriminator([member()], ["red"], confident=1.0)


def test_a_judge_is_none_of_the_members():
    decides = Discriminator([cnn()], SHAPES)
    with pytest.raises(InputError, match="took part in the search"):
        independent_judge(cnn(), decides)
    answers = independent_judge(judge(), decides)(torch.rand(2, 3, 32, 32), "star")
    assert answers.shape == (2,)
    assert answers.dtype == torch.bool
