"""One finished seed of a record: results/NAME/seed-N.json. A stopped run resumes from these files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from snellen.core.errors import InputError
from snellen.core.run import canonical_json, write_atomically
from snellen.core.system import Scale, System
from snellen.reproduction.sample import Figure, Sample, mean_of


class SeedFile(BaseModel):
    """Figures of one seed, and what they were measured with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str
    scale: str
    seed: int
    plan_hash: str
    code_hash: str
    environment: dict[str, str]
    duration_s: float
    processor_s: float
    figures: dict[str, float | list[float] | None]

    @classmethod
    def of(
        cls,
        system: System,
        scale: Scale,
        seed: int,
        figures: Mapping[str, Figure],
        *,
        code_hash: str,
        environment: Mapping[str, str],
        duration_s: float,
        processor_s: float,
    ) -> SeedFile:
        """Of figures that were just measured. Values of images are kept for figures that a claim or gate names."""
        judged = named_figures(system, scale)
        return cls(
            system=system.name,
            scale=scale,
            seed=seed,
            plan_hash=system.plan_hash(scale),
            code_hash=code_hash,
            environment=dict(environment),
            duration_s=round(duration_s, 1),
            processor_s=round(processor_s, 1),
            figures={
                name: list(figure.values) if isinstance(figure, Sample) and name in judged else mean_of(figure)
                for name, figure in sorted(figures.items())
            },
        )

    def measured(self) -> dict[str, Figure]:
        """The figures as an experiment returns them."""
        return {name: Sample(tuple(it)) if isinstance(it, list) else it for name, it in self.figures.items()}

    def save(self, folder: Path) -> Path:
        """Write the file into the folder of its system, whole or not at all."""
        path = seed_path(folder, self.system, self.seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, canonical_json(self.model_dump(mode="json")))
        return path


def named_figures(system: System, scale: Scale) -> dict[str, str]:
    """Figures that claims and gates of a scale name → who names them first; controls are among them."""
    named: dict[str, str] = {}
    for gate in system.gates:
        if scale in gate.scales:
            named.setdefault(gate.metric, f"gate {gate.id}")
    for claim in system.claims:
        if scale in claim.scales:
            for name in (claim.metric, *([claim.baseline] if claim.baseline else []), *claim.controls):
                named.setdefault(name, f"claim {claim.id}")
    return named


def seed_path(folder: Path, name: str, seed: int) -> Path:
    """Where a seed of a system lies below a folder of results."""
    return folder / name / f"seed-{seed}.json"


def read_seeds(folder: Path, name: str) -> list[SeedFile]:
    """All seeds of a system that lie there, by number.

    Raises:
        InputError: one of the files is none.
    """
    found = []
    for path in sorted((folder / name).glob("seed-*.json")):
        try:
            found.append(SeedFile.model_validate_json(path.read_bytes()))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not a seed that 'snellen reproduce' wrote; delete it") from error
    return sorted(found, key=lambda one: one.seed)


def finished_seeds(seeds: Sequence[SeedFile], system: System, scale: Scale, code_hash: str) -> dict[int, SeedFile]:
    """Those of today's claims, budget and code, by number."""
    plans = system.plans(scale)
    return {
        one.seed: one for one in seeds if one.plan_hash in plans and (one.code_hash, one.scale) == (code_hash, scale)
    }
