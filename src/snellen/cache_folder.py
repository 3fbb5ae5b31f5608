"""Where converted files, and views of meshes, are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$SNELLEN_CACHE``, else ``$XDG_CACHE_HOME/snellen``, else ``~/.cache/snellen``; it need not exist.

    A relative ``$XDG_CACHE_HOME`` is ignored, as the XDG Base Directory Specification asks.
    """
    if own := os.environ.get("SNELLEN_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(shared) if os.path.isabs(shared) else Path.home() / ".cache") / "snellen"
