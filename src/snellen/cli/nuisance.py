"""``snellen shift nuisance``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.free_folder import free_folder
from snellen.cli.privacy_options import AllowRemoteOption
from snellen.cli.progress import TerminalProgress, loading
from snellen.cli.run_options import DeviceOption, SeedOption
from snellen.cli.stopping import stopped_told
from snellen.cli.text import markup
from snellen.errors import InputError

if TYPE_CHECKING:
    from snellen.generation.continuous_nuisance import ContinuousNuisance
    from snellen.method import Method
    from snellen.writing.nuisance_set import NuisanceFigures, NuisanceSet


class PresetOption(StrEnum):
    """Whose values stand for options that are left out."""

    scenes = "scenes"
    imagenet = "imagenet"


class ThresholdsOption(StrEnum):
    """Where thresholds of the filter come from."""

    others = "others"
    given = "given"


def nuisance(
    methods: list[Method],
    class_: Annotated[
        list[str] | None,
        typer.Option(
            "--class", help="Words of a class; repeat it for several.", show_default="those of the first classifier"
        ),
    ] = None,
    strength: Annotated[
        list[str] | None,
        typer.Option(
            metavar="<START:END:COUNT|number>", help="Ascending from 0; repeat it for several.", show_default="0:2.5:6"
        ),
    ] = None,
    classifier: Annotated[
        list[str] | None,
        typer.Option(help="Reference of a classifier that is asked where it breaks; repeat it to rank several."),
    ] = None,
    reference_model: Annotated[
        str | None, typer.Option(help="The one of these whose losses are the unit of relative errors (rCE).")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="New folder; the same command goes on where it stopped.", show_default="snellen-nuisance-N"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Things of each class.")] = 10,
    preset: Annotated[
        PresetOption | None,
        typer.Option(
            help="Whose values stand for options that are left out: imagenet, the published ones for Stable Diffusion "
            "2; scenes, those of the generator that comes with the package.",
            show_default="scenes for that generator",
        ),
    ] = None,
    filter: Annotated[
        bool, typer.Option("--filter/--no-filter", help="Take out trajectories that no longer show their class.")
    ] = True,
    thresholds_from: Annotated[
        ThresholdsOption | None,
        typer.Option(
            help="others: each threshold removes 90 % of images that are scored as another class; given: --thresholds.",
            show_default="given with --thresholds or --preset imagenet, else others",
        ),
    ] = None,
    device: DeviceOption = "cpu",
    allow_remote: AllowRemoteOption = None,
    seed: SeedOption = 0,
    contact_sheet: Annotated[
        bool, typer.Option("--contact-sheet/--no-contact-sheet", help="Also draw a few trajectories of each shift.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print nuisance.json instead of the summary.")] = False,
) -> None:
    """Your classes under nuisances of any words, generated at rising strength; where classifiers break (CNS-Bench)."""
    if len(methods) > 1:
        raise InputError("make trajectories with one setting at a time: give each option of the method once")
    folder = out or free_folder("snellen-nuisance")
    with loading("reading models"):
        from snellen.generation.continuous_nuisance import ContinuousNuisance
        from snellen.models.references import load_classifier
        from snellen.nuisance_sliders.strengths import strengths_of
        from snellen.run import canonical_json
        from snellen.writing.nuisance_images import check_free, shift_nuisance

        # What can be refused without the models is refused before they are read.
        written = {name: getattr(methods[0], name) for name in methods[0].model_fields_set}
        if strength:
            written["strengths"] = strengths_of(strength)
        if class_:
            written["classes"] = tuple(class_)
        method = ContinuousNuisance(**written, device=device)
        check_free(folder)
        asked = [load_classifier(reference, device=device) for reference in classifier or ()]
    with stopped_told(folder, out), TerminalProgress() as progress:
        made = shift_nuisance(
            method,
            asked,
            out=folder,
            seeds=seeds,
            preset=None if preset is None else preset.value,
            filter=filter,
            thresholds_from=None if thresholds_from is None else thresholds_from.value,
            reference_model=reference_model,
            seed=seed,
            contact_sheet=contact_sheet,
            progress=progress,
        )
    if as_json:
        typer.echo(canonical_json(made.to_json()), nl=False)
    else:
        _show(made, method)


#: Rejected trajectories that are named; all are in nuisance.json.
_NAMED = 3


def _show(made: NuisanceSet, method: ContinuousNuisance) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    lost = {concept: sum(one.id.startswith(f"{concept}/") for one in made.rejected) for concept in made.kept}
    for concept, kept in made.kept.items():
        told = f", {lost[concept]} rejected by the filter" if made.thresholds else ""
        console.print(f"{markup(concept)}: {kept} trajectories{told}")
    for rejected in made.rejected[:_NAMED]:
        console.print(f"[yellow]rejected:[/] {markup(rejected.id)}: {markup(rejected.reason)}")
    if len(made.rejected) > _NAMED:
        console.print(f"… {len(made.rejected)} rejected in all, see nuisance.json")
    if made.figures:
        table = Table("classifier", "shift", "at 0", "lost at most", "at", "fails first at", "relative error",
                      box=None, pad_edge=False)  # fmt: skip
        for name, by_concept in made.figures.items():
            for concept, found in by_concept.items():
                table.add_row(markup(name), markup(concept), *_cells(found))
        console.print(table)
    for name, error in made.mean_relative_error.items():
        console.print(f"rCE of {markup(name)}: {'undefined' if error is None else f'{error:.3f}'}")
    for concept, order in made.orders.items():
        for change in order.changes or ("no two classifiers change places beyond chance",):
            console.print(f"{markup(concept)}: {markup(change)}")
    for note in made.notes:
        console.print(f"note: {markup(note)}")
    for file in (*made.files, "nuisance.json"):
        console.print(f"Written: {markup(str(made.folder / file))}", soft_wrap=True)
    if method.sliders or made.folder.name:
        console.print(
            f"Sliders: {markup(method.sliders or str(made.folder.with_name(f'{made.folder.name}-sliders')))}",
            soft_wrap=True,
        )


def _cells(found: NuisanceFigures) -> tuple[str, ...]:
    """Accuracy without the shift, the largest drop and its strength, the mean first failure, the relative error."""
    worst = max(found.curve, key=lambda point: point.drop)
    failures = found.failures
    first = "never" if failures.mean_of_failed is None else f"{failures.mean_of_failed:.2f}"
    return (
        f"{found.curve[0].accuracy:.3f}",
        f"{worst.drop:.3f} ({worst.drop_low:.3f} – {worst.drop_high:.3f})",
        f"{worst.strength:g}",
        f"{first} ({failures.failed} of {failures.n})",
        "–" if found.relative_error is None else f"{found.relative_error:.3f}",
    )
