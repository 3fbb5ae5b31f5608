"""What units do: the decisions without them.

Hernandez et al., ICLR 2022 (arXiv 2201.11114), section 6 (editing): units whose description names a spurious feature
are set to zero, in the order of the accuracy without each one alone, highest first; beside it the same order over all
units, and random units. Nothing is written into the network: units are zeroed by hooks, inside a ``with`` block.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.models.layers.layer_edits import zero_units
from snellen.systems.neuron_descriptions.vocabulary import split_words


class Unit(NamedTuple):
    """One unit of a network: a layer by name, and a number from 0 on."""

    layer: str
    number: int

    def __str__(self) -> str:
        return f"{self.layer}/unit {self.number}"


def units_described_with(descriptions: Mapping[Unit, str], words: Collection[str]) -> list[Unit]:
    """Units whose description has one of these words, or its plural, in the given order.

    >>> said = {Unit("2", 0): "lines of text", Unit("2", 1): "red stars", Unit("2", 2): "white letters"}
    >>> [unit.number for unit in units_described_with(said, ["word", "text", "letter"])]
    [0, 2]
    """
    wanted = {form for word in words for form in (word.lower(), f"{word.lower()}s")}
    return [unit for unit, text in descriptions.items() if wanted & set(split_words(text))]


@contextmanager
def zeroed(classifier: Classifier, units: Collection[Unit]) -> Iterator[Classifier]:
    """Set units to zero inside a ``with`` block, in as many layers as they lie in; no unit changes nothing.

    Blocks nest. Weights, and the mode of the network, stay as they are.

    Raises:
        UnknownNameError: no such layer.
        InputError: a unit that is given twice, or, when the classifier runs, one that its layer does not have.
    """
    by_layer: dict[str, list[int]] = {}
    for layer, number in units:
        by_layer.setdefault(layer, []).append(number)
    with ExitStack() as stack:
        for layer, numbers in by_layer.items():
            stack.enter_context(classifier.edit(layer, _silenced(numbers)))
        yield classifier


def _silenced(numbers: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """Tokens hold their units last, maps and vectors behind the images."""
    of_maps, of_tokens = zero_units(numbers), zero_units(numbers, dim=-1)
    return lambda output: of_tokens(output) if output.ndim == 3 else of_maps(output)


def by_accuracy_without(
    classifier: Classifier, units: Sequence[Unit], accuracy: Callable[[Classifier], float]
) -> list[Unit]:
    """Units in the order of the accuracy when each alone is zeroed, the highest first; of equals, the given order.

    Args:
        classifier: whose units they are.
        units: candidates.
        accuracy: on validation images, never on test images.
    """
    without = []
    for unit in units:
        with zeroed(classifier, [unit]):
            without.append(accuracy(classifier))
    return [units[place] for place in sorted(range(len(units)), key=lambda place: -without[place])]


def ablation_curve(
    classifier: Classifier, ordered: Sequence[Unit], figure: Callable[[Classifier], float], counts: Sequence[int]
) -> list[float]:
    """A figure when the first n units of an order are zeroed, for each n; n beyond their number are all of them."""
    found = []
    for count in counts:
        with zeroed(classifier, ordered[:count]):
            found.append(figure(classifier))
    return found


def random_units_of_mass(
    masses: Mapping[Unit, float], units: Collection[Unit], *, generator: torch.Generator
) -> list[Unit]:
    """Other units that carry about as much activation as these, drawn layer by layer without replacement.

    In each layer, units come in random order until one would lead further away from the mass of the given units than it
    leads towards it. A layer whose other units carry less in all gives all of them.

    >>> masses = {Unit("a", number): 1.0 for number in range(8)}
    >>> len(random_units_of_mass(masses, [Unit("a", 0), Unit("a", 1)], generator=torch.Generator().manual_seed(0)))
    2

    Args:
        masses: mean absolute activation of every unit that may be drawn, and of the given ones.
        units: the given ones, which are not drawn.
        generator: of the draws.
    """
    chosen = set(units)
    if missing := chosen - set(masses):
        raise InputError(f"no activation is known of {', '.join(map(str, sorted(missing)[:3]))}")
    drawn: list[Unit] = []
    for layer in dict.fromkeys(unit.layer for unit in masses):
        left = sum(masses[unit] for unit in chosen if unit.layer == layer)
        others = [unit for unit in masses if unit.layer == layer and unit not in chosen]
        for place in torch.randperm(len(others), generator=generator).tolist():
            mass = masses[others[place]]
            if left <= 0 or abs(left - mass) >= left:
                break
            drawn.append(others[place])
            left -= mass
    return drawn
