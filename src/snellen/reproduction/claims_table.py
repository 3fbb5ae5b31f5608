"""What was recorded of a system's claims, as Markdown for its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from snellen.core.system import JUDGE, find_system
from snellen.reproduction.result import ClaimResult, GateResult, Result
from snellen.reproduction.shared.documents import markdown_table


def claims_table(name: str, results: Path) -> str:
    """The recorded result of one system, or a line that nothing is recorded.

    Args:
        name: of the system.
        results: folder with ``NAME.json``.
    """
    path = results / f"{name}.json"
    if not path.is_file():
        return "Nothing is recorded yet."
    system = find_system(name)
    result = Result.model_validate_json(path.read_text(encoding="utf-8"))
    seeds = "1 seed" if result.seeds == 1 else f"{result.seeds} seeds"
    controls = ", ".join(
        f"{control} {'missing' if value is None else f'{value:.4f}'}" for control, value in result.controls.items()
    )
    parts = [
        f"Scale {result.scale}, {seeds}, state: {system.state}. The interval is that of ours, or of "
        f"ours − baseline where there is one. {_rule(result, system.state)}",
        *([_gates(result.gates)] if result.gates else []),
        _claims([one for one in result.claims if one.id not in system.dropped]),
        *_struck([one for one in result.claims if one.id in system.dropped], system.dropped),
        *([f"Controls, which decide nothing ([whose they are](claims.md)): {controls}."] if controls else []),
        *([f"Stand-ins: {'; '.join(result.stand_ins)}."] if result.stand_ins else []),
    ]
    return "\n\n".join(parts)


def _struck(claims: Sequence[ClaimResult], reasons: Mapping[str, str]) -> list[str]:
    """Claims that were struck out after the record, with its verdicts on them."""
    if not claims:
        return []
    lines = [f"- {one.id}, recorded as *{one.verdict}*: {one.statement} **Why:** {reasons[one.id]}" for one in claims]
    return ["\n".join(["Struck out after this record, and not counted:", "", *lines])]


def _rule(result: Result, state: str) -> str:
    """How the record was judged, and whether it counts."""
    if result.judge < JUDGE:
        rule = "Judged by the earlier rule: a t interval over the means of the seeds."
        over = " These verdicts are of the experiment of that time, and do not count for today's claims."
        return rule + (over if state == "not run" else "")
    return (
        f"Judged over the seeds {', '.join(map(str, result.seed_ids))}: a paired hierarchical bootstrap over seeds and "
        f"images, or a t interval where a seed gives one number."
    )


def _gates(gates: Sequence[GateResult]) -> str:
    rows = [
        [
            gate.id,
            gate.statement,
            "" if gate.value is None else f"{gate.value:.4f}",
            f"{gate.direction} {gate.threshold:g}",
            "open" if gate.open else "**closed**",
        ]
        for gate in gates
    ]
    return markdown_table(["", "gate", "mean", "must be", "state"], rows, ["---", "---", "---:", "---", "---"])


def _claims(claims: Sequence[ClaimResult]) -> str:
    rows = [
        [
            claim.id,
            claim.statement,
            claim.source,
            "" if claim.ours is None else f"{claim.ours:.4f}",
            "" if claim.baseline is None else f"{claim.baseline:.4f}",
            "" if claim.low is None or claim.high is None else f"{claim.low:.4f} – {claim.high:.4f}",
            f"{claim.direction} {claim.threshold:g}",
            _verdict(claim),
        ]
        for claim in claims
    ]
    head = ["", "claim", "source", "ours", "baseline", "95 % interval", "must be", "verdict"]
    return markdown_table(head, rows, ["---", "---", "---", "---:", "---:", "---", "---", "---"])


def _verdict(claim: ClaimResult) -> str:
    """The verdict; with its reason where the figures beside it do not show it."""
    verdict = claim.verdict if claim.holds else f"**{claim.verdict}**"
    hidden = claim.reason if claim.low is None or claim.verdict == "not run" else ""
    return f"{verdict} ({hidden})" if hidden else verdict
