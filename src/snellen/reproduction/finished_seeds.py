"""Seeds that are finished, kept on disk while the others run, so that a crash costs one seed and not all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from snellen.core.errors import InputError
from snellen.core.run import canonical_json, write_atomically
from snellen.core.system import Scale, System
from snellen.version import __version__


class FinishedSeeds(BaseModel):
    """What ``NAME.partial.json`` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    claims_hash: str
    scale: str
    version: str
    environment: dict[str, str]
    duration_s: float = 0.0
    figures: dict[int, dict[str, float]] = {}

    @classmethod
    def resume(cls, path: Path | None, system: System, scale: Scale, environment: Mapping[str, str]) -> FinishedSeeds:
        """Go on from a file of the same claims, scale and version, if there is one; seeds of others are of no use.

        Where the environment is another than that of the seeds found, both are named.

        Raises:
            InputError: the file cannot be read, or holds seeds of these claims at another scale.
        """
        fresh = cls(claims_hash=system.claims_hash, scale=scale, version=__version__, environment=dict(environment))
        if path is None or not path.is_file():
            return fresh
        try:
            found = cls.model_validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not the finished seeds of a run; delete it to start anew: {error}") from error
        if (found.claims_hash, found.version) != (fresh.claims_hash, fresh.version):
            return fresh
        if found.scale != scale:
            raise InputError(
                f"{path} holds finished seeds at scale {found.scale}; finish that run first, or delete the file"
            )
        both = {name: _with(found.environment.get(name, value), value) for name, value in environment.items()}
        return found.model_copy(update={"environment": both})

    def adding(self, seed: int, figures: Mapping[str, float], seconds: float) -> FinishedSeeds:
        """The same with one more seed."""
        return self.model_copy(
            update={"figures": {**self.figures, seed: dict(figures)}, "duration_s": self.duration_s + seconds}
        )

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_atomically(path, canonical_json(self.model_dump(mode="json")))


def _with(known: str, value: str) -> str:
    """Several environments of one run, each once."""
    return known if value in known.split("; ") else f"{known}; {value}"
