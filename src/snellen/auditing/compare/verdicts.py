"""Which differences are believed, and the word for each."""

from __future__ import annotations

from collections.abc import Sequence

from snellen.auditing.compare.comparison import FigureVerdict, FindingVerdict
from snellen.auditing.compare.difference import Difference
from snellen.metrics.multiplicity import benjamini_hochberg

#: False discovery rate among the losses that are told, and among the gains: 5 % together.
RATE = 0.025

#: "Same": the whole 95 % interval lies within plus or minus this; two points of accuracy.
MARGIN = 0.02


def believed(losses: Sequence[float], gains: Sequence[float]) -> tuple[list[bool], list[bool]]:
    """Which are losses, and which are gains.

    Losses are judged among all possible losses and gains among all possible gains (Benjamini and Hochberg 1995,
    one-sided p values, at 2.5 % each). So gains, however many, make no false loss more likely: where nothing was lost,
    any loss is told in at most 2.5 % of comparisons, which is what a gate needs.

    >>> believed([0.001, 0.6], [0.999, 0.4])
    ([True, False], [False, False])

    Args:
        losses: p values of "nothing was lost", of all differences that were tested together.
        gains: those of "nothing was gained", in the same order.
    """
    return benjamini_hochberg(losses, RATE).tolist(), benjamini_hochberg(gains, RATE).tolist()


def figure_verdict(difference: Difference, *, lost: bool, gained: bool, margin: float) -> FigureVerdict:
    """The word for a figure: no difference that is believed is "same" only where a large one is excluded."""
    if lost or gained:
        return "worse" if lost else "better"
    return "same" if is_same(difference, margin) else "unclear"


def is_same(difference: Difference, margin: float) -> bool:
    """Whether not one image differs, or the whole interval lies within the margin."""
    return difference.identical or (difference.low >= -margin and difference.high <= margin)


def finding_verdict(
    difference: Difference | None, *, before: bool, after: bool, lost: bool, gained: bool, margin: float
) -> FindingVerdict:
    """The word for a finding.

    What counts is the quantity behind it. A finding that is no longer told, though its quantity cannot be shown to have
    fallen, is unclear: the second run may just have seen too few images.

    Args:
        difference: of the quantity; None where it could not be measured in both.
        before: whether the first run told it.
        after: whether the second did.
        lost: the quantity rose for certain.
        gained: it fell for certain.
        margin: of "same".
    """
    if difference is None:
        return "unclear"
    if lost:
        return "worse" if before else "new"
    if gained:
        return "better" if after else "mended"
    return "same" if before and after and is_same(difference, margin) else "unclear"
