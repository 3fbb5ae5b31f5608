"""What a report advises to do: which findings are treated by what, in which order, and what that costs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from snellen.checks.treatments import IN_FOLDER, ladder
from snellen.core.finding import Finding


@dataclass(frozen=True)
class Advice:
    """What is tried against the findings of one kind.

    Attributes:
        kind: of the findings.
        findings: how many there are that are more than a note.
        at_stake: the largest of their harms, beyond what healthy classifiers lose: what can be gained at most.
        treatments: names, in the order in which they are tried.
        passes: over the training images that all of them cost together, about; 0: none is needed.
    """

    kind: str
    findings: int
    at_stake: float
    treatments: tuple[str, ...]
    passes: float


def advised(findings: Sequence[Finding], *, several: bool = False) -> tuple[Advice, ...]:
    """What can be treated, in the order of the findings, of a model of one class or ``several`` labels an image.

    >>> fog = Finding(kind="corruption", subject="fog", harm=0.3, title="Fog costs 33 points")
    >>> [(one.kind, one.findings, one.at_stake) for one in advised([fog])]
    [('corruption', 1, 0.3)]
    """
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        # Advice without a command, such as that on segmenters, is no treatment.
        commands = [one for one in finding.treatments if one.startswith(IN_FOLDER)]
        if finding.level != "note" and (commands or not finding.treatments):
            kinds.setdefault(finding.kind, []).append(finding)
    found = []
    for kind, members in kinds.items():
        tried = ladder(kind, several=several)
        if tried:
            most = max(one.excess for one in members)
            names = tuple(one.name for one in tried)
            found.append(Advice(kind, len(members), most, names, sum(one.passes for one in tried)))
    return tuple(found)


def whole_command(findings: Sequence[Finding]) -> str | None:
    """The command that treats all of it, in the folder of the report; None where there is nothing to treat."""
    commands = [
        command
        for finding in findings
        if finding.level != "note"
        for command in finding.treatments
        if command.startswith(IN_FOLDER)
    ]
    return re.sub(r" --finding (?:'[^']*'|\S+)", "", commands[0]) if commands else None
