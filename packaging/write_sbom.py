"""Write the list of all packages that an installation brings (CycloneDX, JSON), from a clean environment.

``python packaging/write_sbom.py WHEEL FILE`` needs the package ``cyclonedx-bom`` and a package index.
Put extras behind the wheel, as pip takes them: ``'dist/snellen-0.1.0-py3-none-any.whl[onnx,models]'``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path


def main() -> None:
    """Install into a new environment, and list it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", help="what is installed")
    parser.add_argument("file", type=Path, help="where the list is written")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", given.wheel], check=True)
        subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "pip"], check=True)
        listing = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--validate"]
        subprocess.run([*listing, "--output-format", "JSON", "--output-file", str(given.file), str(python)], check=True)
    components = json.loads(given.file.read_bytes())["components"]
    print(f"{len(components)} packages: {given.file}")


if __name__ == "__main__":
    main()
