"""Build the site of the documents: ``python scripts/build_site.py FOLDER`` (extra ``docs``). A warning is an error.

The pages are copied to a temporary folder, beside what is written for the site alone: the references of Python and of
commands, the tutorials as notebooks, and the pages of the root folder.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from site_reference import write_reference
from tutorial_cells import offer_notebooks

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Build it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pages are written")
    folder = parser.parse_args().folder.resolve()
    with tempfile.TemporaryDirectory() as work:
        pages = Path(work) / "docs"
        shutil.copytree(ROOT / "docs", pages, ignore=shutil.ignore_patterns("__pycache__"))
        write_reference(pages, ROOT)
        offer_notebooks(pages / "tutorials")
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "-d", f"{work}/trees", str(pages), str(folder)]
        sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
