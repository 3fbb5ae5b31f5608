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

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from snellen.core import package
from snellen.core.errors import InputError, unknown_name
from snellen.core.formats import SYSTEM
from snellen.core.index import normalise, system_tables

Scale = Literal["smoke", "small", "full"]

#: A record needs so many seeds. Records of the earlier judge needed three.
MINIMUM_SEEDS, EARLIER_MINIMUM = 5, 3

#: Seeds of records start here; lower ones are for pilots, which choose effect sizes and settings.
FIRST_SEED = 1000

#: Minutes of processor time that a seed, and a record, may take at the scale small.
MOST_MINUTES, MOST_MINUTES_OF_A_RECORD = 15, 120

#: Which judge makes records today: 1 took a t interval over the means of seeds, 2 is :mod:`snellen.reproduction.judge`.
JUDGE = 2

Verdict = Literal["holds", "fails", "undecided", "not run", "missing"]


class Gate(BaseModel):
    """What must be so before a claim means anything: that the mechanism is there at all.

    Behind a closed gate a claim is *not run*; it never *fails*. A gate is judged by the mean over the seeds. It guards
    at its own scales alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    statement: str
    metric: str
    direction: Literal[">", "<"]
    threshold: float
    scales: tuple[Scale, ...] = ("small", "full")


class Budget(BaseModel):
    """What a record may cost, written before anything is run.

    Attributes:
        seeds: how many, from a pilot on other seeds (power at least 0.8). Six, where a figure may not vary at all.
        first_seed: the record runs ``first_seed`` and those behind it; a changed experiment needs fresh ones.
        minutes: of processor time that a seed may take.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: int = Field(MINIMUM_SEEDS, ge=MINIMUM_SEEDS)
    first_seed: int = Field(FIRST_SEED, ge=FIRST_SEED)
    minutes: float = Field(12.0, gt=0)

    @model_validator(mode="after")
    def _bounded(self) -> Budget:
        if self.minutes > MOST_MINUTES or self.minutes * self.seeds > MOST_MINUTES_OF_A_RECORD:
            raise ValueError(
                f"a seed takes at most {MOST_MINUTES} minutes and a record {MOST_MINUTES_OF_A_RECORD}; got "
                f"{self.seeds} seeds of {self.minutes:g}; what needs more belongs into the scale full"
            )
        return self

    @property
    def range(self) -> range:
        """The seeds of the record."""
        return range(self.first_seed, self.first_seed + self.seeds)


class Claim(BaseModel):
    """A statement that a measurement can refute, written before anything is run.

    ``metric`` names a figure that the experiment returns, ``baseline`` another one to subtract from it (if any). The
    claim holds when the whole 95 % interval (:mod:`snellen.reproduction.judge`) lies on the claimed side of
    ``threshold``, and fails when it lies on the other. ``range`` holds the values that the claim's quantity can take;
    ``gates`` names the gates that must be open.
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
    range: tuple[float, float] | None = None
    gates: tuple[str, ...] = ()
    amended: str | None = Field(
        None,
        min_length=1,
        description="reason, when the claim changed after a result was recorded; a new one each time",
    )

    @property
    def hash(self) -> str:
        """Hash of the claim as written, without the reason of an amendment (sha256, first 16 hex digits)."""
        later = {name for name in ("range", "gates") if not getattr(self, name)}  # absent from older claims
        return _short_hash(self.model_dump(exclude={"amended", *later}))


class System(BaseModel):
    """One published system.

    Attributes:
        number: of the system in the list.
        title: of the paper.
        acronym: by which it is known.
        source: authors, year, venue.
        area: of its methods.
        command: of the command line that runs it.
        summary: what it does, one sentence.
    """

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
    gates: tuple[Gate, ...] = ()
    budget: Budget = Budget()
    dropped: dict[str, str] = Field(default_factory=dict, description="why a claim of an earlier record is gone, by id")

    @model_validator(mode="after")
    def _gates_are_there(self) -> System:
        known = {gate.id for gate in self.gates}
        if len(known) < len(self.gates):
            raise ValueError("two gates have one id")
        for claim in self.claims:
            if absent := sorted(set(claim.gates) - known):
                raise ValueError(f"claim {claim.id} names the gate {', '.join(absent)}, which is not there")
        return self

    @property
    def claims_hash(self) -> str:
        """Hash of all claims as written."""
        return _short_hash([claim.hash for claim in self.claims])

    @property
    def plan_hash(self) -> str:
        """Hash of all that is decided before a record: claims, gates and budget."""
        return _short_hash([self.claims_hash, [gate.model_dump() for gate in self.gates], self.budget.model_dump()])

    @property
    def state(self) -> str:
        """*not run*, *mechanism checked (small)*, *reproduced (full)*, or how many of the claims hold.

        Only a recorded result of the current claims, all of those at its scale, over enough seeds counts.
        """
        record = recorded(self.name)
        if record is None or record.claims_hash != self.claims_hash or record.scale not in ("small", "full"):
            return "not run"
        if record.judge == JUDGE and record.plan_hash != self.plan_hash:
            return "not run"
        judged = {claim.id for claim in record.claims}
        if not judged or judged != {claim.id for claim in self.claims if record.scale in claim.scales}:
            return "not run"
        if record.seeds < (EARLIER_MINIMUM if record.judge < JUDGE else MINIMUM_SEEDS):
            return "not run"
        if all(claim.verdict == "not run" for claim in record.claims):
            return "not run (a gate is closed)"
        held = sum(claim.verdict == "holds" for claim in record.claims)
        judge = ", earlier judge" if record.judge < JUDGE else ""
        if held < len(judged):
            return f"{held} of {len(judged)} claims hold ({record.scale}{judge})"
        return f"{'reproduced' if record.scale == 'full' else 'mechanism checked'} ({record.scale}{judge})"


def _short_hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


class Judged(BaseModel):
    """The verdict of a recorded result on one claim."""

    model_config = ConfigDict(frozen=True, strict=True)

    id: str
    verdict: Verdict


class Record(BaseModel):
    """What is read again of a recorded result, ``results/NAME.json``; the file holds more."""

    model_config = ConfigDict(frozen=True, strict=True)

    judge: int
    scale: str
    seeds: int
    seed_ids: tuple[int, ...]
    claims: tuple[Judged, ...]
    claims_hash: str
    plan_hash: str
    code_hash: str
    spent: tuple[int, ...] = ()
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
            f"{path}: not a result that this version of 'snellen reproduce --record' wrote; record it again, or "
            f"restore it ({_first_reason(error)})"
        ) from error


def _first_reason(error: Exception) -> str:
    """One line of an error."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".strip(": ")
    return str(error).partition("\n")[0]


def recorded(name: str) -> Record | None:
    """The recorded result of a system, if there is one. Files that are no results are passed over."""
    for folder in package.results_folders():
        path = folder / f"{name}.json"
        if path.is_file():
            with suppress(InputError):
                return read_record(path)
    return None


#: What stands beside the experiment, and nowhere else.
_OF_CLAIMS = {"experiment", "claims", "gates", "budget", "dropped"}


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
        fields = SYSTEM.read(tomllib.loads(path.read_text(encoding="utf-8")), path)
        own = [f"{area}.{name}" for area, rows in fields.pop("methods", {}).items() for name in rows]
        for elsewhere in ("architectures", "checks", "commands", "forms", "heads"):
            fields.pop(elsewhere, None)
        system = System(name=folder.name, methods=(*own, *fields.pop("uses", ())), **fields)
        if claims is None or not claims.is_file():
            return system
        path = claims
        return System(**system.model_dump(exclude=_OF_CLAIMS), **tomllib.loads(claims.read_text(encoding="utf-8")))
    except InputError:
        raise
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
