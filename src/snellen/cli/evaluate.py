"""``snellen evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from snellen.cli.engine_options import ended_like_ctrl_c
from snellen.cli.filled_folder import show_how_to_resume
from snellen.cli.privacy_options import AllowRemoteOption
from snellen.cli.progress import TerminalProgress, loading
from snellen.cli.run_options import AllowRejectedOption, ClassesOption, DeviceOption, read_images
from snellen.cli.text import harmless
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.cli.run_options import ModelOptions, ReadingOptions


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
            help="Attack with its parameters, repeatable: --attack fgsm --attack pgd:epsilon=0.03,steps=50.",
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
    allow_rejected: AllowRejectedOption = False,
    device: DeviceOption = "cpu",
    built: ModelOptions,
    allow_remote: AllowRemoteOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many images, drawn at random.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in one pass.")] = 64,
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

        methods = [attack_of(text) for text in attack]
        images = read_images(data, reading, spinner)
        classifiers = [load_classifier(model, classes, device=device, **built) for model in models]
    folder = out or Path("snellen-evaluation")
    with ended_like_ctrl_c(), show_how_to_resume(folder, out), TerminalProgress() as progress:
        found = run_evaluation(
            classifiers,
            methods,
            images,
            seeds=tuple(seed or (0,)),
            out=out,
            limit=limit,
            batch_size=batch_size,
            progress=progress,
            allow_rejected=allow_rejected,
        )
    if as_json:
        typer.echo(canonical_json(found.to_json()), nl=False)
        return
    shown = str(found) if format == "text" else found.to_latex() if format == "latex" else found.to_csv()
    typer.echo(harmless(shown.rstrip("\n")))


def attack_of(text: str) -> dict[str, str]:
    """An attack from its text on the command line, as a record.

    >>> attack_of("pgd:epsilon=0.03,steps=50")
    {'method': 'pgd', 'epsilon': '0.03', 'steps': '50'}

    Raises:
        InputError: something else than NAME or NAME:FIELD=VALUE,...
    """
    name, _, rest = text.partition(":")
    record = {"method": name}
    for part in rest.split(",") if rest else ():
        field, equals, value = part.partition("=")
        if not (field and equals and value) or field in record:
            raise InputError(f"--attack {text!r}: expected NAME:FIELD=VALUE,FIELD=VALUE, such as pgd:epsilon=0.03")
        record[field] = value
    return record
