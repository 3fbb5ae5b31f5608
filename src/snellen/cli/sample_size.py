"""``snellen sample-size``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snellen.cli.progress import loading
from snellen.cli.text import harmless


def sample_size(
    run: Annotated[
        Path | None,
        typer.Argument(help="Run directory of a finished audit: its accuracy, units and number of images."),
    ] = None,
    images: Annotated[int | None, typer.Option(min=2, help="Images at hand.", show_default="those of the run")] = None,
    accuracy: Annotated[
        float | None, typer.Option(help="True accuracy that is supposed.", show_default="that of the run")
    ] = None,
    width: Annotated[
        str | None, typer.Option(metavar="4pt|0.04", help="Width of the whole 95 % interval of the accuracy.")
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(metavar="'METRIC>=VALUE'", help="Gate that is to pass, as of snellen audit; repeatable."),
    ] = None,
    difference: Annotated[
        str | None, typer.Option(metavar="1pt|0.01", help="Difference of two models that is to be found.")
    ] = None,
    not_worse_than: Annotated[
        str | None,
        typer.Option(metavar="1pt|0.01", help="Margin by which an equally good model is shown not to be worse."),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Run of an earlier model on the same images: counts how often both disagree."),
    ] = None,
    disagreement: Annotated[
        float | None,
        typer.Option(
            help="Share of the images on which just one of two models is right.",
            show_default="counted with --baseline, else as of models that err independently",
        ),
    ] = None,
    unit_size: Annotated[
        float | None,
        typer.Option(help="Images of a unit (patient, lot) on average.", show_default="that of the run, else 1"),
    ] = None,
    icc: Annotated[
        float | None,
        typer.Option(help="Correlation of right decisions within a unit, 0 to 1.", show_default="that of the run"),
    ] = None,
    power: Annotated[float, typer.Option(help="Share of cases in which a gate passes or a difference is found.")] = 0.9,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Plan how many images an audit needs, or see what the images at hand can show."""
    with loading("planning"):
        from snellen.auditing.compare.sample_size import sample_size as plan_sample
        from snellen.core.run import canonical_json

        plan = plan_sample(
            run,
            images=images,
            accuracy=accuracy,
            width=width,
            require=require or (),
            difference=difference,
            not_worse_than=not_worse_than,
            baseline=baseline,
            disagreement=disagreement,
            unit_size=unit_size,
            icc=icc,
            power=power,
        )
    typer.echo(canonical_json(plan.to_json()) if as_json else harmless(str(plan)), nl=not as_json)
