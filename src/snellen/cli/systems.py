"""``snellen systems``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from snellen.cli.shown_table import show_table
from snellen.cli.text import markup, terminal


def systems(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the 39 published systems: source, command, state."""
    from snellen.core.system import list_systems as all_systems

    known = all_systems()
    if as_json:
        rows = [{**s.model_dump(mode="json", exclude={"claims", "acceptance"}), "state": s.state} for s in known]
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    from rich.table import Table

    table = Table("", "name", "system", "what it does", "state", box=None, pad_edge=False)
    for system in known:
        table.add_row(
            str(system.number), system.name, markup(system.acronym), markup(system.summary), markup(system.state)
        )
    show_table(terminal(), table)
