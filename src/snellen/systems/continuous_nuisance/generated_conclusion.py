"""An audit's conclusions from generated trajectories: figures, hypotheses, curves, and the list of all of them."""

from __future__ import annotations

from collections import Counter
from functools import partial

from snellen.checks.check import CheckResult
from snellen.checks.hypothesis import Hypothesis
from snellen.core.classifier import Classifier
from snellen.core.finding import Finding, FindingExample
from snellen.systems.continuous_nuisance.generated_trajectories import GeneratedTrajectories
from snellen.systems.continuous_nuisance.nuisance_loss import NuisanceLoss, loss_panels

#: Begins the names of figures and findings of generated images, and ends that of their list.
GENERATED = "generated"


def concluded(
    made: GeneratedTrajectories, check: str, generator: str, classifier: Classifier, *, pictured: bool
) -> CheckResult:
    """Conclude from trajectories; a note lists shifts without one.

    Args:
        made: the trajectories.
        check: name of the check.
        generator: reference of what made them.
        classifier: the model.
        pictured: whether findings show pictures of them.
    """
    pictures: dict[str, bytes] = {}
    examples = {
        concept: tuple(one.example(classifier, pictures if pictured else None) for one in failures)
        for concept, failures in made.failures.items()
    }
    losses = {concept: loss for concept in made.concepts if (loss := made.loss(concept)) is not None}
    above = made.strengths[1:]
    rejected = Counter(key.partition("/")[0] for key, _ in made.rejected)
    notes = [
        f"Nuisance: {rejected[concept]} of {made.made(concept)} generated trajectories under {concept} count in no "
        f"figure, because the filter took them for another class."
        for concept in made.concepts
        if rejected[concept]
    ]
    notes += [
        f"Nuisance: no generated trajectory under {concept} was left to measure." for concept in made.concepts
        if concept not in losses
    ]  # fmt: skip
    notes += [f"Nuisance: {one}." for one in made.unmade]
    notes.append(
        f"Nuisance: generated figures are of images by {generator}, not of the audited ones; their strengths multiply "
        f"a slider, are not calibrated between shifts, and may change more than the words say."
    )
    return CheckResult(
        metrics={
            f"{check}.{_named(concept)}.{name}": figure
            for concept, loss in losses.items()
            for name, figure in loss.metrics(above).items()
        },
        hypotheses=[
            Hypothesis(
                loss.lost.drop.p_value(),
                loss.lost.drop.lower,
                partial(_finding, concept, loss, above, examples.get(concept, ())),
            )
            for concept, loss in losses.items()
        ],
        panels=loss_panels(
            losses,
            above,
            check=check,
            title="Generated things under a shift",
            about="Strength 0 is the generator as it is.",
        ),
        lists={f"{check}_{GENERATED}": made.lines()},
        notes=notes,
        pictures=pictures,
    )


def _named(concept: str) -> str:
    """What figures and findings of a shift are called: no blanks, because requirements name figures."""
    return f"{GENERATED}_{concept.replace(' ', '_')}"


def _finding(
    concept: str,
    loss: NuisanceLoss,
    strengths: tuple[float, ...],
    examples: tuple[FindingExample, ...],
    harm: float,
) -> Finding:
    return Finding(
        kind="nuisance",
        subject=_named(concept),
        harm=harm,
        p_value=loss.lost.drop.p_value(),
        title=f"Generated {concept} costs {100 * loss.lost.mean:.1f} points of accuracy on average over the strengths",
        facts={**loss.facts(concept, strengths), "generated_trajectories": int(loss.lost.paired.sum())},
        examples=examples,
    )
