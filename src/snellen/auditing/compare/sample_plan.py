"""A plan of sample size as data, and as text."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Goal(BaseModel):
    """A question, how many images it takes, and what the images at hand give."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str
    images: int = Field(description="fewest images; in each set where nothing is paired")
    units: int = Field(description="units that these are")
    at_hand: float | None = Field(None, description="width, or power, that the images at hand give")
    enough: bool | None = Field(None, description="whether those are enough; null where no set is at hand")


class Sight(BaseModel):
    """Something that the images at hand can show."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    value: float | None = Field(description="null where not even the largest effect is found so often")


class SamplePlan(BaseModel):
    """How many images, under which assumptions.

    Attributes:
        accuracy: that the plan supposes.
        unit_size: images of a unit.
        correlation: of right decisions within a unit.
        design_effect: images that say as much as one independent image.
        disagreement: share of images on which just one of two models is right; None where no two models are compared.
        power: share of cases in which a gate passes, or a difference is found.
        images: at hand; None where there is no set. units: that these are.
        goals: one for each question. shows: what the images at hand can show.
        notes: where the assumptions come from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    accuracy: float
    unit_size: float
    correlation: float
    design_effect: float
    disagreement: float | None = None
    power: float
    images: int | None = None
    units: int | None = None
    goals: tuple[Goal, ...] = ()
    shows: tuple[Sight, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def enough(self) -> bool:
        """Whether the images at hand are enough for every question; False where none are at hand."""
        return bool(self.goals) and all(one.enough for one in self.goals)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return self.model_dump(mode="json")

    def __str__(self) -> str:
        lines = [f"Supposed: {note}" for note in self.notes]
        for goal in self.goals:
            of_units = "" if self.unit_size == 1 else f", {goal.units:,} units"
            lines.append(f"{goal.question}: {goal.images:,} images{of_units}")
            if goal.at_hand is not None and self.images is not None:
                what = "a width of" if goal.question.startswith("interval") else "a power of"
                verdict = "enough" if goal.enough else "too few"
                lines.append(f"  the {self.images:,} images at hand: {verdict}; they give {what} {goal.at_hand:.3f}")
        if self.shows:
            lines.append(f"The {self.images:,} images at hand, with a power of {self.power:g}:")
            lines += [f"  {one.what}: {'none' if one.value is None else f'{one.value:.4f}'}" for one in self.shows]
        return "\n".join(lines)
