"""Options that every command that runs a model over images has, in the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ClassesOption = Annotated[Path | None, typer.Option(help="File with the class names, one a line.")]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda.")]
WorkersOption = Annotated[int, typer.Option(min=0, help="Threads that read images ahead; 0 reads them in between.")]
SeedOption = Annotated[int, typer.Option(help="Seed of everything random.")]
