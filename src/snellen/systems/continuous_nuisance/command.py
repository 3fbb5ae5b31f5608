"""``snellen shift nuisance``: what a user may ask, and what a terminal shows of the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from snellen.core.command import Option
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.core.method import Method
    from snellen.core.progress import Progress
    from snellen.runs.record import RunResult
    from snellen.runs.runner import Running


def nuisance(
    methods: list[Method],
    *,
    class_: Annotated[
        list[str] | None,
        Option("Words of a class; repeat it for several.", flag="--class", default="those of the first classifier"),
    ] = None,
    strength: Annotated[
        list[str] | None,
        Option("Ascending from 0; repeat it for several.", metavar="<START:END:COUNT|number>", default="0:2.5:6"),
    ] = None,
    classifier: Annotated[
        list[str] | None,
        Option("Reference of a classifier that is asked where it breaks; repeat it to rank several."),
    ] = None,
    reference_model: Annotated[
        str | None, Option("The one of these whose losses are the unit of relative errors (rCE).")
    ] = None,
    seeds: Annotated[int, Option("Things of each class.", minimum=1)] = 10,
    preset: Annotated[
        Literal["scenes", "imagenet"] | None,
        Option(
            "Whose values stand for options that are left out: imagenet, the published ones for Stable Diffusion 2; "
            "scenes, those of the generator that comes with the package.",
            default="scenes for that generator",
        ),
    ] = None,
    filter: Annotated[bool, Option("Take out trajectories that no longer show their class.")] = True,
    thresholds_from: Annotated[
        Literal["others", "given"] | None,
        Option(
            "others: each threshold removes 90 % of images that are scored as another class; given: --thresholds.",
            default="given with --thresholds or --preset imagenet, else others",
        ),
    ] = None,
    contact_sheet: Annotated[bool, Option("Also draw a few trajectories of each shift.")] = True,
    out: Path,
    device: str,
    seed: int,
    pseudonyms: Path | None,
    running: Running,
    progress: Progress | None = None,
) -> RunResult:
    """Your classes under nuisances of any words, generated at rising strength; where classifiers break (CNS-Bench)."""
    if len(methods) > 1:
        raise InputError("make trajectories with one setting at a time: give each option of the method once")
    from snellen.models.classifiers.references import load_classifier
    from snellen.runs.unfinished import check_free
    from snellen.systems.continuous_nuisance.method import ContinuousNuisance
    from snellen.systems.continuous_nuisance.nuisance_images import shift_nuisance
    from snellen.systems.continuous_nuisance.nuisance_set import RECORD, WHAT
    from snellen.systems.continuous_nuisance.strengths import strengths_of

    # What can be refused without the models is refused before they are read.
    written = {name: getattr(methods[0], name) for name in methods[0].model_fields_set}
    if strength:
        written["strengths"] = strengths_of(strength)
    if class_:
        written["classes"] = tuple(class_)
    method = ContinuousNuisance(**written, device=device)
    check_free(out, RECORD, WHAT)
    return shift_nuisance(
        method,
        [load_classifier(reference, device=device) for reference in classifier or ()],
        out=out,
        seeds=seeds,
        preset=preset,
        filter=filter,
        thresholds_from=thresholds_from,
        reference_model=reference_model,
        seed=seed,
        contact_sheet=contact_sheet,
        pseudonyms=pseudonyms,
        progress=progress,
        **running,
    )
