"""Requirements as a file, ``requirements.toml``: each with an id, a text, the relation that a figure must satisfy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from snellen.auditing.compare.margins import margin_words, parse_points
from snellen.auditing.compare.requirement import Requirement, parse_requirement
from snellen.auditing.job import placed
from snellen.auditing.toml_files import read_toml
from snellen.core.errors import InputError, unknown_name
from snellen.core.refused_values import refused_value

#: What a file looks like, for errors.
EXAMPLE = '[[requirement]]\nid = "R1"\ntext = "Nine of ten images are recognised."\nmetric = "clean.accuracy >= 0.9"'

#: Errors that a message lists.
_MOST_ERRORS = 8


class WrittenRequirement(BaseModel):
    """One requirement as it stands in a file.

    Attributes:
        id: short, and of this requirement alone.
        text: what is required, in words.
        metric: a relation such as ``clean.accuracy >= 0.9``, judged by the 95 % interval, or by the estimate with
            ``clean.accuracy.value >= 0.9``; also ``findings.LEVEL <= N`` and ``acuity.NUISANCE >= SEVERITY``. With
            ``not_worse_than`` the name of a figure alone.
        source: where it is written: a document, a section.
        not_worse_than: margin to the baseline, such as ``1pt``.
        baseline: run directory of an earlier audit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, max_length=80)
    text: str = Field(min_length=1, max_length=2000)
    metric: str = Field(min_length=1, max_length=200)
    source: str | None = Field(None, max_length=400)
    not_worse_than: str | float | None = None
    baseline: str | None = None

    @field_validator("id", "text")
    @classmethod
    def _one_line(cls, value: str) -> str:
        return " ".join(value.split())

    @model_validator(mode="after")
    def _relation(self) -> WrittenRequirement:
        if (self.not_worse_than is None) != (self.baseline is None):
            raise ValueError("not_worse_than and baseline go together: give both, or neither")
        try:
            if self.not_worse_than is None:
                parse_requirement(self.metric)
            else:
                parse_points(self.not_worse_than, "not_worse_than")
        except InputError as error:
            raise ValueError(str(error)) from error
        if self.not_worse_than is not None and any(sign in self.metric for sign in "<>="):
            raise ValueError(f"metric {self.metric!r}: with not_worse_than it is the name of a figure alone")
        return self

    @property
    def relation(self) -> Requirement | None:
        """The relation; None of a margin to a baseline."""
        return None if self.not_worse_than is not None else parse_requirement(self.metric)

    @property
    def margin(self) -> float | None:
        """The margin to the baseline, or None."""
        return None if self.not_worse_than is None else parse_points(self.not_worse_than, "not_worse_than")

    @property
    def shown_metric(self) -> str:
        """The relation in one line."""
        if self.margin is None:
            return self.metric
        return margin_words(self.metric.strip(), self.margin)


class WrittenRequirements(BaseModel):
    """A file of requirements.

    Attributes:
        title: of the document.
        requirement: in the order in which they are shown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field("Requirements", max_length=200)
    requirement: tuple[WrittenRequirement, ...] = Field(min_length=1, max_length=1000)


def read_requirements(file: Path | str) -> WrittenRequirements:
    """Read ``requirements.toml``; a baseline is relative to its folder.

    Raises:
        InputError: no such file, not TOML, a key that is unknown or holds what it may not, or an id that comes twice.
    """
    place = Path(file)
    found = parse_requirements(read_toml(place, f"write one, such as:\n{EXAMPLE}"), place)
    if place.parent == Path():
        return found
    moved = [
        one if one.baseline is None else one.model_copy(update={"baseline": placed(one.baseline, place.parent)})
        for one in found.requirement
    ]
    return found.model_copy(update={"requirement": tuple(moved)})


def parse_requirements(written: Mapping[str, Any], place: Path | str) -> WrittenRequirements:
    """Requirements from what a TOML file holds.

    Args:
        written: tables and values.
        place: the file, for messages.

    Raises:
        InputError: as :func:`read_requirements`.
    """
    if not written.get("requirement"):
        raise InputError(f"{place} holds no requirement; expected one or more such as:\n{EXAMPLE}")
    try:
        found = WrittenRequirements.model_validate(written)
    except ValidationError as error:
        raise InputError("\n".join(_explained(place, one) for one in error.errors()[:_MOST_ERRORS])) from error
    seen: set[str] = set()
    for one in found.requirement:
        if one.id in seen:
            raise InputError(f"{place}: the id {one.id!r} stands at two requirements; give each its own")
        seen.add(one.id)
    return found


def _explained(place: Path | str, error: Mapping[str, Any]) -> str:
    where = list(error["loc"])
    number = next((part for part in where if isinstance(part, int)), None)
    begin = f"{place}" + ("" if number is None else f", requirement {number + 1}")
    keys = [str(part) for part in where if isinstance(part, str) and part != "requirement"]
    if error["type"] == "extra_forbidden":
        known = WrittenRequirements if number is None else WrittenRequirement
        return f"{begin}: {unknown_name('key', keys[-1][:80], known.model_fields)}"
    if error["type"] == "missing":
        return f'{begin}: the key {keys[-1]!r} is missing; write {keys[-1]} = "..."'
    return f"{begin}: {f'{keys[0]}: ' if keys else ''}{refused_value(error)}"
