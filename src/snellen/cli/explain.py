"""``snellen explain``."""

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
    from snellen.verbs.explained_set import ExplainedSet


def explain(
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
            help="Images, with or without labels: a folder, an image, a manifest (.csv, .parquet), a MedMNIST-style "
            ".npz, bundled:fashion-mnist."
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="Class whose score is explained, by name or number.",
            show_default="what each image is taken for",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="New folder; the same command goes on where it stopped.", show_default="snellen-explain-N"),
    ] = None,
    classes: ClassesOption = None,
    device: DeviceOption = "cpu",
    allow_remote: AllowRemoteOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in one shard: what a stopped run loses.")] = 8,
    workers: WorkersOption = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Explain at most so many images, drawn at random.")] = None,
    seed: SeedOption = 0,
    save_images: Annotated[
        bool, typer.Option("--images/--no-images", help="Write pictures: sheets, masks, and those in the page.")
    ] = True,
    pseudonyms: PseudonymsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print explain.json instead of the summary.")] = False,
) -> None:
    """Say why a classifier decides as it does: regions, concepts, units, each beside a random part of equal size."""
    folder = out or free_folder("snellen-explain")
    with loading("reading images and model") as spinner:
        from snellen.core.run import canonical_json
        from snellen.data.references import load_images
        from snellen.models.classifiers.references import load_classifier
        from snellen.runs.settings import named_settings
        from snellen.runs.unfinished import check_free
        from snellen.verbs.explain import explain as run_explain
        from snellen.verbs.explained_set import RECORD, WHAT

        # What can be refused without model and images is refused before they are read.
        named_settings(methods, "explanations")
        check_free(folder, RECORD, WHAT)
        images = load_images(data, progress=spinner)
        classifier = load_classifier(model, classes, device=device)
    with stopped_told(folder, out), TerminalProgress() as progress:
        explained = run_explain(
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
        typer.echo(canonical_json(explained.to_json()), nl=False)
    else:
        _show(explained, folder)


#: Rejected images that are named, and sentences that are shown; all are in the files.
_NAMED, _SENTENCES = 5, 5


def _show(explained: ExplainedSet, folder: Path) -> None:
    from rich.table import Table

    from snellen.models.remote.sent_log import SENT

    console = terminal()
    plan = explained.plan
    console.print(f"[bold]{markup(plan['model']['name'])}[/] on {markup(plan['data']['name'])}\n")
    table = Table("figure", "found", "random part", "difference", "95 % interval of it", "n", box=None, pad_edge=False)
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.justify = "right"
    for name, figures in explained.settings.items():
        for metric, figure in figures.figures.items():
            ends = () if figure.difference is None else (figure.difference.low, figure.difference.high)
            table.add_row(
                markup(f"{name}.{metric}"),
                *(_number(one) for one in (figure.found, figure.control, figure.difference)),
                " – ".join("–" if end is None else f"{end:.4f}" for end in ends),
                str(figure.found.n),
            )
    if table.row_count:
        console.print(table)
    for name, figures in explained.settings.items():
        console.print(f"\n{markup(name)}: {markup(figures.verdict)}")
        for reason, count in figures.reasons.items():
            console.print(f"[yellow]{count} without an explanation:[/] {markup(reason)}")
    rows = explained.evidence.table.select(["example_id", "text"]).to_pylist() if explained.evidence else []
    told = [row for row in rows if row["text"]]
    for row in told[:_SENTENCES]:
        console.print(f"- {markup(row['example_id'])}: {markup(row['text'])}")
    for rejected in explained.rejected[:_NAMED]:
        console.print(f"[yellow]rejected:[/] {markup(rejected.id)}: {markup(rejected.reason)}")
    if len(explained.rejected) > _NAMED:
        console.print(f"… {len(explained.rejected)} rejected in all, see explain.json")
    sent = [SENT] if (folder / SENT).exists() else []
    for file in (*explained.files, *sent, "explain.json"):
        console.print(f"Written: {markup(str(folder / file))}", soft_wrap=True)


def _number(figure: Figure | None) -> str:
    """A mean, or a dash where there is none."""
    return "–" if figure is None or figure.value is None else f"{figure.value:.4f}"
