"""``snellen init``."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.privacy_options import AllowRemoteOption
from snellen.cli.progress import loading
from snellen.cli.run_options import ClassesOption, DeviceOption, read_images
from snellen.cli.text import markup, terminal
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.auditing.probe import Probe
    from snellen.cli.run_options import ModelOptions, ReadingOptions


def init(
    model: Annotated[str, typer.Argument(help="Reference of the classifier, as snellen audit takes it.")],
    data: Annotated[str, typer.Argument(help="Images, as snellen audit takes them.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File that is written.")] = Path("audit.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file where it exists.")] = False,
    classes: ClassesOption = None,
    *,
    reading: ReadingOptions,
    device: DeviceOption = "cpu",
    built: ModelOptions,
    allow_remote: AllowRemoteOption = None,
) -> None:
    """Inspect a model and images, list which checks can run, and write audit.toml."""
    if out.suffix.lower() != ".toml":
        raise InputError(f"--out {out}: the file of an audit ends in .toml, such as {out.with_suffix('.toml')}")
    if out.exists() and not force:
        raise InputError(f"{out} exists; name another file with --out, or replace it with --force")
    with loading("reading images and model") as spinner:
        from snellen.auditing.job import parse_job
        from snellen.auditing.probe import job_text, probe
        from snellen.core.run import write_atomically
        from snellen.core.unwritable import explained_unwritable
        from snellen.models.classifiers.references import load_classifier

        images = read_images(data, reading, spinner)
        classifier = load_classifier(model, classes, device=device, **built)
        found = probe(classifier, images)

    scale = built.get("normalization")
    stated = {
        "model_args": built.get("model_args"),
        "size": built.get("size"),
        "mean": None if scale is None else scale.mean,
        "std": None if scale is None else scale.std,
    }

    def here(reference: Path | str | None) -> str | None:
        return None if reference is None else _from(str(reference), out.parent)

    text = job_text(
        found,
        model=_from(model, out.parent),
        data=_from(data, out.parent),
        classes=here(classes),
        columns=reading["columns"],
        masks=here(reading["masks"]),
        table=here(reading["table"]),
        built={key: value for key, value in stated.items() if value is not None},
    )
    parse_job(text, out)  # nothing is written that snellen audit would refuse
    with explained_unwritable(out):
        write_atomically(out, text.encode())
    _show(found, out)


def _from(reference: str, folder: Path) -> str:
    """A reference as it is written in a file of a folder: paths relative to it."""
    from snellen.auditing.job import moved

    if folder == Path():
        return reference
    return moved(reference, lambda path: path if os.path.isabs(path) else os.path.relpath(path, folder))


def _show(found: Probe, out: Path) -> None:
    console = terminal()
    for title, lines in (("Model", found.model), ("Images", found.data)):
        console.print(f"[bold]{title}[/]")
        for line in lines:
            console.print(f"  {markup(line)}")
    for meant, text in found.known.items():
        console.print(f"  {meant}: {markup(text)}")
    if found.further:
        console.print(f"  columns without a meaning: {markup(', '.join(found.further))}")
    runs = [name for name, why in found.skipped.items() if why is None]
    console.print(f"[bold]Checks[/]\n  can run: {', '.join(runs)}")
    for name, why in found.skipped.items():
        if why is not None:
            console.print(f"  [dim]skipped:[/] {name}: {markup(why)}", no_wrap=True, overflow="ellipsis")
    for warning in found.warnings:
        console.print(f"[yellow]warning:[/] {markup(warning)}")
    console.print(
        f"\nWritten: {markup(str(out))}; run it: snellen audit {markup(shlex.quote(str(out)))}", soft_wrap=True
    )
