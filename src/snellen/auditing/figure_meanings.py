"""What each figure of an audit is: definition, formula, unit, range, better side, interval, and where it is computed.

Those of the audit's own checks stand in ``checks/figures.toml``, those of published systems in their ``system.toml``.
``docs/metrics.md`` is made of them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from snellen.core import index, package

_OWN = "auditing/checks/figures.toml"

#: Table of the file that holds the kinds of intervals.
_INTERVALS = "intervals"

#: Words in capitals stand for what an audit puts there.
_PLACEHOLDER = re.compile(r"[A-Z]{2,}")

Better = Literal["more", "less", "neither"]


class IntervalKind(BaseModel):
    """How the 95 % interval of a figure is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field(description="what it is an interval of")
    text: str = Field(description="how it is made")
    function: str | None = Field(None, description="module.function that makes it")
    source: str | None = Field(None, description="authors and year")


class Meaning(BaseModel):
    """What a figure is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="with words in capitals for what an audit puts there, such as corruption.KIND.error")
    meaning: str = Field(description="one or two sentences")
    formula: str = Field(description="plain text")
    unit: str
    range: str = Field(description="values that it can take")
    better: Better = Field(description="the better side")
    interval: str = Field(description="kind of its interval")
    function: str = Field(description="module.name that computes it")
    source: str | None = Field(None, description="authors and year; None for what needs no reference")

    @property
    def check(self) -> str:
        """The first part of its name: the check that gives it."""
        return self.name.partition(".")[0]

    def fits(self, name: str) -> bool:
        """Whether a figure of this name is meant."""
        return _form(self.name).fullmatch(name) is not None


@cache
def interval_kinds() -> Mapping[str, IntervalKind]:
    """All kinds of intervals, by their names."""
    return {name: IntervalKind(**row) for name, row in _own()[_INTERVALS].items()}


@cache
def meanings() -> Mapping[str, Meaning]:
    """All meanings, by the names of their figures, in the order of the file; those of systems last.

    >>> meanings()["clean.accuracy"].better
    'more'
    """
    rows: dict[str, Mapping[str, object]] = {name: row for name, row in _own().items() if name != _INTERVALS}
    for check in index.checks().values():
        rows |= {f"{check.name}.{rest}": row for rest, row in check.meanings.items()}
    return {name: Meaning.model_validate({"name": name, **row}) for name, row in rows.items()}


def meaning_of(name: str) -> Meaning | None:
    """What a figure is; None for a name that no figure of the package has.

    Figures of several labels an image hold the label behind the check, and a side of it: they mean what the figure
    without these parts does, on those images.

    >>> meaning_of("corruption.fog.3.accuracy").name, meaning_of("calibration.effusion.ece").name
    ('corruption.KIND.SEVERITY.accuracy', 'calibration.ece')
    >>> meaning_of("clean.acuracy") is None
    True
    """
    return _most_literal(name, by_label=False) or _most_literal(name, by_label=True)


def may_be_given(name: str) -> bool:
    """Whether the check of a figure may give one of this name; of a check from elsewhere any.

    >>> may_be_given("segmentation.class.road.iou"), may_be_given("segmentation.miouu"), may_be_given("mine.x")
    (True, False, True)
    """
    check = index.checks().get(name.partition(".")[0])
    return check is None or check.registered is not None or meaning_of(name) is not None


def meanings_of(names: Iterable[str]) -> list[Meaning]:
    """What figures are, each meaning once, in the order in which they come; names without one are left out.

    >>> [one.name for one in meanings_of(["corruption.fog.1.accuracy", "corruption.fog.2.accuracy", "clean.accuracy"])]
    ['corruption.KIND.SEVERITY.accuracy', 'clean.accuracy']
    """
    return list(dict.fromkeys(found for name in names if (found := meaning_of(name)) is not None))


def _most_literal(name: str, *, by_label: bool) -> Meaning | None:
    fitting = [
        one
        for one in meanings().values()
        if (_of_label(one.name).fullmatch(name) and _has_labels(one.check) if by_label else one.fits(name))
    ]
    return max(fitting, key=lambda one: len(_PLACEHOLDER.sub("", one.name)), default=None)


@cache
def _form(name: str) -> re.Pattern[str]:
    """Names that fit; what stands in a placeholder may hold dots, as 0.5 does."""
    return re.compile(".+".join(map(re.escape, _PLACEHOLDER.split(name))))


@cache
def _of_label(name: str) -> re.Pattern[str]:
    check, _, rest = name.partition(".")
    return re.compile(rf"{re.escape(check)}\..+(\.present|\.absent)?\.{_form(rest).pattern}")


@cache
def _has_labels(check: str) -> bool:
    """Whether the check gives its figures label by label where images have several."""
    return check in index.checks() and index.checks()[check].load().several in ("each", "sides", "apart")


@cache
def _own() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    return tomllib.loads(package.text(_OWN))
