"""Changes of an earlier audit, tried without a search: what each of them still does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from snellen.systems.smooth_inversion.kept_changes import KeptChange
from snellen.systems.smooth_inversion.transfer import Transfer


@dataclass(frozen=True, eq=False)
class TriedChange:
    """One change, on the images of this audit.

    Attributes:
        change: as it was kept.
        effect: on images of other classes.
        moved: ids of the images that it alone sends to the class, and what they are taken for without it.
        towards: changes towards the same class, this one included: the strongest of so many is reported.
    """

    change: KeptChange
    effect: Transfer
    moved: Mapping[str, str]
    towards: int = 1

    def p_value(self, tolerated: float) -> float:
        """Of the exact test that the change sends no more than ``tolerated``, over all changes towards the class.

        A class that the search did not report is not reported now, for any effect of its change: 1.
        """
        return min(self.towards * self.effect.p_value(tolerated), 1.0) if self.change.stands_out else 1.0

    def harm(self, confidence: float, share: float) -> float:
        """One-sided lower bound of the images that are lost, where images of other classes are a share of them."""
        return share * self.effect.harm(1 - (1 - confidence) / self.towards)


def strongest_changes(changes: Sequence[KeptChange], rows: Sequence[Mapping[str, object]]) -> list[TriedChange]:
    """Of each class the change that sends most, the strongest first.

    Args:
        changes: that were tried.
        rows: of :func:`~snellen.systems.smooth_inversion.kept_changes.try_changes`.
    """
    found = dict[str, list[TriedChange]]()
    for one in changes:
        own = [row for row in rows if row["change"] == one.key]
        sent = [row for row in own if row["with"] == one.target]
        moved = {str(row["id"]): str(row["without"]) for row in sent if row["without"] != one.target}
        effect = Transfer(sent=len(sent), already=len(sent) - len(moved), counted=len(own))
        if own:
            found.setdefault(one.target, []).append(TriedChange(one, effect, moved))
    best = []
    for tried in found.values():
        # A class that was reported is judged by the changes that were.
        reported = [one for one in tried if one.change.stands_out] or tried
        first = max(reported, key=lambda one: one.effect.rate)
        best.append(TriedChange(first.change, first.effect, first.moved, len(reported)))
    return sorted(best, key=lambda one: -one.effect.rate)
