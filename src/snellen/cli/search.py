"""``snellen search``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from snellen.cli.audit_summary import show_report
from snellen.cli.engine_options import (
    DryRunOption,
    EngineName,
    EngineOption,
    ProcessesOption,
    ThreadsOption,
    ended_like_ctrl_c,
)
from snellen.cli.filled_folder import carry_out, free_folder, show_how_to_resume
from snellen.cli.progress import TerminalProgress, loading
from snellen.cli.run_options import AllowRejectedOption, JsonOption, SeedOption
from snellen.core import index
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.auditing.report import AuditReport
    from snellen.core.images import ImageSet

#: Folders of a search: the classifier, and the audit of it.
CLASSIFIER, AUDIT = "classifier", "audit"

SEARCH, CACHE, CELLS = "The search", "The cache", "Networks and their training"

search = typer.Typer(
    help="Search a network for your images, and train equal candidates once.",
    no_args_is_help=True,
    subcommand_metavar="SPACE ...",
)


@search.callback()
def spaces() -> None:
    """Search a network for your images, and train equal candidates once."""


@search.command()
def cells(
    data: Annotated[
        str,
        typer.Argument(help="Labelled images, by reference: a folder of class folders, a manifest, bundled:NAME."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="New folder; the same command resumes where it stopped.", show_default="snellen-search-N"),
    ] = None,
    val: Annotated[
        str | None,
        typer.Option(
            help="Images that choose between candidates.", show_default="the split val, or a fifth of each class"
        ),
    ] = None,
    audit: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Labelled images that neither train nor choose: audit the classifier on them, into the folder audit "
            "of --out. Images that are also in DATA or --val are reported.",
            show_default="no audit; its command is printed",
        ),
    ] = None,
    candidates: Annotated[int, typer.Option(min=1, help="Candidates that are proposed.")] = 400,
    side: Annotated[int, typer.Option(min=8, help="Height and width of the networks' images, pixels.")] = 32,
    final_epochs: Annotated[int, typer.Option(min=1, help="Epochs of the last training, of the best cell.")] = 20,
    strategy: Annotated[
        Literal["evolution", "elitism", "random"],
        typer.Option(
            help="A child of the best of a tournament replaces the oldest member, or the worst; or no evolution.",
            rich_help_panel=SEARCH,
        ),
    ] = "evolution",
    population: Annotated[int, typer.Option(min=1, help="Members of the population.", rich_help_panel=SEARCH)] = 100,
    tournament: Annotated[
        int, typer.Option(min=1, help="Members of a tournament; the best has a child.", rich_help_panel=SEARCH)
    ] = 10,
    keys: Annotated[
        Literal["functional", "structural", "none"],
        typer.Option(
            help="What makes two candidates equal; none trains every one. Of cells, functional and structural find the "
            "same, and structural needs no probe.",
            rich_help_panel=CACHE,
        ),
    ] = "functional",
    max_num_evals: Annotated[
        int, typer.Option(min=1, help="Trainings that are averaged for equal candidates.", rich_help_panel=CACHE)
    ] = 1,
    remove_probability: Annotated[
        float,
        typer.Option(min=0, max=1, help="Probability of forgetting a candidate after a hit.", rich_help_panel=CACHE),
    ] = 0.0,
    capacity: Annotated[
        int | None,
        typer.Option(min=1, help="Keys that the cache holds.", show_default="no limit", rich_help_panel=CACHE),
    ] = None,
    mantissa_bits: Annotated[
        int, typer.Option(min=1, max=52, help="Bits of each output that are hashed.", rich_help_panel=CACHE)
    ] = 24,
    channels: Annotated[int, typer.Option(help="Channels of the first stack, at least 4.", rich_help_panel=CELLS)] = 8,
    stacks: Annotated[
        int, typer.Option(min=1, help="Stacks; each has twice the channels, half the side.", rich_help_panel=CELLS)
    ] = 2,
    cells_per_stack: Annotated[int, typer.Option(min=1, help="Cells of a stack.", rich_help_panel=CELLS)] = 1,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs that score a candidate.", rich_help_panel=CELLS)] = 2,
    batch_size: Annotated[int, typer.Option(min=2, help="Images of an update.", rich_help_panel=CELLS)] = 64,
    learning_rate: Annotated[float, typer.Option(help="Peak, of AdamW.", rich_help_panel=CELLS)] = 1e-2,
    probe_steps: Annotated[int, typer.Option(min=1, help="Updates of the probe.", rich_help_panel=CACHE)] = 2,
    probe_images: Annotated[
        int, typer.Option(min=1, help="Images that the probe trains on, and as many more.", rich_help_panel=CACHE)
    ] = 32,
    engine: EngineOption = EngineName.in_process,
    processes: ProcessesOption = None,
    threads: ThreadsOption = None,
    allow_rejected: AllowRejectedOption = False,
    seed: SeedOption = 0,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search the cell of a small convolutional network (unified functional hashing, Gillard et al. 2023).

    Cells that differ by the order of their vertices and by unused parts alone are trained once.
    """
    folder = out or free_folder("snellen-search")
    with loading("loading the search"):
        verb, settings = (index.form("search", name).load() for name in ("cells", "settings"))
        built = settings(
            channels=channels, stacks=stacks, cells=cells_per_stack, epochs=epochs, batch_size=batch_size,
            learning_rate=learning_rate, probe_steps=probe_steps, probe_images=probe_images,
        )  # fmt: skip
        unseen = None if audit is None else _unseen(audit, data, val)
    carry_out(
        verb,
        data,
        folder=folder,
        given=out,
        as_json=as_json,
        dry_run=dry_run,
        val=val,
        candidates=candidates,
        strategy=strategy,
        population=population,
        tournament=tournament,
        keys=keys,
        max_num_evals=max_num_evals,
        remove_probability=remove_probability,
        capacity=capacity,
        mantissa_bits=mantissa_bits,
        side=side,
        cells=built,
        final_epochs=final_epochs,
        seed=seed,
        engine=engine.value,
        processes=processes,
        threads=threads,
        allow_rejected=allow_rejected,
    )
    if audit is not None and unseen is not None and not dry_run:
        report = _audit(
            folder,
            out,
            unseen,
            seed=seed,
            engine=engine.value,
            processes=processes,
            threads=threads,
            allow_rejected=allow_rejected,
        )
        if as_json:
            typer.echo(f"Audit: {folder / AUDIT}", err=True)
        else:
            show_report(report, folder / AUDIT, "standard", data=audit)


class _Unseen(NamedTuple):
    """Images of an audit, and those that trained or chose the classifier; they show what leaked."""

    images: ImageSet
    train: ImageSet
    val: ImageSet | None


def _unseen(audit: str, data: str, val: str | None) -> _Unseen:
    """Read images of an audit before the search, so that none of the search is lost to images that do not fit.

    Raises:
        InputError: they cannot be read, have no labels of one class each, or have classes that the data lacks.
    """
    from snellen.data.files.labels import align_labels
    from snellen.data.references import load_images

    images, searched = load_images(audit), load_images(data)
    if not images.has_labels or not (images.labels >= 0).any():
        raise InputError(
            f"--audit {audit}: an audit needs images with one label each, and these have none; give a folder of class "
            f"folders or a manifest"
        )
    if searched.class_names:  # data without labels are refused by the search
        align_labels(images, searched.class_names)
    splits = set(searched.column("split"))
    chosen = load_images(val) if val is not None else searched.of_split("val") if "val" in splits else None
    return _Unseen(images, searched.of_split("train") if "train" in splits else searched, chosen)


def _audit(folder: Path, given: Path | None, unseen: _Unseen, **options: Any) -> AuditReport:  # noqa: ANN401
    """Audit the classifier of a finished search."""
    from snellen.auditing.audit import audit
    from snellen.models.classifiers.references import load_classifier

    with ended_like_ctrl_c(), show_how_to_resume(folder, given), TerminalProgress() as progress:
        return audit(
            load_classifier(f"artifact:{folder / CLASSIFIER}"),
            unseen.images,
            train=unseen.train,
            val=unseen.val,
            out=folder / AUDIT,
            progress=progress,
            **options,
        )
