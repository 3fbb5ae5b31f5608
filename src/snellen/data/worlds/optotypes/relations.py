"""Where one object is, seen from another."""

from __future__ import annotations

from typing import Literal, get_args

from snellen.data.worlds.optotypes.factors import RELATION_RATIO

Relation = Literal["left of", "right of", "above", "below"]

RELATIONS: tuple[Relation, ...] = get_args(Relation)

#: What the second object is to the first, when the first is this to the second.
INVERSE: dict[Relation, Relation] = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def relation_of(first: tuple[float, float], second: tuple[float, float]) -> Relation | None:
    """Relation of a first place (x, y) to a second one; None where it lies too near a diagonal to be told.

    Args:
        first: x to the right and y downwards.
        second: the same.

    >>> relation_of((-0.5, 0.0), (0.5, 0.1)), relation_of((0.0, 0.0), (0.0, -0.5)), relation_of((0.0, 0.0), (1.0, 1.0))
    ('left of', 'below', None)
    """
    right, down = first[0] - second[0], first[1] - second[1]
    if abs(right) > RELATION_RATIO * abs(down):
        return "right of" if right > 0 else "left of"
    if abs(down) > RELATION_RATIO * abs(right):
        return "below" if down > 0 else "above"
    return None
