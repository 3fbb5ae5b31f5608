"""What a finding of a family of damage says: the worst kind, where it breaks the classifier down, the kinds inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from snellen.checks.damage_families import FamilyLoss, KindLoss, readable
from snellen.checks.eye_chart import Acuity
from snellen.checks.usual_losses import UsualLoss, healthy_words
from snellen.methods.corruptions.domains import Domain

Facts = dict[str, float | int | str]


def family_title(family: FamilyLoss, usual: Mapping[str, UsualLoss]) -> str:
    """The worst kind, what it costs, and the severity at which it breaks the classifier down, with its interval.

    Where another kind costs more, and that is usual, it is named too: gates count it.
    """
    worst, most = family.worst, family.costliest
    cost = f"{_cost(worst)} points of accuracy on average over the severities{healthy_words(usual.get(worst.kind))}"
    words = f"{readable(family.name)}: {cost}"
    if worst.acuity is not None:  # of a guessing classifier, and of images of one class, there is none
        words += f"; {breakdown_words(worst.acuity)}"
    if most.kind == worst.kind or most.lost.mean <= worst.lost.mean:
        return words
    return f"{words}. {_cost(most)[0].upper()}{_cost(most)[1:]}{healthy_words(usual.get(most.kind))}"


def _cost(one: KindLoss) -> str:
    verb = "cost" if one.kind == "characters" else "costs"
    return f"{_lower(one.kind)} {verb} {100 * one.lost.mean:.1f}"


def not_compared_note(kinds: Sequence[str]) -> list[str]:
    """Which kinds no healthy classifiers were measured under; nothing where there are none."""
    if not kinds:
        return []
    return [
        f"It is not known what healthy classifiers of like images lose under {', '.join(kinds)} at these strengths. In "
        f"the levels of findings all that they cost counts, though healthy classifiers may lose as much."
    ]


def breakdown_words(acuity: Acuity) -> str:
    """Where a fifth of the accuracy above chance is lost.

    >>> breakdown_words(Acuity(value=1.84, low=1.7, high=2.0, censored=False))
    'it breaks down at severity 1.8 (1.7 to 2.0)'
    >>> breakdown_words(Acuity(value=5, low=4.6, high=5, censored=True))
    'it still reads at severity 5 (from 4.6 on that is not certain)'
    """
    if acuity.censored:
        sure = "" if acuity.low >= acuity.value else f" (from {acuity.low:.1f} on that is not certain)"
        return f"it still reads at severity {acuity.value:g}{sure}"
    digits = 2 if f"{acuity.low:.1f}" == f"{acuity.high:.1f}" else 1
    value, low, high = (f"{number:.{digits}f}" for number in (acuity.value, acuity.low, acuity.high))
    return f"it breaks down at severity {value} ({low} to {high})"


def family_facts(family: FamilyLoss, fitted: Domain) -> Facts:
    """The family, its kinds by cost, and the breakdown of the worst one: severity, or "never" up to the last."""
    worst, acuity = family.worst, family.worst.acuity
    found: Facts = {
        "family": family.name,
        "kinds": ", ".join(_of_kind(one) for one in sorted(family.kinds, key=lambda one: -one.lost.mean)),
        "mean_drop_of_family": family.mean,
        "plausibility": fitted.fits[worst.kind].plausibility if worst.kind in fitted.fits else "usual",
    }
    if acuity is not None:
        found |= {
            "breakdown_severity": "never" if acuity.censored else acuity.value,
            "breakdown_low": acuity.low,
            "breakdown_high": "never" if acuity.censored else acuity.high,
        }
    return found


def kinds_found(family: FamilyLoss, confidence: float) -> str:
    """The kinds that are found to cost accuracy, with commas; "none" where the family is found only as a whole."""
    return ", ".join(one.kind for one in family.found(confidence)) or "none"


def _of_kind(one: KindLoss) -> str:
    ends = "" if one.acuity is None or one.acuity.censored else f" (breakdown {one.acuity.value:.1f})"
    return f"{one.kind} {100 * one.lost.mean:.1f}{ends}"


def _lower(kind: str) -> str:
    words = readable(kind)
    return words if words.startswith(("JPEG", "NRTK")) else words[0].lower() + words[1:]
