"""What ``snellen reproduce`` records: results/NAME.json."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ClaimResult(BaseModel):
    """One claim beside what was measured.

    ``low`` and ``high`` bound what the claim is about (ours − baseline). One seed has no interval: both are then the
    figure itself, and such a result is never recorded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    statement: str
    source: str
    metric: str
    ours: float = Field(description="mean over the seeds")
    baseline: float | None = Field(description="mean of the baseline over the seeds")
    low: float = Field(description="lower end of the 95 % interval over the seeds")
    high: float
    direction: str
    threshold: float
    holds: bool
    seeds: int
    amended: str | None = None


class Result(BaseModel):
    """All claims of one system at one scale."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: int
    title: str
    scale: str
    seeds: int
    claims: tuple[ClaimResult, ...]
    claims_hash: str
    claim_hashes: dict[str, str] = Field(description="hash of each claim as written, also of other scales")
    amendments: dict[str, str] = Field(
        default_factory=dict, description="reason by amended claim, also of other scales"
    )
    controls: dict[str, float] = Field(default_factory=dict, description="means of the control figures")
    environment: dict[str, str]
    duration_s: float
    stand_ins: tuple[str, ...] = Field((), description="what stood in for the paper's models and data")

    @property
    def holds(self) -> bool:
        """Whether every claim holds."""
        return all(claim.holds for claim in self.claims)
