"""Options for what a run may keep of the images, whom it may reach, and for the time it may take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snellen.cli.run_options import PRIVACY_PANEL, RUN_PANEL


def _permit(context: typer.Context, hosts: list[str] | None) -> list[str] | None:
    """Allow the hosts in all that the command does: methods and checks load models of their own, too."""
    if hosts and not context.resilient_parsing:
        from snellen.models.remote.permission import permitting

        context.with_resource(permitting(hosts))
    return hosts


AllowRemoteOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="HOST",
        help="Another machine that may be reached, by its exact name; repeatable. Images go to classifiers on servers, "
        "prompts and pictures to language models; weights come from huggingface.co (timm) and download.pytorch.org "
        "(torchvision). Without it nothing leaves this machine, and nothing is fetched.",
        callback=_permit,
        rich_help_panel=PRIVACY_PANEL,
        show_default="none",
    ),
]

BudgetOption = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="About how long it may take: 90s, 5m, 2h. Fewer images are drawn, or checks left out; chosen once.",
        show_default="no limit",
        rich_help_panel=RUN_PANEL,
    ),
]

SaveImagesOption = Annotated[
    bool,
    typer.Option(
        "--images/--no-images",
        help="Keep pictures of images in the run directory and in the report.",
        rich_help_panel=PRIVACY_PANEL,
    ),
]

PseudonymsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Write pseudonyms instead of names of images, units, groups and bags. FILE holds the key and leads back "
        "to the names. It is made if it is not there, and must lie outside the folder that is written.",
        show_default="names",
        rich_help_panel=PRIVACY_PANEL,
    ),
]
