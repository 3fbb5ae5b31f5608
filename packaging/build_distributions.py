"""Build both distributions, sources first and the wheels from these, and see what is in them.

``python packaging/build_distributions.py FOLDER`` needs the packages ``build`` and ``hatchling``.
``python packaging/build_distributions.py --check FILE...`` only looks into files that are there.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECTS = (ROOT, ROOT / "distributions" / "snellen-models")

#: Most bytes of a file of the distribution ``snellen``, and of ``snellen-models``, which holds weights.
MOST_BYTES = {"snellen": 8_000_000, "snellen_models": 20_000_000}

#: Files without which a wheel of ``snellen`` does not work, or may not be given away.
NEEDED = (
    r"snellen/py\.typed",
    r"snellen/assets/fashion-mnist-2000\.npz",
    r"snellen/schemas/report\.schema\.json",
    r"snellen/results/\w+\.json",
    r"snellen/auditing/templates/report\.html\.j2",
    r"snellen/desk/static/desk\.js",
    r"snellen/systems/\w+/system\.toml",
    r"snellen-[\d.]+\.dist-info/licenses/LICENSE",
    r"snellen-[\d.]+\.dist-info/licenses/NOTICE",
    r"snellen-[\d.]+\.dist-info/entry_points\.txt",
)
#: What no distribution holds: tests, caches, and files that run code when they are loaded.
REFUSED = r"(?:.*/)?(?:tests|__pycache__|\.git|\.mypy_cache|\.ruff_cache)/.*|.*\.(?:pyc|pkl|pickle|pt|pth|bin|so|ipynb)"


def names_of(file: Path) -> list[str]:
    """Names in a wheel, or in a source distribution without its outer folder."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            return wheel.namelist()
    with tarfile.open(file) as sources:
        return [member.name.partition("/")[2] for member in sources.getmembers() if member.isfile()]


def problems_of(file: Path) -> list[str]:
    """What is wrong with a distribution, in words; nothing where all is well."""
    try:
        names, distribution = names_of(file), file.name.partition("-")[0]
    except (OSError, zipfile.BadZipFile, tarfile.TarError) as error:
        return [f"{file.name} is not a distribution that can be read: {str(error).splitlines()[0]}"]
    found = [f"holds {name}" for name in names if re.fullmatch(REFUSED, name)]
    if distribution == "snellen" and file.suffix == ".whl":
        found += [f"lacks {one}" for one in NEEDED if not any(re.fullmatch(one, name) for name in names)]
    if not any(re.search(r"(?:^|/)LICENSE$", name) for name in names):
        found.append("lacks its licence")
    size, most = file.stat().st_size, MOST_BYTES.get(distribution, 0)
    if size > most:
        found.append(f"has {size:,} bytes, more than {most:,}")
    return [f"{file.name} {one}" for one in found]


def main() -> None:
    """Build them, or check those that are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="build nothing")
    parser.add_argument("places", type=Path, nargs="+", help="folder that the distributions go to, or files")
    given = parser.parse_args()
    files = given.places
    if not given.check:
        if len(given.places) != 1:
            parser.error(f"distributions go to one folder, got {len(given.places)}; --check looks into several files")
        (folder,) = given.places
        for project in PROJECTS:
            command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder.resolve()), str(project)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        files = sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")])
    if found := [problem for file in files for problem in problems_of(file)]:
        sys.exit("\n".join(["error: these distributions cannot be published", *found]))
    for file in files:
        print(f"{file.stat().st_size / 1e6:6.2f} MB  {len(names_of(file)):5} files  {file.name}")


if __name__ == "__main__":
    main()
