"""What ``snellen reproduce`` records: results/NAME.json."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from snellen.core.system import JUDGE, Budget, Verdict


class GateResult(BaseModel):
    """One gate: whether the mechanism is there at all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    statement: str
    metric: str
    value: float | None = Field(description="mean over the seeds")
    direction: str
    threshold: float
    open: bool


class ClaimResult(BaseModel):
    """One claim beside what was measured.

    ``low`` and ``high`` bound what the claim is about (ours − baseline); None where there is no interval.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    statement: str
    source: str
    metric: str
    ours: float | None = Field(description="mean over the seeds; None where a seed lacks it")
    baseline: float | None = Field(description="mean of the baseline over the seeds")
    low: float | None = Field(description="lower end of the 95 % interval")
    high: float | None
    direction: str
    threshold: float
    verdict: Verdict
    reason: str = Field("", description="why it is undecided, missing or not run")
    seeds: int
    values: tuple[float | None, ...] = Field((), description="of each seed")
    baseline_values: tuple[float | None, ...] | None = None
    images: tuple[int, ...] = Field((), description="values behind each seed's figure; 0 where it is one number")
    amended: str | None = None

    @property
    def holds(self) -> bool:
        """Whether the verdict is that it holds."""
        return self.verdict == "holds"


class Result(BaseModel):
    """All claims of one system at one scale."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    judge: int = JUDGE
    system: str
    number: int
    title: str
    scale: str
    seeds: int
    seed_ids: tuple[int, ...] = Field(description="which seeds were run")
    budget: Budget | None = Field(description="what was decided before; None in records of the earlier judge")
    gates: tuple[GateResult, ...] = ()
    claims: tuple[ClaimResult, ...]
    claims_hash: str
    plan_hash: str = Field(description="hash of the claims and gates of the scale, and of the budget")
    code_hash: str = Field(description="hash of the syntax of reproduction/NAME and systems/NAME, without docstrings")
    claim_hashes: dict[str, str] = Field(description="hash of each claim as written, also of other scales")
    amendments: dict[str, str] = Field(
        default_factory=dict, description="reason by amended claim, also of other scales"
    )
    spent: tuple[int, ...] = Field((), description="seeds that earlier records of this system looked at")
    controls: dict[str, float | None] = Field(default_factory=dict, description="means of the control figures")
    environment: dict[str, str]
    duration_s: float
    over_budget: tuple[int, ...] = Field((), description="seeds that took more processor time than the budget says")
    stand_ins: tuple[str, ...] = Field((), description="what stood in for the paper's models and data")

    @property
    def holds(self) -> bool:
        """Whether every claim holds."""
        return all(claim.holds for claim in self.claims)
