"""``snellen generate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from snellen.cli.engine_options import DryRunOption
from snellen.cli.filled_folder import carry_out, free_folder
from snellen.cli.privacy_options import AllowRemoteOption, PseudonymsOption
from snellen.cli.progress import loading
from snellen.cli.run_options import RUN_PANEL, ColumnOption, JsonOption, SeedOption, read_columns
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.core.method import Method
    from snellen.runs.runner import Running


def generate(
    methods: list[Method],
    requests: Annotated[
        str,
        typer.Argument(
            help="What to generate from. Images by reference: a folder, a manifest, bundled:fashion-mnist, "
            "optotypes:scenes. Prompts: a FILE.txt with one a line, a FILE.json with a list of objects. Images of each "
            "class: 'classes:star,heart?count=50', or 'classes:?count=50' for all classes. Images without a condition: "
            "draws:100."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="New folder; the same command resumes where it stopped.", show_default="snellen-generate-N"),
    ] = None,
    column: ColumnOption = None,
    allow_remote: AllowRemoteOption = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Requests at once, and what a stopped run loses.", rich_help_panel=RUN_PANEL)
    ] = 32,
    seed: SeedOption = 0,
    sheet: Annotated[
        bool, typer.Option("--sheet/--no-sheet", help="Also draw examples with captions, and a grid of classes.")
    ] = True,
    balance: Annotated[
        Literal["group"] | None,
        typer.Option(
            help="group: a set for an audit with equally many images of each group. The class of a request is the "
            "group of its image, and --truth labels it."
        ),
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="With --balance, a classifier that took no part: its decisions are labels."),
    ] = None,
    pseudonyms: PseudonymsOption = None,
    *,
    running: Running,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Generate images or captions, with a record of where each came from."""
    if len(methods) > 1:
        raise InputError("generate with one setting at a time: give each option of the method once")
    folder = out or free_folder("snellen-generate")
    with loading("reading requests"):
        from snellen.runs.unfinished import check_free
        from snellen.verbs.generate import generate as write_generated
        from snellen.verbs.generated_set import RECORD, WHAT
        from snellen.verbs.requests import load_requests

        # What can be refused without the requests is refused before they are read.
        lacking = methods[0].missing()
        if lacking is not None:
            raise InputError(f"{methods[0].name} {lacking}")
        check_free(folder, RECORD, WHAT)
        wanted = load_requests(requests, getattr(methods[0], "known_classes", tuple)(), read_columns(column))
    carry_out(
        write_generated,
        methods[0],
        wanted,
        folder=folder,
        given=out,
        as_json=as_json,
        dry_run=dry_run,
        batch_size=batch_size,
        seed=seed,
        sheet=sheet,
        balance=balance,
        truth=truth,
        pseudonyms=pseudonyms,
        **running,
    )
