"""Zeroing units: nothing is left behind, whatever the layer, the mode or the number of blocks."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnknownNameError
from snellen.core.preprocessing import Preprocessing
from snellen.systems.neuron_descriptions.ablation import (
    Unit,
    ablation_curve,
    by_accuracy_without,
    random_units_of_mass,
    units_described_with,
    zeroed,
)
from tests.tiny_network import NAMES, make_network


@pytest.fixture
def classifier():
    return Classifier(make_network(), class_names=NAMES, preparation=Preprocessing(size=(4, 4)))


def images(count=6):
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.covers("17.10")
def test_zeroing_changes_no_weight_composes_and_ends_with_its_block(classifier):
    before, fingerprint = classifier(images()), classifier.fingerprint()
    units = [Unit("2", 1), Unit("2", 3), Unit("0", 0)]
    with zeroed(classifier, units):
        hidden = classifier.features(images(), "2")
        assert not bool(hidden[:, [1, 3]].any())
        assert bool(hidden[:, 2].any())
        assert not bool(classifier.features(images(), "0")[:, 0].any())
        with zeroed(classifier, [Unit("2", 2)]):
            assert not bool(classifier.features(images(), "2")[:, [1, 2, 3]].any())
        assert bool(classifier.features(images(), "2")[:, 2].any())
        changed = classifier(images())
    assert not torch.equal(changed, before)
    assert torch.equal(classifier(images()), before)
    assert classifier.fingerprint() == fingerprint
    with pytest.raises(RuntimeError, match="inside"), zeroed(classifier, units):
        raise RuntimeError("inside")
    assert torch.equal(classifier(images()), before)
    with zeroed(classifier, []):
        assert torch.equal(classifier(images()), before)


@pytest.mark.covers("17.10")
def test_zeroing_works_while_the_network_trains_and_lets_gradients_through(classifier):
    network = classifier.module
    network.train().requires_grad_(True)
    with zeroed(classifier, [Unit("2", 1)]):
        assert network.training
        network(images()).sum().backward()
    weight = network[5].weight.grad.view(3, 4, 16)
    assert not bool(weight[:, 1].any())
    assert bool(weight[:, 0].any())


def test_units_of_tokens_lie_in_the_last_dimension():
    network = nn.Sequential(nn.Unflatten(1, (3, 1)), nn.Flatten(2), nn.Linear(16, 5), nn.Flatten(), nn.Linear(15, 2))
    classifier = Classifier(network, class_names=["a", "b"], preparation=Preprocessing(size=(4, 4)))
    with zeroed(classifier, [Unit("2", 4)]):
        hidden = classifier.features(images(), "2")
    assert hidden.shape == (6, 3, 5)
    assert not bool(hidden[:, :, 4].any())
    assert bool(hidden[:, :, 3].any())


def test_what_is_no_unit_is_reported(classifier):
    with pytest.raises(UnknownNameError), zeroed(classifier, [Unit("nowhere", 0)]):
        pass
    with pytest.raises(InputError, match="unit 9 of a layer with 4"), zeroed(classifier, [Unit("2", 9)]):
        classifier(images())
    with pytest.raises(InputError, match="different"), zeroed(classifier, [Unit("2", 1), Unit("2", 1)]):
        pass


def test_units_come_in_the_order_of_the_accuracy_without_them(classifier):
    units = [Unit("2", number) for number in range(4)]
    asked = []

    def accuracy(edited):
        hidden = edited.features(images(), "2")
        silent = next(number for number in range(4) if not bool(hidden[:, number].any()))
        asked.append(silent)
        return {0: 0.5, 1: 0.9, 2: 0.5, 3: 0.1}[silent]

    assert [unit.number for unit in by_accuracy_without(classifier, units, accuracy)] == [1, 0, 2, 3]
    assert asked == [0, 1, 2, 3]

    def silent(edited):
        hidden = edited.features(images(), "2")
        return float(sum(not bool(hidden[:, number].any()) for number in range(4)))

    assert ablation_curve(classifier, units, silent, (0, 1, 3, 9)) == [0, 1, 3, 4]


def test_random_units_carry_as_much_and_are_others():
    masses = {Unit(layer, number): float(number + 1) for layer in "ab" for number in range(30)}
    given = [Unit("a", 4), Unit("a", 9), Unit("b", 0)]
    drawn = [random_units_of_mass(masses, given, generator=torch.Generator().manual_seed(seed)) for seed in range(40)]
    assert len({tuple(one) for one in drawn}) > 20
    assert not any(set(one) & set(given) for one in drawn)
    assert all(len(set(one)) == len(one) for one in drawn)
    in_a = [sum(masses[unit] for unit in one if unit.layer == "a") for one in drawn]
    assert sum(in_a) / len(in_a) == pytest.approx(15, abs=5)
    # Layer by layer: where no unit was given, none is drawn.
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        assert {unit.layer for unit in random_units_of_mass(masses, given[:2], generator=generator)} == {"a"}
    with pytest.raises(InputError, match="no activation is known of c/unit 1"):
        random_units_of_mass(masses, [Unit("c", 1)], generator=torch.Generator())


def test_words_find_their_plurals_and_no_parts_of_other_words():
    said = {Unit("a", 0): "Words in capital letters.", Unit("a", 1): "swords", Unit("a", 2): "a text"}
    assert [unit.number for unit in units_described_with(said, ["word", "TEXT"])] == [0, 2]
