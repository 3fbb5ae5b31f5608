"""What an audit says of generated trajectories: figures, hypotheses, curves, and the list of all of them."""

from __future__ import annotations

from collections import Counter
from functools import partial

from snellen.auditing.check import Conclusion
from snellen.auditing.generated_trajectories import GeneratedTrajectories
from snellen.auditing.hypothesis import Hypothesis
from snellen.auditing.nuisance_loss import HEADS, NuisanceLoss
from snellen.auditing.panels import Panel
from snellen.finding import Finding
from snellen.nuisance_sliders.strengths import beyond

#: Begins the names of figures and findings of generated images, and ends that of their list.
GENERATED = "generated"


def concluded(made: GeneratedTrajectories, check: str, generator: str) -> Conclusion:
    """Conclude from trajectories; what none was left of is told in a note.

    Args:
        made: the trajectories.
        check: name of the check.
        generator: reference of what made them.
    """
    losses = {concept: loss for concept in made.concepts if (loss := made.loss(concept)) is not None}
    above = made.strengths[1:]
    rejected = Counter(key.partition("/")[0] for key, _ in made.rejected)
    notes = [
        f"Nuisance: {rejected[concept]} of {made.made} generated trajectories under {concept} count in no figure, "
        f"because the filter took them for another class."
        for concept in made.concepts
        if rejected[concept]
    ]
    notes += [
        f"Nuisance: no generated trajectory under {concept} was left to measure." for concept in made.concepts
        if concept not in losses
    ]  # fmt: skip
    notes.append(
        f"Nuisance: generated figures are of images by {generator}, not of the audited ones; their strengths multiply "
        f"a slider, are not calibrated between shifts, and may change more than the words say."
    )
    return Conclusion(
        metrics={
            f"{check}.{GENERATED}_{concept}.{name}": figure
            for concept, loss in losses.items()
            for name, figure in loss.metrics(above).items()
        },
        hypotheses=[
            Hypothesis(loss.lost.drop.p_value(), loss.lost.drop.lower, partial(_finding, concept, loss, above))
            for concept, loss in losses.items()
        ],
        panels=[_panel(losses, above, check)] if losses else [],
        lists={f"{check}_{GENERATED}": made.lines()},
        notes=notes,
    )


def _finding(concept: str, loss: NuisanceLoss, strengths: tuple[float, ...], harm: float) -> Finding:
    return Finding(
        kind="nuisance",
        subject=f"{GENERATED}_{concept}",
        harm=harm,
        p_value=loss.lost.drop.p_value(),
        title=f"Generated {concept} costs {100 * loss.lost.mean:.1f} points of accuracy on average over the strengths",
        facts={**loss.facts(concept, strengths), "generated_trajectories": int(loss.lost.paired.sum())},
    )


def _panel(losses: dict[str, NuisanceLoss], strengths: tuple[float, ...], check: str) -> Panel:
    return Panel(
        check=check,
        title="Generated things under more and more of a shift",
        about=f"Strength 0 is the generator as it is. The failure point is the first strength at which a trajectory "
        f"that is right is wrong; one that never fails counts as {beyond(strengths):g}.",
        x_label="strength",
        y_label="accuracy",
        lines=tuple(loss.line(concept, strengths) for concept, loss in losses.items()),
        head=("shift", *HEADS),
        rows=tuple((concept, *loss.row()) for concept, loss in losses.items()),
    )
