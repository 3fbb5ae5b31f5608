"""Write the table of published systems into README.md, between its generated markers.

    python scripts/write_systems_table.py [--check]

``--check`` writes nothing and fails when the table is stale. A system without a method is not built: its command is a
planned one, and the table says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from snellen.core.system import System, list_systems

README = Path(__file__).parents[1] / "README.md"


def systems_table(known: Sequence[System]) -> str:
    """The table as Markdown, one row for each system.

    The fourth column is headed "planned command" as long as no system is built. Afterwards it is headed "command", and
    the commands that do not exist yet are marked.
    """
    any_built = any(system.methods for system in known)
    head = ("", "system", "what it does", "command" if any_built else "planned command", "state")
    rows = [head, ("---:", "---", "---", "---", "---")]
    for system in known:
        mark = " (planned)" if any_built and not system.methods else ""
        rows.append(
            (
                str(system.number),
                system.title if system.title.startswith(system.acronym) else f"{system.title} ({system.acronym})",
                system.summary,
                f"`{system.command}`{mark}",
                system.state,
            )
        )
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def with_block(text: str, name: str, content: str, document: str = "README.md") -> str:
    """The document with this content between the markers of this name.

    Raises:
        SystemExit: the markers do not stand there once each, in order.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended or begin in rest or end in after:
        raise SystemExit(f"{document} must hold {begin} and, after it, {end}, once each")
    return f"{before}{begin}\n{content}\n{end}{after}"


def main(arguments: Sequence[str] | None = None, readme: Path = README) -> None:
    """Write the table, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the table is stale")
    options = parser.parse_args(arguments)
    text = readme.read_text(encoding="utf-8")
    fresh = with_block(text, "systems", systems_table(list_systems()))
    if not options.check:
        readme.write_text(fresh, encoding="utf-8")
    elif fresh != text:
        raise SystemExit("the table of systems in README.md is stale; run: python scripts/write_systems_table.py")


if __name__ == "__main__":
    main()
