"""Write every generated table into its page, between its markers.

    python scripts/write_tables.py [--check] [NAME ...]

NAME is a published system, or one of ``systems`` (the list in docs/systems), ``claims`` (docs/systems/claims.md),
``attributions``, ``label_errors``, ``optotypes``, ``embedded``, ``onnx``, ``peers``, ``schemas`` (docs/schemas, with
its JSON files), ``training_set``, ``treating``, ``forensics``, ``generated_sets``, ``metrics`` (docs/metrics.md),
``statistics`` and ``guided_generation``; without a name, all are written. Claims of a system come from
results/NAME.json, everything else from docs/measured. ``--check`` writes nothing, and fails with the name of each stale
block. Two blocks take long and have scripts of their own: write_audit_figures.py and simulate_audits.py.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from format_schemas import write_schemas
from reproduction_modules import find_modules

from snellen.core.system import System, list_systems
from snellen.reproduction.claims_table import claims_table
from snellen.reproduction.shared.documents import Tables, markdown_table

ROOT = Path(__file__).parents[1]

#: Tables that belong to no published system: name → module beside this one.
OTHERS = {
    "attributions": "attribution_tables",
    "label_errors": "label_error_tables",
    "optotypes": "optotype_tables",
    "embedded": "embedded_tables",
    "onnx": "onnx_tables",
    "peers": "peer_tables",
    "schemas": "format_schemas",
    "training_set": "training_set_tables",
    "treating": "treating_tables",
    "statistics": "ward_tables",
    "metrics": "figure_tables",
    "forensics": "forensics_tables",
    "claims": "claims_page",
    "generated_sets": "generated_set_tables",
}


def systems_table(known: Sequence[System]) -> str:
    """The table as Markdown, one row for each system.

    The fifth column is headed "planned command" as long as no system is built. Afterwards it is headed "command", and
    the commands that do not exist yet are marked.
    """
    any_built = any(system.methods for system in known)
    rows = [
        [
            str(system.number),
            f"[`{system.name}`]({system.name}.md)",
            system.title if system.title.startswith(system.acronym) else f"{system.title} ({system.acronym})",
            system.summary,
            f"`{system.command}`{' (planned)' if any_built and not (system.methods or system.acceptance) else ''}",
            system.state,
        ]
        for system in known
    ]
    head = ["", "name", "system", "what it does", "command" if any_built else "planned command", "state"]
    return markdown_table(head, rows, ["---:", "---", "---", "---", "---", "---"])


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


def list_tables(root: Path) -> dict[str, list[Tables]]:
    """All tables, by the name under which they are written."""
    tables: dict[str, list[Tables]] = {
        "systems": [{"docs/systems/README.md": {"systems": lambda root: systems_table(list_systems())}}]
    }
    for system in list_systems():
        page = f"docs/systems/{system.name}.md"
        if (root / page).is_file():
            tables[system.name] = [{page: {f"claims {system.name}": partial(_claims, system.name)}}]
    for name, module in {**find_modules("table"), **OTHERS}.items():
        tables.setdefault(name, []).append(importlib.import_module(module).TABLES)
    return tables


def _claims(name: str, root: Path) -> str:
    return claims_table(name, root / "results")


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> None:
    """Write the tables, or check them."""
    tables = list_tables(root)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a block is stale")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(tables))
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.names) - set(tables)):
        parser.error(f"there are no tables of {', '.join(unknown)}; there are: {', '.join(tables)}")
    stale = write_schemas(root, check=options.check) if "schemas" in (options.names or tables) else []
    for name in options.names or tables:
        for pages in tables[name]:
            for page, blocks in pages.items():
                stale += write_page(root, page, blocks, check=options.check)
    if options.check and stale:
        raise SystemExit(f"stale: {'; '.join(stale)}; run: python scripts/write_tables.py")


def write_page(root: Path, page: str, blocks: Mapping[str, Callable[[Path], str]], *, check: bool) -> list[str]:
    """Write the blocks of one page; returns those that are stale, as PAGE: NAME."""
    text = (root / page).read_text(encoding="utf-8")
    stale = []
    for name, content in blocks.items():
        fresh = with_block(text, name, content(root), page)
        if fresh != text:
            stale.append(f"{page}: {name}")
        text = fresh
    if stale and not check:
        (root / page).write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    main()
