"""``snellen evaluate``."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from snellen.cli.engine_options import DryRunOption, ended_like_ctrl_c
from snellen.cli.filled_folder import show_how_to_resume, show_plan
from snellen.cli.on_images import placed_method
from snellen.cli.privacy_options import AllowRemoteOption
from snellen.cli.progress import TerminalProgress, loading
from snellen.cli.run_options import RUN_PANEL, ClassesOption, DeviceOption, WorkersOption, read_images
from snellen.cli.text import harmless
from snellen.core import index
from snellen.core.errors import InputError, unknown_name

if TYPE_CHECKING:
    from snellen.cli.run_options import ModelOptions, ReadingOptions
    from snellen.core.method import Method
    from snellen.runs.runner import Running


def evaluate(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="References of classifiers, as of snellen attack.")
    ],
    data: Annotated[str, typer.Option(help="Labelled images: a folder, a manifest, bundled:fashion-mnist.")],
    attack: Annotated[
        list[str],
        typer.Option(
            "--attack",
            metavar="NAME[:FIELD=VALUE,...]",
            help="Attack with its parameters, repeatable: --attack fgsm --attack pgd:epsilon=8/255,steps=50.",
        ),
    ],
    seed: Annotated[
        list[int] | None, typer.Option("--seed", help="Seed of everything random, repeatable.", show_default="0")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for tables and evidence; the same command resumes where it stopped.",
            show_default="nothing is kept",
        ),
    ] = None,
    classes: ClassesOption = None,
    *,
    reading: ReadingOptions,
    placement: Running,
    device: DeviceOption = "cpu",
    built: ModelOptions,
    allow_remote: AllowRemoteOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many images, drawn at random.")] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images in one pass, and what a stopped run loses.", rich_help_panel=RUN_PANEL)
    ] = 64,
    workers: WorkersOption = 0,
    dry_run: DryRunOption = False,
    format: Annotated[Literal["text", "latex", "csv"], typer.Option("--format", help="What is printed.")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="Print the tables as JSON.")] = False,
) -> None:
    """Compare models under attacks: robust accuracies on the same images, and differences with tests.

    Options about models and classes hold for all models.
    """
    if as_json and format != "text":
        raise InputError(f"--json and --format {format} both say what is printed; give one of them")
    with loading("reading images and models") as spinner:
        from snellen.core.run import canonical_json
        from snellen.models.classifiers.references import load_classifier
        from snellen.verbs.evaluate import evaluate as run_evaluation

        methods = [placed_method(method, device) for text in attack for method in attacks_of(text)]
        images = read_images(data, reading, spinner)
        classifiers = [load_classifier(model, classes, device=device, **built) for model in models]
    call: dict[str, Any] = {
        "seeds": tuple(seed or (0,)),
        "out": out,
        "limit": limit,
        "batch_size": batch_size,
        "workers": workers,
        **placement,
    }
    if dry_run:
        show_plan(run_evaluation, classifiers, methods, images, as_json=as_json, **call)
        return
    # Without a folder nothing is kept that could be resumed.
    stopping = nullcontext() if out is None else show_how_to_resume(out, out)
    with ended_like_ctrl_c(), stopping, TerminalProgress() as progress:
        found = run_evaluation(classifiers, methods, images, progress=progress, **call)
    if as_json:
        typer.echo(canonical_json(found.to_json()), nl=False)
        return
    shown = str(found) if format == "text" else found.to_latex() if format == "latex" else found.to_csv()
    typer.echo(harmless(shown.rstrip("\n")))


def attacks_of(text: str) -> list[Method]:
    """The attacks that a text names, its values written as those of ``snellen attack``.

    >>> (attack,) = attacks_of("pgd:epsilon=8/255,steps=50")
    >>> attack.record()["steps"], round(attack.record()["epsilon"], 4)
    (50, 0.0314)

    Raises:
        InputError: something else than NAME or NAME:FIELD=VALUE,..., or what the attack refuses.
    """
    from snellen.cli.method_options import field_options, methods_of

    name, _, rest = text.partition(":")
    entry = index.entry("attacks", name)
    # A flag of the command line is a value here, true or false.
    options = [
        replace(one, flag=f"{entry.name}:{one.field}", form="one" if one.form == "flag" else one.form)
        for one in field_options(entry.load())
    ]
    fields = [one.field for one in options]
    given: dict[str, list[str]] = {}
    for part in re.split(r",(?=[^,=]*=)", rest) if rest else ():
        spelled, equals, value = part.partition("=")
        field = spelled.replace("-", "_")
        if not (field and equals and value) or value.endswith(",") or field in given:
            raise InputError(f"--attack {text!r}: expected NAME:FIELD=VALUE,FIELD=VALUE, such as pgd:epsilon=8/255")
        if field not in fields:
            raise unknown_name(f"parameter of {entry.name}", field, fields)
        given[field] = [value]
    return methods_of(entry, options, given)
