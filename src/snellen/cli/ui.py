"""``snellen ui``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.text import harmless
from snellen.core.process_start import end_start

if TYPE_CHECKING:
    from snellen.desk.serving import Served


def ui(
    folder: Annotated[Path, typer.Argument(help="Folder that holds your runs, or a run.")] = Path(),
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of this machine.", show_default="one that is free")
    ] = 0,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of decisions and small pictures.",
            show_default="snellen-desk in the folder of the runs",
        ),
    ] = None,
    open_link: Annotated[bool, typer.Option("--open", help="Open the link in the browser.")] = False,
) -> None:
    """See runs in the browser: review images, compare, treat. Only this machine can reach it."""
    from snellen.desk.serving import serve

    end_start()

    def shown(served: Served) -> None:
        typer.echo(harmless(f"The desk for {served.desk.workplace.folder}: open this link, on this machine"))
        typer.echo(f"\n  {served.link}\n")
        typer.echo(harmless(f"Decisions: {served.desk.decisions.file}"))
        typer.echo(harmless(f"Small pictures, which may be deleted: {served.desk.pictures.folder}"))
        typer.echo("Ctrl-C ends the desk and its jobs.")
        if open_link:
            import webbrowser

            webbrowser.open(served.link)

    serve(folder, shown, store, port)
