"""The published systems as data: what each is, its acceptance points, its claims, and the state that a record gives it.

``systems/NAME/system.toml`` says what a system is and what must not be skipped; ``reproduction/NAME/claims.toml`` names
its experiment and its claims. NAME is the one name of the system: of its folders, its page and its record.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from snellen.core import package
from snellen.core.errors import InputError, unknown_name
from snellen.core.index import normalise, system_tables

Scale = Literal["smoke", "small", "full"]

#: A state is earned by at least so many seeds; with fewer, an interval says next to nothing.
MINIMUM_SEEDS = 3


class Claim(BaseModel):
    """A statement that a measurement can refute, written before anything is run.

    ``metric`` names a figure that the experiment returns, ``baseline`` another one to subtract from it (if any). The
    claim holds when the whole 95 % interval over the seeds lies on the claimed side of ``threshold``. One seed has no
    interval: then the figure itself is judged, and the verdict cannot be recorded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    statement: str
    source: str = Field(description="where in the paper it is claimed")
    metric: str
    baseline: str | None = None
    direction: Literal[">", "<"]
    threshold: float
    controls: tuple[str, ...] = ()
    scales: tuple[Scale, ...] = ("small", "full")
    amended: str | None = Field(
        None,
        min_length=1,
        description="reason, when the claim changed after a result was recorded; a new one each time",
    )

    @property
    def hash(self) -> str:
        """Hash of the claim as written, without the reason of an amendment (sha256, first 16 hex digits)."""
        return _short_hash(self.model_dump(exclude={"amended"}))


class System(BaseModel):
    """One published system."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    number: int = Field(ge=0)
    title: str
    acronym: str
    source: str
    area: str
    command: str
    summary: str
    methods: tuple[str, ...] = Field((), description="AREA.METHOD, its own and those of others that it is made of")
    experiment: str | None = Field(None, description="module:function of the experiment, once built")
    acceptance: dict[str, str] = Field(default_factory=dict, description="what must not be skipped, by number")
    claims: tuple[Claim, ...] = ()

    @property
    def claims_hash(self) -> str:
        """Hash of all claims as written."""
        return _short_hash([claim.hash for claim in self.claims])

    @property
    def state(self) -> str:
        """*not run*, *mechanism checked (small)*, *reproduced (full)*, or that a claim does not hold.

        Only a recorded result of the current claims, all of those at its scale, over enough seeds counts.
        """
        record = recorded(self.name)
        if record is None or record.claims_hash != self.claims_hash or record.seeds < MINIMUM_SEEDS:
            return "not run"
        reached = {"small": "mechanism checked (small)", "full": "reproduced (full)"}.get(record.scale)
        judged = {claim.id for claim in record.claims}
        if reached is None or not judged or judged != {c.id for c in self.claims if record.scale in c.scales}:
            return "not run"
        failing = [claim.id for claim in record.claims if not claim.holds]
        return reached if not failing else f"run ({record.scale}): {', '.join(failing)} not holding"


def _short_hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


class Verdict(BaseModel):
    """What a recorded result says of one claim."""

    model_config = ConfigDict(frozen=True, strict=True)

    id: str
    holds: bool


class Record(BaseModel):
    """What is read again of a recorded result, ``results/NAME.json``; the file holds more."""

    model_config = ConfigDict(frozen=True, strict=True)

    scale: str
    seeds: int
    claims: tuple[Verdict, ...]
    claims_hash: str
    claim_hashes: dict[str, str]
    amendments: dict[str, str]


def read_record(path: Path) -> Record:
    """Read a recorded result.

    Raises:
        InputError: the file cannot be read, is not JSON, or is not a recorded result.
    """
    try:
        return Record.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a result that 'snellen reproduce --record' wrote; move it away, or restore it: {error}"
        ) from error


def recorded(name: str) -> Record | None:
    """The recorded result of a system, if there is one. Files that are no results are passed over."""
    for folder in package.results_folders():
        path = folder / f"{name}.json"
        if path.is_file():
            with suppress(InputError):
                return read_record(path)
    return None


def load_system(folder: Path, claims: Path | None = None) -> System:
    """Read the description of one system.

    Args:
        folder: with ``system.toml``; its name is the system's.
        claims: file with its experiment and claims; None, or a file that is not there, for a system without.

    Raises:
        InputError: one of the files is no such description.
    """
    path = folder / "system.toml"
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
        if claims is not None and claims.is_file():
            path = claims
            fields |= tomllib.loads(claims.read_text(encoding="utf-8"))
        own = [f"{area}.{name}" for area, rows in fields.pop("methods", {}).items() for name in rows]
        for elsewhere in ("architectures", "checks", "commands", "forms"):
            fields.pop(elsewhere, None)
        return System(name=folder.name, methods=(*own, *fields.pop("uses", ())), **fields)
    except (OSError, tomllib.TOMLDecodeError, ValueError) as error:
        raise InputError(f"{path}: not a system description: {error}") from error


def list_systems() -> list[System]:
    """All systems, by number.

    >>> len(list_systems())
    39
    """
    found = []
    for name in system_tables():
        claims = package.root() / "reproduction" / name / "claims.toml"
        found.append(load_system(package.root() / "systems" / name, claims))
    return sorted(found, key=lambda system: system.number)


def find_system(name: str) -> System:
    """Find a system by name, number or acronym.

    >>> find_system("37").acronym, find_system("medmnist-c").number, find_system("smooth-inversion").number
    ('MedMNIST-C', 37, 33)
    """
    known = list_systems()
    spellings = {str(system.number): system for system in known}
    spellings |= {f"{system.number:02d}": system for system in known}
    spellings |= {normalise(system.acronym): system for system in known}
    spellings |= {system.name: system for system in known}
    if normalise(name) not in spellings:
        names = [spelling for s in known for spelling in (str(s.number), s.name, normalise(s.acronym))]
        raise unknown_name("system", name, names)
    return spellings[normalise(name)]
