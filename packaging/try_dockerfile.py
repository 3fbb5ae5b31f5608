"""Run the commands of the Dockerfile's build stages without Docker, each in a clean environment of Python.

``python packaging/try_dockerfile.py WHEELS`` runs those that lead to the image for processors; ``WHEELS`` is the folder
that stands for /wheels, and /opt/snellen becomes a temporary folder. The last stage, which copies this folder and adds
a user, needs a root file system of its own and is not run. Then ``snellen audit --limit 50`` is run.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

DOCKERFILE = Path(__file__).parent / "docker" / "Dockerfile"


def build_commands(dockerfile: str, stages: tuple[str, ...]) -> list[str]:
    """What RUN runs in these stages, in order."""
    joined = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE))
    parts = re.split(r"^FROM \S+(?: AS (\S+))?\n", joined, flags=re.MULTILINE)
    commands = dict(zip(parts[1::2], parts[2::2], strict=True))
    return [line for stage in stages for line in re.findall(r"^RUN (.+)$", commands[stage], re.MULTILINE)]


def defaults(dockerfile: str) -> dict[str, str]:
    """Values of the arguments where none is given."""
    return dict(re.findall(r"^ARG (\w+)=(.*)$", dockerfile, re.MULTILINE))


def main() -> None:
    """Run them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", type=Path, help="folder of the wheels of both distributions")
    wheels = parser.parse_args().wheels.resolve()
    text = DOCKERFILE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        place = f"{folder}/snellen"
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, **defaults(text), "PATH": path}
        for command in build_commands(text, ("base", "torch-cpu", "build")):
            here = command.replace("/opt/snellen", place).replace("/wheels", str(wheels))
            print(f"+ {here}", flush=True)
            subprocess.run(["bash", "-euo", "pipefail", "-c", here], check=True, env=environment)
        last = [f"{place}/bin/snellen", "audit", "--limit", "50", "--checks", "clean", "--out", f"{folder}/run"]
        subprocess.run(last, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1", "SNELLEN_CACHE": f"{folder}/cache"})
        size = sum(one.stat().st_size for one in Path(place).rglob("*") if one.is_file() and not one.is_symlink())
        print(f"{size / 1e9:.1f} GB in /opt/snellen")


if __name__ == "__main__":
    main()
