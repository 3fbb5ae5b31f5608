"""The published systems as data: what each is, its acceptance points, its claims, and the state that a record gives it.

``systems/NAME/system.toml`` says what a system is and what must not be skipped; ``reproduction/NAME/claims.toml`` names
its experiment and its claims, and ``headlines.toml`` beside it what the paper claims first. NAME is the one name of the
system: of its folders, its page and its record.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Container, Sequence
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


class Headline(BaseModel):
    """What the paper claims first, in its abstract or its main table, and which claims here test it.

    It is a reading of the paper and nothing that is measured, so no hash covers it. It is shown when all of its
    ``claims`` hold; one that nothing here tests says why in ``untested``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    statement: str
    claims: tuple[str, ...] = Field((), description="ids; all of them must hold")
    untested: str = Field("", description="reason, where no claim tests it")

    @model_validator(mode="after")
    def _tested_or_not(self) -> Headline:
        if bool(self.claims) == bool(self.untested):
            raise ValueError(f"headline {self.statement!r} names either the claims that test it, or why none does")
        return self


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
    headlines: tuple[Headline, ...] = Field((), description="what the paper claims first")

    @model_validator(mode="after")
    def _named_are_there(self) -> System:
        known = {gate.id for gate in self.gates}
        if len(known) < len(self.gates):
            raise ValueError("two gates have one id")
        for claim in self.claims:
            if absent := sorted(set(claim.gates) - known):
                raise ValueError(f"claim {claim.id} names the gate {', '.join(absent)}, which is not there")
        tested = {name for headline in self.headlines for name in headline.claims}
        if unknown := sorted(tested - {claim.id for claim in self.claims}):
            raise ValueError(f"a headline names the claim {', '.join(unknown)}, which is not there")
        return self

    @property
    def claims_hash(self) -> str:
        """Hash of all claims as written."""
        return _short_hash([claim.hash for claim in self.claims])

    def plan_hash(self, scale: str) -> str:
        """Hash of all that is decided before a record at a scale: its claims and gates, and the budget.

        Claims and gates of other scales are left out: they can come later, and the record says as much as before.
        """
        return self._hash_of(
            [claim for claim in self.claims if scale in claim.scales],
            [gate for gate in self.gates if scale in gate.scales],
        )

    def plans(self, scale: str) -> tuple[str, str]:
        """Hashes of a record of this plan: that of its scale, or that of all scales, as earlier records have."""
        return self.plan_hash(scale), self._hash_of(self.claims, self.gates)

    def _hash_of(self, claims: Sequence[Claim], gates: Sequence[Gate]) -> str:
        written = _short_hash([claim.hash for claim in claims])
        return _short_hash([written, [gate.model_dump() for gate in gates], self.budget.model_dump()])

    @property
    def state(self) -> str:
        """*not run*, or how many of the claims hold, and for how many of the paper's headline claims all do.

        Only a recorded result of the current claims, all of those at its scale, over enough seeds counts.
        """
        record = recorded(self.name)
        verdicts = {} if record is None else self.verdicts(record)
        if record is None or not verdicts:
            return "not run"
        if all(verdict == "not run" for verdict in verdicts.values()):
            return "not run (a gate is closed)"
        held = {name for name, verdict in verdicts.items() if verdict == "holds"}
        first = f", {self.shown(held)} of {len(self.headlines)} headline claims of the paper" if self.headlines else ""
        judge = ", earlier judge" if record.judge < JUDGE else ""
        return f"{len(held)} of {len(verdicts)} claims hold{first} ({record.scale}{judge})"

    def shown(self, held: Container[str]) -> int:
        """How many of the paper's headline claims are shown.

        Args:
            held: ids of the claims that hold.
        """
        return sum(bool(one.claims) and all(name in held for name in one.claims) for one in self.headlines)

    def verdicts(self, record: Record) -> dict[str, Verdict]:
        """The verdicts that count, by claim; none where the record is not of the claims as they are.

        A claim that was struck out after a record of the earlier judge no longer counts there; the others do, as long
        as they are as recorded.
        """
        today = record.judge == JUDGE
        if record.scale not in ("small", "full"):
            return {}
        if today and record.plan_hash not in self.plans(record.scale):
            return {}
        if record.seeds < (MINIMUM_SEEDS if today else EARLIER_MINIMUM):
            return {}
        found = {one.id: one.verdict for one in record.claims if today or one.id not in self.dropped}
        current = {claim.id: claim.hash for claim in self.claims if record.scale in claim.scales}
        same = all(record.claim_hashes.get(name) == digest for name, digest in current.items())
        return found if same and found.keys() == current.keys() else {}


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
_OF_CLAIMS = {"experiment", "claims", "gates", "budget", "dropped", "headlines"}


def load_system(folder: Path, claims: Path | None = None) -> System:
    """Read the description of one system.

    Args:
        folder: with ``system.toml``; its name is the system's.
        claims: file with its experiment and claims; None, or a file that is not there, for a system without. What
            the paper claims first stands in ``headlines.toml`` beside it, if anywhere.

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
        built = System(**system.model_dump(exclude=_OF_CLAIMS), **tomllib.loads(path.read_text(encoding="utf-8")))
        path = claims.with_name("headlines.toml")
        if not path.is_file():
            return built
        first = tomllib.loads(path.read_text(encoding="utf-8"))
        return System(**built.model_dump(exclude={"headlines"}), **first)
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
