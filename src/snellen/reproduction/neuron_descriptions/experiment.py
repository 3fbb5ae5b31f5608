"""System 17: a describer learnt from drawn units, and its descriptions of units that it never saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.reproduction.neuron_descriptions.description import held_out_units, planted_units
from snellen.reproduction.neuron_descriptions.editing import edited_network
from snellen.reproduction.neuron_descriptions.full import full
from snellen.reproduction.neuron_descriptions.materials import learnt_describer
from snellen.reproduction.sample import Figure
from snellen.systems.neuron_descriptions.recipe import NeuronDescriber
from snellen.training.plan import TrainingPlan


@dataclass(frozen=True)
class Budget:
    """How much is drawn and trained.

    Args:
        describer: the recipe.
        learnt: scenes that the describer learns from.
        scenes: that each network learns from.
        epochs: of the network whose units are described, of the detectors, and of the network that is edited.
        probing: scenes among which exemplars are found.
        tests: scenes on which the edited network is judged.
        beams: sentences that are considered for each unit.
    """

    describer: NeuronDescriber
    learnt: int
    scenes: int
    epochs: tuple[int, int, int]
    probing: int
    tests: int
    beams: int


SMALL = Budget(
    describer=NeuronDescriber(),
    learnt=1000,
    scenes=2500,
    epochs=(8, 8, 12),
    probing=1000,
    tests=800,
    beams=50,
)
SMOKE = Budget(
    describer=NeuronDescriber(
        units=24,
        plan=TrainingPlan(epochs=1, learning_rate=3e-3),
        language_plan=TrainingPlan(epochs=1, learning_rate=3e-3),
    ),
    learnt=40,
    scenes=64,
    epochs=(1, 1, 1),
    probing=40,
    tests=12,
    beams=3,
)


def neuron_descriptions(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 17.

    Returns:
        Figures of :func:`held_out_units`, :func:`planted_units` and :func:`edited_network`.

    Raises:
        InputError: the scale is full, and what it needs is not named.
    """
    if scale == "full":
        return full(seed, progress)
    budget, prefix = (SMOKE, "smoke.") if scale == "smoke" else (SMALL, "")
    rng = Randomness(seed)
    describer, sentences = learnt_describer(
        budget.learnt, budget.describer, seed=seed, rng=rng.child("describer"), progress=progress
    )
    others, planted, edited = budget.epochs
    figures: dict[str, Figure] = dict(
        held_out_units(
            describer,
            sentences,
            scenes=budget.scenes,
            epochs=others,
            probing=budget.probing,
            beams=budget.beams,
            seed=seed,
            rng=rng.child("other network"),
            progress=progress,
        )
    )
    figures |= planted_units(
        describer,
        sentences,
        epochs=planted,
        probing=budget.probing,
        beams=budget.beams,
        seed=seed,
        rng=rng.child("planted"),
        progress=progress,
    )
    figures |= edited_network(
        describer,
        scenes=budget.scenes,
        epochs=edited,
        validation=budget.probing // 2,
        tests=budget.tests,
        beams=budget.beams,
        seed=seed,
        rng=rng.child("edited"),
        progress=progress,
    )
    return {prefix + name: value for name, value in figures.items()}


neuron_descriptions.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("40 drawn units, networks of one epoch",),
    "small": (
        "about 1,700 drawn units, and those of an embedded CNN, on scenes of 32 pixels, described by rule from known "
        "factors in some 50 words, for MILANNOTATIONS",
        "bundled:scene-cnn at three depths (192 features) for ResNet101; states of 48 and 40 numbers for 512",
        "a CNN of four layers on scenes for AlexNet, ResNet, DINO; six drawn shapes for the classes of ImageNet",
        "attributes in the words of a sentence for BERTScore against what people wrote",
    ),
    "full": ("BLEU and ROUGE-L for BERTScore; see full.py",),
}
