"""The conformance suite refuses an attack for each promise that it breaks."""

from dataclasses import replace

import pytest
import torch

from snellen.core.randomness import Randomness
from snellen.methods.attacks.pgd import PGD
from snellen.testing import check_attack
from snellen.testing.conformance import small_problem

EPSILON = 0.02


class Around:
    """PGD, with something done before or after it."""

    def __init__(self, *, before=None, after=None, epsilon=EPSILON, norm="linf"):
        self.before, self.after, self.norm = before, after, norm
        self.pgd = PGD(epsilon=epsilon, steps=4)

    def attack(self, classifier, images, labels, *, criterion, rng):
        if self.before is not None:
            images, rng = self.before(classifier, images, rng)
        attacked = self.pgd.attack(classifier, images, labels, criterion=criterion, rng=rng)
        return attacked if self.after is None else self.after(attacked)


def first(mask):
    return int(mask.nonzero()[0])


def put(tensor, position, value):
    changed = tensor.clone()
    changed[position] = value
    return changed


def searched(attacked):
    """Images that were not misclassified from the start."""
    return torch.tensor([status != "already" for status in attacked.status])


def test_the_problem_has_images_of_every_outcome():
    classifier, images, labels = small_problem()
    labels[:2] = (labels[:2] + 1) % 5
    attacked = PGD(epsilon=EPSILON, steps=4).attack(classifier, images, labels)
    assert set(attacked.status) == {"already", "found", "not found"}
    check_attack(Around(), epsilon=EPSILON)


def adversarial_although_failed(attacked):
    failed = first(~attacked.success)
    return replace(attacked, images=put(attacked.images, failed, (attacked.images[failed] + 0.001).clamp(0, 1)))


def claims_a_success(attacked):
    return replace(attacked, success=put(attacked.success, first(~attacked.success), True))


def hides_a_success(attacked):
    return replace(attacked, success=put(attacked.success, first(attacked.success & searched(attacked)), False))


def distance_of_a_failure(attacked):
    return replace(attacked, distance=put(attacked.distance, first(~attacked.success), 0.001))


def understates_the_distance(attacked):
    return replace(attacked, distance=attacked.distance / 2)


def forgets_the_distance(attacked):
    return replace(attacked, distance=put(attacked.distance, first(attacked.success & searched(attacked)), 0))


def blind_without_a_gradient(attacked):
    return replace(attacked, zero_gradient=put(attacked.zero_gradient, 0, True))


def leaves_the_range(attacked):
    return replace(attacked, images=attacked.images - 1e-3)


def forgets_queries(attacked):
    return replace(attacked, queries=attacked.queries - 1)


def invents_gradients(attacked):
    return replace(attacked, gradients=put(attacked.gradients, 0, 99))


def other_shape(attacked):
    return replace(attacked, images=attacked.images[:, :, :-1])


def alters_what_was_misclassified(attacked):
    return replace(attacked, images=put(attacked.images, 0, attacked.images[0].clamp(0.001, 0.999)))


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (adversarial_although_failed, "must return the clean image"),
        (claims_a_success, "success mask"),
        (hides_a_success, "success mask"),
        (distance_of_a_failure, "a failed attack has distance 0"),
        (understates_the_distance, "the distance is not that of the image"),
        (forgets_the_distance, "not zero exactly where nothing changed"),
        (blind_without_a_gradient, "a zero gradient where none was taken"),
        (leaves_the_range, r"images leave \[0, 1\]"),
        (forgets_queries, "counts differ"),
        (invents_gradients, "counts differ"),
        (other_shape, None),
        (alters_what_was_misclassified, "returned unchanged"),
    ],
)
def test_a_false_result_of_an_attack_is_refused(after, told):
    with pytest.raises(AssertionError, match=told):
        check_attack(Around(after=after), epsilon=EPSILON)


def test_the_distance_of_an_attack_without_a_norm_is_its_own_matter():
    check_attack(Around(after=understates_the_distance, norm=None))
    with pytest.raises(AssertionError, match="not zero exactly where nothing changed"):
        check_attack(Around(after=forgets_the_distance, norm=None))


def changes_its_input(classifier, images, rng):
    return images.mul_(0.999), rng


def draws_by_position(classifier, images, rng):
    return images, Randomness(rng.seed).bind(len(images))


def draws_from_the_global_state(classifier, images, rng):
    return images, Randomness(int(torch.randint(2**31, ()))).bind(len(images))


def looks_once_more_without_counting(classifier, images, rng):
    classifier(images[:1])
    return images, rng


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (changes_its_input, "changed its input in place"),
        (draws_by_position, "another batch gives another result"),
        (draws_from_the_global_state, "another batch gives another result"),
        (looks_once_more_without_counting, "counts differ"),
    ],
)
def test_a_false_way_of_an_attack_is_refused(before, told):
    # A ball in which most images break at the random start, so that the result tells where that was.
    with pytest.raises(AssertionError, match=told):
        check_attack(Around(before=before, epsilon=0.2))


def test_a_distance_beyond_epsilon_is_refused():
    check_attack(Around(epsilon=0.2), epsilon=0.2)
    with pytest.raises(AssertionError, match="the distance passes epsilon"):
        check_attack(Around(epsilon=0.2), epsilon=EPSILON)
