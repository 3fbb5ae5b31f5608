"""Write what ``snellen audit`` prints into docs/audit.md, between its generated markers.

    python scripts/write_audit_figures.py

Runs the command without arguments in a temporary folder. The figures may differ in the last digits with the number of
threads and the processor.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from write_tables import with_block

PAGE = Path(__file__).parents[1] / "docs" / "audit.md"


def printed_summary(*arguments: str) -> str:
    """What ``snellen audit`` prints on a terminal of 120 columns, without colours."""
    environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", "from snellen.cli import main; main()", "audit", *arguments]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, encoding="utf-8", check=True
        )
    return "\n".join(line.rstrip() for line in done.stdout.splitlines())


def main() -> None:
    """Run the audit and write the block."""
    block = f"```\n{printed_summary()}\n```"
    PAGE.write_text(with_block(PAGE.read_text(encoding="utf-8"), "figures", block, "docs/audit.md"), encoding="utf-8")


if __name__ == "__main__":
    main()
