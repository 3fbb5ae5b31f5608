"""``snellen treat``."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snellen.cli.privacy_options import AllowRemoteOption
from snellen.cli.progress import TerminalProgress, loading
from snellen.cli.run_options import ClassesOption, DeviceOption, SeedOption
from snellen.cli.shown_table import show_table
from snellen.cli.text import harmless, markup, terminal
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snellen.cli.run_options import ModelOptions, ReadingOptions
    from snellen.methods.synthesis.by_name import ByName
    from snellen.verbs.treated import Treated


def treat(
    run: Annotated[Path, typer.Argument(help="Run directory of an audit (its --out).")],
    train: Annotated[
        str | None,
        typer.Option(
            help="Labelled images to train on, none of them test images: a folder, a manifest, FILE.npz#train.",
            show_default="those that the audit was given",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="New folder for the treated classifier; the same command resumes where it stopped."),
    ] = None,
    without: Annotated[
        Path | None,
        typer.Option(help="Folder of a scan of the images of --train: those that it names as suspects are left out."),
    ] = None,
    val: Annotated[
        str | None,
        typer.Option(
            help="Labelled images that choose between treatments.", show_default="a fifth of the training images"
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(help="Labelled images that prove it.", show_default="half of the audited images"),
    ] = None,
    finding: Annotated[
        list[str] | None,
        typer.Option(
            "--finding",
            metavar="KIND|KEY",
            help="Finding to treat, repeatable: calibration, corruption:fog.",
            show_default="all that are more than a note",
        ),
    ] = None,
    treatment: Annotated[
        list[str] | None,
        typer.Option(
            "--treatment", metavar="NAME", help="Only these treatments, repeatable, in this order.", show_default="all"
        ),
    ] = None,
    generator: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="Makes training images of what was found, classes, groups, or without shortcuts: diffusers:FOLDER or "
            "bundled:NAME.",
            show_default="nothing is generated",
        ),
    ] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(
            help="Adapters of the generator, a folder that snellen synthesize few-shot wrote.", show_default="none"
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Prompt for the generator, repeatable: {} is the class, {group} the group.",
            show_default="a {}",
        ),
    ] = None,
    plan_only: Annotated[bool, typer.Option("--plan-only", help="Show what would be tried, and stop.")] = False,
    max_loss: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Largest loss of clean accuracy on the validation images. After an audit with costs, it is of what a "
            "decision costs, as a share of the costliest error.",
        ),
    ] = 0.01,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Trains less, and tries less, where it is short: 90s, 10m.", show_default="no limit"
        ),
    ] = None,
    train_limit: Annotated[int, typer.Option(min=10, help="At most so many training images are trained on.")] = 5_000,
    model: Annotated[
        str | None,
        typer.Option(help="The audited classifier, where the run does not say how it was loaded."),
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="The audited images, where the run does not say how they were loaded.")
    ] = None,
    classes: ClassesOption = None,
    *,
    reading: ReadingOptions,
    device: DeviceOption = "cpu",
    built: ModelOptions,
    allow_remote: AllowRemoteOption = None,
    seed: SeedOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print treatment.json instead of the text.")] = False,
) -> None:
    """Treat what an audit found, from the weights of the audited classifier, and prove that it helped.

    Options of models and images hold for --model, --train and --images.
    """
    if out is None and not plan_only:
        raise InputError("name a new folder for the treated classifier with --out FOLDER, or ask for --plan-only")
    with loading("opening the audit") as spinner:
        from snellen.cli.run_options import read_images
        from snellen.core.budget import seconds_of, time_words
        from snellen.core.run import canonical_json
        from snellen.models.classifiers.references import load_classifier
        from snellen.models.remote.permission import permitting
        from snellen.verbs.treat import treat as run_treatment
        from snellen.verbs.treat import treatment_plan

        with permitting(allow_remote or ()):
            given: dict[str, Any] = {
                "train": None if train is None else read_images(train, reading, spinner),
                "val": None if val is None else read_images(val, reading, spinner),
                "test": None if test is None else read_images(test, reading, spinner),
                "images": None if images is None else read_images(images, reading, spinner),
                "classifier": None if model is None else load_classifier(model, classes, device=device, **built),
            }
    common: dict[str, Any] = {
        **given,
        "findings": tuple(finding or ()),
        "treatments": treatment or None,
        "generator": _maker(generator, adapter, prompt or ()),
        "train_limit": train_limit,
        "without": without,
        "seed": seed,
    }
    if plan_only:
        with permitting(allow_remote or ()), TerminalProgress() as progress:
            plan = treatment_plan(run, **common, progress=progress)
        typer.echo(harmless(str(plan)))
        return
    started = time.monotonic()
    try:
        with permitting(allow_remote or ()), TerminalProgress() as progress:
            made = run_treatment(run, **common, out=out, max_loss=max_loss, budget=budget, progress=progress)
    except KeyboardInterrupt:
        typer.echo(f"stopped; the same command resumes from {out}", err=True)
        raise
    taken = time.monotonic() - started
    if budget is not None and taken > seconds_of(budget):
        typer.echo(
            f"took {time_words(taken)}, longer than --budget {budget}: one candidate is tried and proven in any case, "
            f"and how long a generator takes is not known before",
            err=True,
        )
    if as_json:
        typer.echo(canonical_json(made.to_json()), nl=False)
    else:
        _show(made)


def _maker(generator: str | None, adapter: Path | None, prompts: Sequence[str]) -> ByName | None:
    """What makes images, where a generator is named.

    Raises:
        InputError: adapters or prompts without a generator, or a prompt without a place for the class.
    """
    if generator is None:
        if adapter is not None or prompts:
            raise InputError("--adapter and --prompt belong to a generator: name it with --generator REF")
        return None
    from snellen.core.method import build
    from snellen.methods.synthesis.by_name import ByName

    templates = {"templates": tuple(prompts)} if prompts else {}
    made = build("synthesis", {"method": "by_name", "generator": generator, "adapter": adapter, **templates})
    assert isinstance(made, ByName)
    return made


_COLOURS = {"mended": "green", "smaller": "green", "worse": "red", "unproven": "yellow"}


def _show(made: Treated) -> None:
    from rich.table import Table

    console = terminal()
    table = Table("became", "finding", "by", "change", "95 % interval", box=None, pad_edge=False)
    for one in made.findings:
        change = "" if one.difference is None else f"{one.difference:+.3f}"
        ends = "" if one.low is None or one.high is None else f"{one.low:+.3f} to {one.high:+.3f}"
        style = _COLOURS.get(one.outcome, "default")
        table.add_row(f"[{style}]{one.outcome}[/]", markup(one.title), markup(one.treatment), change, ends)
    show_table(console, table)
    for one in made.findings:
        if one.reason:
            console.print(f"[dim]{markup(one.key)}: {markup(one.reason)}[/]")
    console.print()
    for line in made.lines()[len(made.findings) :]:
        console.print(markup(line), soft_wrap=True)
    if made.folder is not None and made.reference is not None:
        console.print(
            f"\nWritten: {markup(str(made.folder))}; use it as {markup(shlex.quote(made.reference))}", soft_wrap=True
        )
        console.print(f"Before and after: {markup(str(made.folder / 'treated.html'))}", soft_wrap=True)
