"""What may be recorded: checked before anything is run, so that no work is done for nothing and no result is lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from snellen.core.errors import InputError
from snellen.core.system import JUDGE, Record, Scale, System, read_record
from snellen.reproduction.seed_file import SeedFile


def check_recordable(
    system: System, scale: Scale, target: Path, seeds: Sequence[SeedFile] = (), code_hash: str = ""
) -> tuple[int, ...]:
    """Refuse what may not be recorded in ``target``; returns the seeds that earlier records used.

    Args:
        system: with its claims and budget.
        scale: of the record.
        target: where it will be written.
        seeds: seed files that lie beside it.
        code_hash: of the experiment as it is now.

    Raises:
        InputError: the scale is smoke; ``target`` is not a recorded result; its claims were changed without a reason;
            it holds a result at full scale that one at small scale would replace; or claims, budget or code changed and
            the seeds of the budget were used before.
    """
    if scale == "smoke":
        raise InputError(
            "a smoke run proves nothing that is recorded, since it runs all stages on random weights; record nothing, "
            "or choose the scale small or full"
        )
    before = read_record(target) if target.is_file() else None
    if before is not None:
        _check_amendments(system, before, target)
        if before.scale == "full" and scale != "full" and before.plan_hash in system.plans("full"):
            raise InputError(
                f"{target} holds the result of these claims at full scale, which one at scale {scale} would replace; "
                f"move {target} to another folder first, or run at full scale"
            )
    spent = set(_spent(before, system, code_hash))
    spent |= {one.seed for one in seeds if not _same(one, system, code_hash)}
    if used := sorted(spent & set(system.budget.range)):
        raise InputError(
            f"the claims, the budget or the code of {system.name} changed after the seeds {_listed(used)} were looked "
            f"at; set first_seed = {max(spent) + 1} in [budget] of reproduction/{system.name}/claims.toml, so that the "
            f"record has fresh ones"
        )
    return tuple(sorted(spent))


def _spent(before: Record | None, system: System, code_hash: str) -> Iterable[int]:
    """Seeds of the record before, unless it is of the same claims, budget and code."""
    if before is None:
        return ()
    same = before.judge == JUDGE and _same(before, system, code_hash)
    return before.spent if same else (*before.spent, *before.seed_ids)


def _same(made: Record | SeedFile, system: System, code_hash: str) -> bool:
    """Whether a record or a seed is of the claims, the budget and the code as they are."""
    return made.plan_hash in system.plans(made.scale) and made.code_hash == code_hash


def _check_amendments(system: System, before: Record, target: Path) -> None:
    """A claim that changed since the record needs a reason of its own, and a recorded reason stays.

    A new claim needs one as well, since figures were seen before it; not at another scale, where none were.
    """
    silent = []
    for claim in system.claims:
        recorded = before.amendments.get(claim.id)
        unseen = claim.id not in before.claim_hashes and before.scale not in claim.scales
        changed = not unseen and before.claim_hashes.get(claim.id) != claim.hash
        if (changed and claim.amended in (None, recorded)) or (recorded is not None and claim.amended is None):
            silent.append(claim.id)
    dropped = sorted(set(before.claim_hashes) - {claim.id for claim in system.claims} - set(system.dropped))
    if silent or dropped:
        raise InputError(
            f"the claims of system {system.number} differ from those recorded in {target} "
            f"(changed without a new 'amended' reason, or a recorded one taken away: {', '.join(silent) or 'none'}; "
            f"dropped: {', '.join(dropped) or 'none'}); write the reason into the claim, or for a dropped one below "
            f"[dropped] in claims.toml, or restore it"
        )


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return f"{shown}, …" if len(numbers) > 5 else shown
