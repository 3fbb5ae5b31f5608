"""docs/systems/claims.md: for every claim its source, baseline, controls, gates, and the outcome that refutes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snellen.core.system import Claim, Gate, Headline, System, list_systems
from snellen.reproduction.shared.documents import markdown_table

#: So many controls are named; the file of the claims names all.
CONTROLS = 3

HEAD = ["", "claim", "source", "figure", "baseline", "controls", "gates", "refuted if"]


def refuted_if(claim: Claim) -> str:
    """The outcome that refutes a claim, as :mod:`snellen.reproduction.judge` decides it: it *fails*.

    >>> refuted_if(Claim(id="1", statement="", source="", metric="a", baseline="b", direction=">", threshold=0.1))
    'it exceeds the baseline by less than 0.1: the whole interval lies below 0.1'
    """
    side = "below" if claim.direction == ">" else "above"
    return f"{_refuting(claim)}: the whole interval lies {side} {_number(claim.threshold)}"


def _refuting(claim: Claim) -> str:
    size = _number(abs(claim.threshold))
    if claim.baseline is None:
        return f"it is {'less' if claim.direction == '>' else 'more'} than {_number(claim.threshold)}"
    if claim.threshold == 0:
        return f"it is {'smaller' if claim.direction == '>' else 'larger'} than the baseline"
    if claim.direction == ">":
        above, below = f"it exceeds the baseline by less than {size}", f"it is more than {size} below the baseline"
    else:
        above, below = f"it exceeds the baseline by more than {size}", f"it is less than {size} below the baseline"
    return above if claim.threshold > 0 else below


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def claims_page(systems: Sequence[System]) -> str:
    """The page between its markers: what there is in all, then a section for each system."""
    claims = [claim for system in systems for claim in system.claims]
    headlines = [headline for system in systems for headline in system.headlines]
    lone = sum(claim.baseline is None for claim in claims)
    untested = sum(bool(headline.untested) for headline in headlines)
    small = {claim.id for claim in claims if "small" in claim.scales}
    later = sum(bool(headline.claims) and not small & set(headline.claims) for headline in headlines)
    counts = (
        f"{len(claims)} claims of {len(systems)} systems. {lone} of them have no baseline: a fixed number decides. "
        f"{sum(not claim.controls for claim in claims)} have no control. Of {len(headlines)} headline claims of the "
        f"papers {len(headlines) - untested - later} are tested by claims at small scale, {later} by claims at full "
        f"scale alone, which were not run, and {untested} by none."
    )
    return "\n\n".join([counts, *map(_section, systems)])


def _section(system: System) -> str:
    parts = [
        f"## {system.number} {system.acronym}",
        f"[{system.title}]({system.name}.md): {system.state}.",
        "\n".join(["The paper claims first:", "", *map(_headline, range(1, 100), system.headlines)]),
    ]
    if system.gates:
        gates = [
            f"- `{gate.id}`: {gate.statement} (`{gate.metric}` {gate.direction} {_number(gate.threshold)}{_only(gate)})"
            for gate in system.gates
        ]
        parts.append("\n".join(["Gates:", "", *gates]))
    else:
        parts.append("Gates: none.")
    parts.append(markdown_table(HEAD, [_row(system, claim) for claim in system.claims], ["---"] * len(HEAD)))
    if system.dropped:
        struck = [f"- {name}: {reason}" for name, reason in system.dropped.items()]
        parts.append("\n".join(["Struck out:", "", *struck]))
    return "\n\n".join(parts)


def _headline(number: int, headline: Headline) -> str:
    how = f"Tested by {', '.join(headline.claims)}." if headline.claims else f"*Not tested.* {headline.untested}"
    return f"- **H{number}** {headline.statement} {how}"


def _only(gate: Gate) -> str:
    """At which scale alone a gate guards, as claims are marked; nothing where it guards at both."""
    return "" if set(gate.scales) >= {"small", "full"} else f", {gate.scales[0]} only"


def _row(system: System, claim: Claim) -> list[str]:
    first = [f"H{number}" for number, one in enumerate(system.headlines, 1) if claim.id in one.claims]
    return [
        claim.id
        + (f" **{', '.join(first)}**" if first else "")
        + ("" if "small" in claim.scales else " (full)")
        + (" *amended*" if claim.amended else ""),
        claim.statement,
        claim.source,
        f"`{claim.metric}`",
        "none" if claim.baseline is None else f"`{claim.baseline}`",
        _named(claim.controls),
        ", ".join(f"`{gate}`" for gate in claim.gates) or "none",
        refuted_if(claim),
    ]


def _named(controls: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in controls[:CONTROLS])
    more = len(controls) - CONTROLS
    return f"{shown} and {more} more" if more > 0 else shown or "none"


def _page(root: Path) -> str:
    return claims_page(list_systems())


TABLES = {"docs/systems/claims.md": {"claims": _page}}
