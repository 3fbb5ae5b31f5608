"""``snellen attack``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.free_folder import free_folder
from snellen.cli.privacy_options import AllowRemoteOption, PseudonymsOption
from snellen.cli.progress import TerminalProgress, loading
from snellen.cli.run_options import ClassesOption, DeviceOption, SeedOption, WorkersOption
from snellen.cli.stopping import stopped_told
from snellen.cli.text import markup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from snellen.method import Method
    from snellen.writing.attack_figures import Figure
    from snellen.writing.attacked_set import AttackedSet, RejectedImage
    from snellen.writing.attacked_view_set import AttackedViewSet


def attack(
    methods: list[Method],
    model: Annotated[
        str,
        typer.Argument(
            help="Reference of the classifier: bundled:NAME, timm:NAME@FILE.safetensors, torchvision:NAME, onnx:FILE, "
            "hf:FOLDER, artifact:FOLDER, http://HOST:PORT/v2/models/NAME."
        ),
    ],
    data: Annotated[
        str,
        typer.Argument(
            help="Labelled images: a folder (class subfolders), a manifest (.csv, .parquet), a MedMNIST-style .npz, "
            "bundled:fashion-mnist. For attacks on the camera, views of objects: optotypes:solids, meshes:FOLDER."
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="Class that images of the others are to be taken for, by name or number.",
            show_default="any mistake",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="New folder; the same command goes on where it stopped.", show_default="snellen-attack-N"),
    ] = None,
    classes: ClassesOption = None,
    device: DeviceOption = "cpu",
    allow_remote: AllowRemoteOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in one pass, and what a stopped run loses.")] = 64,
    workers: WorkersOption = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Attack at most so many images, drawn at random.")] = None,
    seed: SeedOption = 0,
    save_images: Annotated[
        bool, typer.Option("--images/--no-images", help="Write the adversarial images, and a sheet of examples.")
    ] = True,
    pseudonyms: PseudonymsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print attack.json instead of the summary.")] = False,
) -> None:
    """Search for small changes of images that a classifier gets wrong: accuracy under attack, and the images."""
    folder = out or free_folder("snellen-attack")
    with loading("reading images and model") as spinner:
        from snellen.data.references import load_images
        from snellen.models.references import load_classifier
        from snellen.run import canonical_json
        from snellen.writing.attacked_images import attack as run_attack
        from snellen.writing.attacked_images import check_free
        from snellen.writing.attacked_view_set import AttackedViewSet
        from snellen.writing.settings import named_settings

        # What can be refused without model and images is refused before they are read.
        named_settings(methods, "attacks")
        check_free(folder)
        images = load_images(data, progress=spinner)
        classifier = load_classifier(model, classes, device=device)
    with stopped_told(folder, out), TerminalProgress() as progress:
        attacked = run_attack(
            classifier,
            images,
            methods,
            target=target,
            out=folder,
            batch_size=batch_size,
            workers=workers,
            limit=limit,
            seed=seed,
            save_images=save_images,
            pseudonyms=pseudonyms,
            progress=progress,
        )
    if as_json:
        typer.echo(canonical_json(attacked.to_json()), nl=False)
    elif isinstance(attacked, AttackedViewSet):
        _show_views(attacked, folder)
    else:
        _show(attacked, folder)


#: Rejected images that are named; all are in attack.json.
_NAMED = 5


def _show(attacked: AttackedSet, folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    target = attacked.plan["goal"]["target"]
    wanted = "" if target is None else f", to be taken for {markup(target)}"
    plan = attacked.plan
    console.print(f"[bold]{markup(plan['model']['name'])}[/] on {markup(plan['data']['name'])}{wanted}\n")
    table = Table("metric", "value", "95 % interval", "images", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    _add(table, "clean_accuracy", attacked.clean_accuracy)
    for name, figures in attacked.settings.items():
        for metric in ("robust_accuracy", "success_rate", "success_rate_8_bits", "median_distance"):
            _add(table, f"{name}.{metric}", getattr(figures, metric))
        for metric in ("queries_per_image", "gradients_per_image"):
            mean = getattr(figures, metric)
            table.add_row(markup(f"{name}.{metric}"), "–" if mean is None else f"{mean:.1f}", "", "")
    console.print(table)
    for name, figures in attacked.settings.items():
        console.print(f"\n{markup(name)}: {markup(figures.verdict)}")
        for doubt in figures.doubts:
            console.print(f"[yellow]doubt:[/] {markup(doubt)}")
    _name_rest(console, attacked.rejected, attacked.files, folder)


#: Objects that are listed, those that lose most first; all are in attack.json and on the page.
_LISTED = 12


def _show_views(attacked: AttackedViewSet, folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    target = attacked.plan["goal"]["target"]
    wanted = "" if target is None else f", to be taken for {markup(target)}"
    plan = attacked.plan
    console.print(f"[bold]{markup(plan['model']['name'])}[/] on objects of {markup(plan['data']['name'])}{wanted}\n")
    table = Table("metric", "value", "95 % interval", "views", box=None, pad_edge=False)
    _add(table, "natural_accuracy", attacked.natural_accuracy)
    _add(table, "random_accuracy", attacked.random_accuracy)
    for name, figures in attacked.settings.items():
        _add(table, f"{name}.accuracy_under_attack", figures.accuracy_under_attack)
        _add(table, f"{name}.success_rate", figures.success_rate)
    objects = Table("object", "class", "natural", "random", "under attack", "taken for", box=None, pad_edge=False)
    for column in (*table.columns[1:], *objects.columns[2:5]):
        column.justify = "right"
    console.print(table)
    for name, figures in attacked.settings.items():
        console.print(f"\n{markup(name)}: {markup(figures.verdict)}")
        ranked = sorted(figures.objects, key=lambda one: ((one.attacked or 0.0) - (one.natural or 0.0), one.object_id))
        for one in ranked[:_LISTED]:
            shares = ("–" if share is None else f"{share:.2f}" for share in (one.natural, one.random, one.attacked))
            objects.add_row(markup(one.object_id), markup(one.class_name), *shares, markup(one.taken_for or "–"))
    console.print(objects)
    _name_rest(console, attacked.rejected, attacked.files, folder)


def _name_rest(console: Console, rejected: Sequence[RejectedImage], files: Sequence[str], folder: Path) -> None:
    """What could not be used, and what was written."""
    from snellen.network.sent_log import SENT

    for one in rejected[:_NAMED]:
        console.print(f"[yellow]rejected:[/] {markup(one.id)}: {markup(one.reason)}")
    if len(rejected) > _NAMED:
        console.print(f"… {len(rejected)} rejected in all, see attack.json")
    sent = [SENT] if (folder / SENT).exists() else []
    for file in (*files, *sent, "attack.json"):
        console.print(f"Written: {markup(str(folder / file))}", soft_wrap=True)


def _add(table: Table, name: str, figure: Figure) -> None:
    """A row for a figure; an end that is not bounded is a dash."""
    value, low, high = ("–" if end is None else f"{end:.4f}" for end in (figure.value, figure.low, figure.high))
    table.add_row(markup(name), value, f"{low} – {high}" if figure.n else "", str(figure.n))
