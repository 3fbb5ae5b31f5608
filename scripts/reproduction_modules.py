"""Modules of published systems that the scripts run: tables, pictures and measurements."""

from __future__ import annotations

from snellen.core import package


def find_modules(kind: str) -> dict[str, str]:
    """Modules KIND.py below ``snellen.reproduction``: name of the folder, which is that of a system → module."""
    found = sorted((package.root() / "reproduction").rglob(f"{kind}.py"))
    return {
        path.parent.name: ".".join(("snellen", *path.relative_to(package.root()).with_suffix("").parts))
        for path in found
    }
