"""Options for what a run may keep of the images, and for the time it may take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BudgetOption = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="About how long it may take: 90s, 5m, 2h. Fewer images are drawn, or checks left out; chosen once.",
        show_default="no limit",
    ),
]

SaveImagesOption = Annotated[
    bool, typer.Option("--images/--no-images", help="Keep pictures of images in the run directory and in the report.")
]

PseudonymsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Write pseudonyms instead of names of images, units, groups and bags. FILE holds the key and leads back "
        "to the names; it is made if it is not there, and must lie outside the folder that is written.",
        show_default="names",
    ),
]
