"""Margins within which the later of two audits may be worse: as people write them, and what came out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict, Field

from snellen.auditing.compare.requirement import MORE_IMAGES, Verdict
from snellen.core.errors import InputError

_FORM = re.compile(r"\s*(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>pts?|points?)?\s*")


def parse_points(given: str | float, what: str) -> float:
    """Read ``1pt`` or ``0.01``.

    >>> parse_points("1pt", "margin"), parse_points("0.5 points", "margin"), parse_points(0.02, "margin")
    (0.01, 0.005, 0.02)

    Args:
        given: a number, or a text.
        what: it is, for messages.

    Returns:
        A number between 0 and 1.

    Raises:
        InputError: another form, zero or less, or one or more, which is mostly meant as points.
    """
    if isinstance(given, str):
        form = _FORM.fullmatch(given)
        if form is None:
            hint = "; a percentage may be of the figure or of all images" if "%" in given else ""
            raise InputError(f"{what} {given!r}: expected points such as 1pt, or a number such as 0.01{hint}")
        value = float(form["number"]) / (100 if form["unit"] else 1)
    else:
        value = float(given)
    if not value > 0:  # nor NaN
        raise InputError(f"{what} {given!r}: expected more than zero, such as 1pt (which is 0.01)")
    if value >= 1:
        raise InputError(f"{what} {given!r} is {value:g}: write 1pt for one point, or a number below 1 such as 0.01")
    return value


#: Stands for the figure that a margin alone is about, until the task is known.
LEADING = ""

_NAMED = re.compile(r"\s*(?P<name>[^=<>\s][^=<>]*?)\s*=\s*(?P<margin>[^=]+)")


class NotWorse(BaseModel):
    """A figure of the later run, the margin within which it may be worse, and whether it is shown to lie within.

    Attributes:
        name: of the figure, as in report.json.
        margin: how much worse it may be.
        first: value in the earlier run; null where it was not measured.
        second: likewise in the later one.
        high: upper end of the interval.
        n: images that were compared.
        paired: whether each image is compared with itself.
        reason: why it was not measured; null where it was.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    margin: float
    first: float | None = None
    second: float | None = None
    loss: float | None = Field(None, description="how much worse the later run is; negative: better")
    low: float | None = Field(None, description="95 % interval of the loss")
    high: float | None = None
    p_value: float | None = Field(None, description="one-sided, of a loss of the margin or more; null where unknown")
    n: int = 0
    paired: bool = False
    verdict: Verdict = Field(description="met: the loss is less than the margin; not met: it is more")
    reason: str | None = None

    @property
    def words(self) -> str:
        """What was seen, in words."""
        if self.loss is None or self.high is None:
            return self.reason or "not measured"
        how = "each image with itself" if self.paired else "not paired"
        low = "–∞" if self.low is None else f"{self.low:+.4f}"
        return (
            f"the loss is {self.loss:+.4f} ({low} to {self.high:+.4f}), the margin {self.margin:g} "
            f"({self.n} images, {how})" + (MORE_IMAGES if self.verdict == "undecided" else "")
        )

    def __str__(self) -> str:
        return margin_words(self.name, self.margin)


def margin_words(name: str, margin: float) -> str:
    """What a margin requires, whichever side of the figure is better.

    >>> margin_words("calibration.ece", 0.02)
    'calibration.ece less than 0.02 worse than the baseline'
    """
    return f"{name} less than {margin:g} worse than the baseline"


def parse_margins(given: str | float | Iterable[str] | Mapping[str, float | str] | None) -> dict[str, float]:
    """Margins by figure: ``1pt`` of the leading figure, ``METRIC=1pt`` of another.

    >>> parse_margins("1pt"), parse_margins(["discrimination.auroc=0.02"])
    ({'': 0.01}, {'discrimination.auroc': 0.02})

    Raises:
        InputError: another form, or two margins of one figure.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return {str(name): parse_points(margin, f"margin of {name}") for name, margin in given.items()}
    found: dict[str, float] = {}
    for one in [given] if isinstance(given, str | float | int) else given:
        named = _NAMED.fullmatch(one) if isinstance(one, str) else None
        name = LEADING if named is None else named["name"]
        if name in found:
            raise InputError(f"two margins came for {name or 'the accuracy'}; give one")
        found[name] = parse_points(one if named is None else named["margin"], "margin")
    return found
