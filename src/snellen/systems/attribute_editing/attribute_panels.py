"""Tables of edits: what each costs, and on which attribute each image depends most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from snellen.checks.panels import Panel
from snellen.systems.attribute_editing.attribute_loss import CONTROL, AttributeLosses
from snellen.systems.attribute_editing.published import Attribute


def edits_panel(check: str, losses: AttributeLosses, severity: float) -> Panel:
    """A row for each edit and the control: accuracy, drop, test, and what is lost beyond the control.

    Args:
        check: its name.
        losses: of the images.
        severity: the largest one, at which accuracy and drop are told.
    """
    rows = []
    for kind in losses.right:
        drop, beyond = losses.drop(kind), losses.lost_measured([kind])
        own = kind == CONTROL
        cells = ("", "", "") if own else tuple(round(cell, 4) for cell in (beyond.value, beyond.low, beyond.high))
        told = "" if own else "< 0.0001" if drop.p_value < 1e-4 else f"{drop.p_value:.2g}"
        rows.append((kind.replace("_", " "), round(drop.edited, 4), round(drop.drop, 4), told, *cells))
    return Panel(
        check=check,
        title="The same objects, edited",
        about=f"Of {len(losses.known)} images that every edit could be made of, {losses.known.correct.mean():.1%} are "
        f"right unedited. Drop: what is lost of that at severity {severity:g}, and its p value (McNemar, or by units). "
        f"Inver puts the object back as it was: what it loses, editing costs. Beyond inver: mean over the severities, "
        f"with the 95 % interval.",
        head=("edit", "accuracy", "drop", "p", "beyond inver", "from", "to"),
        rows=tuple(rows),
    )


def worst_panel(
    check: str,
    losses: AttributeLosses,
    worst: Sequence[Attribute | None],
    lost_by: Sequence[Sequence[Attribute]],
) -> Panel:
    """A row for each attribute: for how many images it matters.

    Args:
        check: its name.
        losses: of the n images.
        worst: the attribute of each image whose edits make its class least likely, (n,).
        lost_by: the attributes of which an edit makes its decision wrong, (n,).
    """
    lost = Counter(attribute for by in lost_by for attribute in by)
    alone = Counter(by[0] for by in lost_by if len(by) == 1)
    least = Counter(worst)
    return Panel(
        check=check,
        title="The attribute that each image depends on most",
        about=f"Of the {int(losses.known.correct.sum())} images that are right unedited: for how many an edit of the "
        f"attribute makes the decision wrong, for how many of no other attribute does, and for how many it makes the "
        f"class least likely.",
        head=("attribute", "lost by it", "by it alone", "worst for"),
        rows=tuple((one, lost[one], alone[one], least[one]) for one in losses.attributes),
    )
