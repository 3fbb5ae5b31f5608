"""How well units are described: those of a network of another family, and planted ones, known by construction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.truth import attribute_f1, pooled
from snellen.reproduction.neuron_descriptions.baselines import single_concepts
from snellen.reproduction.neuron_descriptions.materials import SHAPES, World, varied_scenes
from snellen.reproduction.neuron_descriptions.networks import LAYERS, PLANTED, detector_network, factor_network
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.neuron_descriptions.describer import Describer
from snellen.systems.neuron_descriptions.describing import Objective, Sentence
from snellen.systems.neuron_descriptions.exemplars import find_exemplars
from snellen.systems.neuron_descriptions.fitting import said_by
from snellen.systems.neuron_descriptions.region_sentences import said_attributes
from snellen.systems.neuron_descriptions.region_truth import KINDS, VALUES, attributes_of_units

#: Ways to choose a sentence, and λ.
WAYS: dict[str, tuple[Objective, float]] = {
    "pmi": ("rerank", 0.2),
    "likelihood": ("likelihood", 0.0),
    "stepwise": ("stepwise", 0.2),
    "pmi_strong": ("rerank", 1.0),
}


def held_out_units(
    describer: Describer,
    sentences: Sequence[Sequence[str]],
    *,
    scenes: int,
    epochs: int,
    probing: int,
    beams: int,
    seed: int,
    rng: Randomness,
    progress: Progress,
) -> dict[str, float]:
    """Describe all units of a network that the describer knows nothing of, on scenes that neither has seen.

    Returns:
        For each way of :data:`WAYS`, ``units.WAY.f1``, ``precision`` and ``recall`` of attributes, ``distinct``
        sentences for each unit described, and ``attributes`` named in each; the same ``f1`` of ``constant``, the
        sentence that is most frequent in training, of ``best_constant``, the one value that would do best here, and of
        ``single``, the one value that the unit's masks agree with most.
    """
    training = World.of(varied_scenes(scenes, "train", seed=seed, purpose="network"), name="network")
    classifier = factor_network(training.pixels, training.scenes, epochs=epochs, rng=rng, progress=progress)
    world = World.of(varied_scenes(probing, "test", seed=seed, purpose="probing"), name="probing")
    found, _ = find_exemplars(classifier, world.images, LAYERS, progress=progress)
    truth = [one for exemplars in found.values() for one in attributes_of_units(exemplars, world.maps)]
    regions = world.regions(found, describer)
    figures = {"units.count": float(sum(map(bool, truth)))}
    for name, (objective, weight) in WAYS.items():
        said = describer.describe(regions, objective=objective, weight=weight, width=beams)
        figures |= {f"units.{name}.{figure}": value for figure, value in scored(said, truth).items()}
    constant = said_attributes(said_by(sentences))
    best = max((frozenset({value}) for value in VALUES), key=lambda said: _f1([said] * len(truth), truth))
    concepts = single_concepts(classifier, world.pixels, world.maps, found)
    single = [frozenset({value}) for layer in found for value in concepts[layer]]
    return figures | {
        "units.constant.f1": _f1([constant] * len(truth), truth),
        "units.best_constant.f1": _f1([best] * len(truth), truth),
        "units.single.f1": _f1(single, truth),
    }


def planted_units(
    describer: Describer,
    sentences: Sequence[Sequence[str]],
    *,
    epochs: int,
    probing: int,
    beams: int,
    seed: int,
    rng: Randomness,
    progress: Progress,
) -> dict[str, Figure]:
    """Describe units that were made to fire on one value each.

    Returns:
        ``planted.right``, whether a unit's sentence says its value, for each unit, by the weighed sentence;
        ``planted.likelihood``, by the likeliest one; ``planted.constant``, by the most frequent one for all;
        ``planted.pure``, whether its regions show it by the rule of the captions; ``planted.f1`` and
        ``planted.precision`` against that rule.
    """
    world = World.of(varied_scenes(probing, "test", seed=seed, purpose="planted"), name="planted")
    own = World.of(varied_scenes(probing, "train", seed=seed, purpose="detectors"), name="detectors")
    classifier = detector_network(own.pixels, own.maps, epochs=epochs, rng=rng, progress=progress)
    found, _ = find_exemplars(classifier, world.images, [PLANTED], progress=progress)
    occurring = {*SHAPES, *(value for kind, values in KINDS.items() if kind != "shape" for value in values)}
    units = [number for number, value in enumerate(VALUES) if value in occurring]
    values = [VALUES[number] for number in units]
    regions = world.regions(found, describer).of(units)
    shown = attributes_of_units(found[PLANTED], world.maps)
    truth = [shown[number] for number in units]

    def right(said: Sequence[frozenset[str]]) -> Sample:
        return Sample.of([value in one for value, one in zip(values, said, strict=True)])

    ways = {
        name: describer.describe(regions, objective=WAYS[name][0], weight=WAYS[name][1], width=beams)
        for name in ("pmi", "likelihood")
    }
    constant = said_attributes(said_by(sentences))
    against = scored(ways["pmi"], truth)
    return {
        "planted.count": float(len(units)),
        "planted.right": right([_said(one) for one in ways["pmi"]]),
        "planted.likelihood": right([_said(one) for one in ways["likelihood"]]),
        "planted.constant": right([constant] * len(units)),
        "planted.pure": right(truth),
        "planted.f1": against["f1"],
        "planted.precision": against["precision"],
    }


def scored(said: Sequence[Sentence | None], truth: Sequence[frozenset[str]]) -> dict[str, float]:
    """Figures of sentences against what the regions of their units show; units that show nothing are left out."""
    pairs = [(one, true) for one, true in zip(said, truth, strict=True) if true]
    found = pooled(attribute_f1(_said(one), true) for one, true in pairs)
    told = [one for one, _ in pairs if one is not None]
    return {
        "f1": found.f1,
        "precision": found.precision,
        "recall": found.recall,
        "distinct": len({one.text for one in told}) / max(len(told), 1),
        "attributes": float(np.mean([len(said_attributes(one.text)) for one in told])) if told else 0.0,
    }


def _said(sentence: Sentence | None) -> frozenset[str]:
    return frozenset() if sentence is None else said_attributes(sentence.text)


def _f1(said: Sequence[frozenset[str]], truth: Sequence[frozenset[str]]) -> float:
    return pooled(attribute_f1(one, true) for one, true in zip(said, truth, strict=True) if true).f1
