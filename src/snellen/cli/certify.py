"""``snellen certify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.free_folder import free_folder
from snellen.cli.privacy_options import AllowRemoteOption, PseudonymsOption
from snellen.cli.progress import TerminalProgress, loading
from snellen.cli.run_options import ClassesOption, DeviceOption, SeedOption, WorkersOption
from snellen.cli.stopping import stopped_told
from snellen.cli.text import markup, terminal

if TYPE_CHECKING:
    from snellen.core.method import Method
    from snellen.runs.record import Figure
    from snellen.verbs.certified_set import CertifiedSet


def certify(
    methods: list[Method],
    model: Annotated[
        str,
        typer.Argument(
            help="Reference of the classifier: artifact:FOLDER of a training for smoothing, or bundled:NAME, "
            "timm:NAME@FILE.safetensors, torchvision:NAME, hf:FOLDER."
        ),
    ],
    data: Annotated[
        str,
        typer.Argument(
            help="Images, with or without labels: a folder, a manifest (.csv, .parquet), a MedMNIST-style .npz, "
            "bundled:fashion-mnist."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="New folder; the same command goes on where it stopped.", show_default="snellen-certify-N"),
    ] = None,
    classes: ClassesOption = None,
    device: DeviceOption = "cpu",
    allow_remote: AllowRemoteOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in one shard: what a stopped run loses.")] = 8,
    workers: WorkersOption = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Certify at most so many images, drawn at random.")] = None,
    seed: SeedOption = 0,
    pseudonyms: PseudonymsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print certify.json instead of the summary.")] = False,
) -> None:
    """Prove that no small change of an image can change its decision: certified accuracy over radii."""
    folder = out or free_folder("snellen-certify")
    with loading("reading images and model") as spinner:
        from snellen.core.run import canonical_json
        from snellen.data.references import load_images
        from snellen.models.classifiers.references import load_classifier
        from snellen.runs.settings import named_settings
        from snellen.runs.unfinished import check_free
        from snellen.verbs.certified_set import RECORD, WHAT
        from snellen.verbs.certify import certify as run_certify
        from snellen.verbs.certify import largest_radii

        # What can be refused without model and images is refused before they are read.
        settings = named_settings(methods, "certificates")
        check_free(folder, RECORD, WHAT)
        images = load_images(data, progress=spinner)
        classifier = load_classifier(model, classes, device=device)
    with stopped_told(folder, out):
        if not as_json and all(setting.method.missing(classifier, images) is None for setting in settings):
            for name, radius in largest_radii(classifier, settings).items():
                typer.echo(f"{name}: with so many samples, no radius can exceed {radius:.4f}")
        with TerminalProgress() as progress:
            certified = run_certify(
                classifier,
                images,
                methods,
                out=folder,
                batch_size=batch_size,
                workers=workers,
                limit=limit,
                seed=seed,
                pseudonyms=pseudonyms,
                progress=progress,
            )
    if as_json:
        typer.echo(canonical_json(certified.to_json()), nl=False)
    else:
        _show(certified, folder)


#: Rejected images that are named; all are in certify.json.
_NAMED = 5


def _show(certified: CertifiedSet, folder: Path) -> None:
    from rich.table import Table

    console = terminal()
    plan = certified.plan
    console.print(f"[bold]{markup(plan['model']['name'])}[/] on {markup(plan['data']['name'])}\n")
    table = Table("metric", "value", "95 % interval", "images", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, figures in certified.settings.items():
        # What is not proven is not called certified.
        word = "certified" if figures.guarantee else "claimed"
        rows: dict[str, Figure] = {f"{word}": figures.certified}
        if figures.certified_accuracy.n:
            rows |= {f"{word}_accuracy": figures.certified_accuracy, "average_radius": figures.average_radius}
            rows |= {f"{word}_accuracy at {point.radius:.3g}": point.share for point in figures.curve}
        for metric, figure in rows.items():
            value, low, high = ("–" if end is None else f"{end:.4f}" for end in (figure.value, figure.low, figure.high))
            table.add_row(markup(f"{name}.{metric}"), value, f"{low} – {high}", str(figure.n))
        table.add_row(markup(f"{name}.samples_per_image"), f"{figures.samples_per_image:.0f}", "", "")
    console.print(table)
    for name, figures in certified.settings.items():
        colour = "" if figures.guarantee else "[bold red]"
        console.print(f"\n{colour}{markup(name)}: {markup(figures.verdict)}{'[/]' if colour else ''}")
        for assumption in figures.assumptions:
            console.print(f"- {markup(assumption)}")
        if figures.votes_lost:
            console.print(f"[yellow]{figures.votes_lost} noisy images had scores that are not finite and no vote[/]")
    for rejected in certified.rejected[:_NAMED]:
        console.print(f"[yellow]rejected:[/] {markup(rejected.id)}: {markup(rejected.reason)}")
    if len(certified.rejected) > _NAMED:
        console.print(f"… {len(certified.rejected)} rejected in all, see certify.json")
    for file in (*certified.files, "certify.json"):
        console.print(f"Written: {markup(str(folder / file))}", soft_wrap=True)
