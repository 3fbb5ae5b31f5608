"""Where the package keeps what is found by path: the one function for all such paths.

Code, indexes, descriptions of systems, recorded results, embedded models, templates and schemas lie below
:func:`root`. Code that searches beside its own file finds nothing, without an error, once that file moves.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from functools import lru_cache
from pathlib import Path

from snellen.core.errors import InputError

#: Distribution with the embedded models that the default audit does not need, and the package in it.
MODELS_DISTRIBUTION, MODELS_PACKAGE = "snellen-models", "snellen_models"

#: What that distribution holds.
EMBEDDED = (
    "fashion-diffusion",
    "fashion-judge",
    "scene-captioner",
    "scene-clip",
    "scene-cnn",
    "scene-decoder",
    "scene-describer",
    "scene-diffusion",
    "scene-judge",
    "scene-painter",
    "scene-sam",
    "tileability",
)

#: What decides what the package computes: sources, and the tables of published numbers beside them.
CODE_SUFFIXES = (".py", ".toml")


def root() -> Path:
    """Folder of the package.

    >>> (root() / "core" / "package.py").is_file()
    True
    """
    return Path(__file__).resolve().parents[1]


def text(path: str) -> str:
    """Content of a file of the package, by its path below :func:`root`.

    Raises:
        InputError: the installation lacks it.
    """
    return _existing(path).read_text(encoding="utf-8")


def content(path: str) -> bytes:
    """Bytes of a file of the package; errors as :func:`text`."""
    return _existing(path).read_bytes()


def code_hash() -> str:
    """Hash of the package's sources and tables (sha256): the version stands still while somebody edits them."""
    top = root()
    found, folders = [], [str(top)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for one in entries:
                if one.name.endswith(CODE_SUFFIXES):
                    status = one.stat()  # a Path for each file would take longer than all else
                    found.append((one.path, status.st_mtime_ns, status.st_size))
                elif one.name != "__pycache__" and one.is_dir():
                    folders.append(one.path)
    return _hash_of_files(top, tuple(sorted(found)))


@lru_cache(maxsize=1)
def _hash_of_files(top: Path, files: tuple[tuple[str, int, int], ...]) -> str:
    """Every run needs the hash, and reads a thousand files only after one of them has changed."""
    digest = hashlib.sha256()
    below = len(str(top)) + 1
    for path, _, _ in files:  # again without a Path for each
        digest.update(f"{path[below:].replace(os.sep, '/')}\0".encode())
        with open(path, "rb") as stream:
            digest.update(stream.read())
    return digest.hexdigest()


def results_folders() -> list[Path]:
    """Folders with recorded results, in order.

    ``./results``, where ``snellen reproduce --record`` writes, then where results ship: inside the installed package,
    or at the root of a working copy.
    """
    folders = (Path("results"), root() / "results", root().parents[1] / "results")
    return [folder for folder in folders if folder.is_dir()]


def asset_folders() -> list[Path]:
    """Folders with embedded models and images, in order.

    The package itself, the distribution ``snellen-models`` where it is installed, and the folder of that distribution
    in a working copy.
    """
    folders = [root() / "assets"]
    found = importlib.util.find_spec(MODELS_PACKAGE)
    if found is not None:
        folders += [Path(place) for place in found.submodule_search_locations or ()]
    folders.append(root().parents[1] / "distributions" / MODELS_DISTRIBUTION / "src" / MODELS_PACKAGE)
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def asset(name: str) -> Path:
    """Folder or file of an embedded model or image set.

    Raises:
        InputError: it is in none of :func:`asset_folders`; the message names the distribution that holds it.
    """
    for folder in asset_folders():
        if (folder / name).exists():
            return folder / name
    remedy = "check the name, or install snellen again"
    if name in EMBEDDED:
        remedy = (
            f"it comes with {MODELS_DISTRIBUTION}: from a checkout, pip install ./distributions/{MODELS_DISTRIBUTION}"
        )
    raise InputError(f"{name} is not part of this installation; {remedy}")


def _existing(path: str) -> Path:
    found = root() / path
    if not found.is_file():
        raise InputError(f"{found} is missing from this installation of snellen; install it again")
    return found
