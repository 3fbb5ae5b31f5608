"""Published strengths as anchor points of a continuous severity.

Severity 0 is the identity, 1 to 5 are the published settings. Between two anchors every parameter is interpolated
linearly (or its reciprocal, see :class:`snellen.methods.corruptions.operators.Parameter`); below severity 1 from the
value at which the operator does nothing, or, where no parameter has one, by fading in the result of severity 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from snellen.core.errors import InputError
from snellen.methods.corruptions.operators import Operator, Parameter

MAX_SEVERITY = 5.0
SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Table:
    """The parameters of one kind of corruption at severities 1 to 5, for square images of one size.

    Attributes:
        side: height and width of the images that it was published for, pixels.
        columns: five values for each parameter of the operator.
        strict: the severities 1 to 5 in the order of their mean change, where that is not the published order.
        jumps: severities after which, up to the next, the nearest anchor is taken: what lies between is another thing.
        augmentation_start: the start of a parameter's range in training, where it is not the value of severity 1.
        augmentation_end: its end, where it is not the value of severity 5.
    """

    side: int
    columns: Mapping[str, tuple[float, ...]]
    strict: tuple[int, ...] = SEVERITIES
    jumps: tuple[int, ...] = ()
    augmentation_start: Mapping[str, float] = field(default_factory=dict)
    augmentation_end: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if sorted(self.strict) != list(SEVERITIES) or any(len(values) != 5 for values in self.columns.values()):
            raise InputError(f"a table has five severities, got {self.columns} in the order {self.strict}")


@dataclass(frozen=True)
class Strength:
    """The parameters at one severity.

    Attributes:
        values: parameters by name.
        mixture: share of the corrupted image in the result; below 1 only where the operator fades in.
        published: whether this is exactly a published setting, for this image size.
    """

    values: Mapping[str, float]
    mixture: float
    published: bool


def check_severity(severity: float, what: str) -> None:
    """Refuse a severity outside of [0, 5].

    Raises:
        InputError: outside, or not a number.
    """
    if not 0 <= severity <= MAX_SEVERITY:
        raise InputError(f"severity of {what} must lie in [0, {MAX_SEVERITY:g}], got {severity!r}")


def strength(table: Table, operator: Operator, severity: float, side: int, *, strict: bool = False) -> Strength:
    """Parameters at a severity in [0, 5], for images whose shorter side is ``side``.

    Args:
        table: the anchors.
        operator: what they are parameters of.
        severity: in [0, 5].
        side: shorter side of the images, pixels; lengths are scaled by it.
        strict: order the published settings by their mean change, so that it grows with the severity.
    """
    check_severity(severity, "a corruption")
    order = table.strict if strict else SEVERITIES
    lower = min(int(severity), 4)
    share = severity - lower
    if lower > 0 and 0 < share < 1 and _apart(table, order[lower - 1], order[lower]):
        share = float(share >= 0.5)
    values = {
        name: _between(operator.parameters[name], column, lower, share, order, side / table.side)
        for name, column in table.columns.items()
    }
    exact = severity == int(severity) and (severity == 0 or order[int(severity) - 1] == severity)
    return Strength(
        values=values,
        mixture=severity if operator.fades and severity < 1 else 1.0,
        published=exact and side == table.side and not operator.own,
    )


def _apart(table: Table, first: int, second: int) -> bool:
    """Whether a jump lies between two published severities."""
    return any(min(first, second) <= jump < max(first, second) for jump in table.jumps)


def _between(
    parameter: Parameter, column: tuple[float, ...], lower: int, share: float, order: tuple[int, ...], scale: float
) -> float:
    def anchor(severity: int) -> float:
        if severity > 0:
            return column[order[severity - 1] - 1] * (scale if parameter.pixels else 1.0)
        return anchor(1) if parameter.identity is None else parameter.identity

    low, high = anchor(lower), anchor(lower + 1)
    if share in {0.0, 1.0}:
        return high if share else low  # free of rounding
    if parameter.reciprocal:
        return 1 / (1 / low + share * (1 / high - 1 / low))
    return low + share * (high - low)
