"""Where reviewers agree, and what becomes of an image: mathematics of decisions alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, TypeAlias

from snellen.desk.decisions import Decision

#: What became of an item: nobody decided, nobody is sure, all who are sure agree, or they differ.
State: TypeAlias = Literal["open", "unsure", "agreed", "disputed"]


@dataclass(frozen=True)
class Settled:
    """What all decisions about one item come to.

    Attributes:
        state: see :data:`State`.
        verdict: on which those agree who are sure; None without any.
        label: the same, of relabelled images.
        reviewers: who decided, also those who are unsure.
    """

    state: State
    verdict: str | None = None
    label: str | None = None
    reviewers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Agreement:
    """How far two reviewers agree, on the items about which both decided.

    Attributes:
        first: name of a reviewer. second: name of the other.
        both: items about which both decided; 0: nothing is known.
        agreed: how many of them alike, the new label included.
        kappa: Cohen's kappa, agreement beyond what their shares of each verdict give by chance, in [−1, 1]; None
            without items, or where both gave one verdict alone (Cohen 1960).
    """

    first: str
    second: str
    both: int
    agreed: int
    kappa: float | None


def settled(decisions: Iterable[Decision]) -> dict[str, Settled]:
    """What becomes of each item: it is changed where all who are sure agree, and left as it is where they differ.

    >>> ada, ben = Decision("a", "Ada", "relabel", "cat"), Decision("a", "Ben", "relabel", "dog")
    >>> settled([ada])["a"].label, settled([ada, ben])["a"].state
    ('cat', 'disputed')
    """
    by_item: dict[str, list[Decision]] = {}
    for one in decisions:
        by_item.setdefault(one.item, []).append(one)
    return {item: _settled(found) for item, found in by_item.items()}


def _settled(found: Sequence[Decision]) -> Settled:
    names = tuple(dict.fromkeys(one.reviewer for one in found))
    sure = {(one.verdict, one.label) for one in found if one.verdict != "unsure"}
    if not sure:
        return Settled("unsure", reviewers=names)
    if len(sure) > 1:
        return Settled("disputed", reviewers=names)
    ((verdict, label),) = sure
    return Settled("agreed", verdict, label, names)


def agreements(decisions: Sequence[Decision]) -> list[Agreement]:
    """How far each two reviewers agree.

    >>> found = [Decision(item, name, verdict) for name, verdicts in (("Ada", "kkdd"), ("Ben", "kddd"))
    ...          for item, verdict in zip("abcd", ({"k": "keep", "d": "drop"}[v] for v in verdicts))]
    >>> agreements(found)
    [Agreement(first='Ada', second='Ben', both=4, agreed=3, kappa=0.5)]
    """
    answers: dict[str, dict[str, tuple[str, str | None]]] = {}
    for one in decisions:
        answers.setdefault(one.reviewer, {})[one.item] = (one.verdict, one.label)
    return [_agreement(a, b, answers[a], answers[b]) for a, b in combinations(sorted(answers), 2)]


def _agreement(
    first: str, second: str, one: dict[str, tuple[str, str | None]], other: dict[str, tuple[str, str | None]]
) -> Agreement:
    both = sorted(set(one) & set(other))
    agreed = sum(one[item] == other[item] for item in both)
    if not both:
        return Agreement(first, second, 0, 0, None)
    n = len(both)
    categories = {one[item] for item in both} | {other[item] for item in both}
    chance = sum(
        sum(one[item] == category for item in both) * sum(other[item] == category for item in both)
        for category in categories
    ) / (n * n)
    kappa = None if chance == 1 else (agreed / n - chance) / (1 - chance)
    return Agreement(first, second, n, agreed, kappa)
