"""Where converted files, and views of meshes, are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

from snellen.core.errors import InputError


def cache_folder() -> Path:
    """``$SNELLEN_CACHE``, else ``$XDG_CACHE_HOME/snellen``, else ``~/.cache/snellen``; it need not exist.

    A relative ``$XDG_CACHE_HOME`` is ignored, as the XDG Base Directory Specification requires.
    """
    if own := os.environ.get("SNELLEN_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(shared) if os.path.isabs(shared) else Path.home() / ".cache") / "snellen"


def writable_cache(name: str) -> Path:
    """A folder of the cache folder, made if it is not there.

    Raises:
        InputError: it cannot be made.
    """
    folder = cache_folder() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {folder} ({error}); set SNELLEN_CACHE to another folder") from error
    return folder
