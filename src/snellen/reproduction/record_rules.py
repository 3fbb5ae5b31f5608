"""What may be recorded: checked before anything is run, so that no work is done for nothing and no result is lost."""

from __future__ import annotations

from pathlib import Path

from snellen.core.errors import InputError
from snellen.core.system import MINIMUM_SEEDS, Record, Scale, System, read_record


def check_recordable(system: System, scale: Scale, seeds: int, target: Path) -> None:
    """Refuse what may not be recorded in ``target``.

    Raises:
        InputError: the scale is smoke, there are too few seeds, ``target`` is not a recorded result, its claims were
            changed without a reason, or it holds a result at full scale that one at small scale would replace.
    """
    if scale == "smoke":
        raise InputError(
            "a smoke run proves nothing that is recorded, since it runs all stages on random weights; record nothing, "
            "or choose the scale small or full"
        )
    if seeds < MINIMUM_SEEDS:
        raise InputError(f"a recorded result needs at least {MINIMUM_SEEDS} seeds, got {seeds}")
    if not target.is_file():
        return
    before = read_record(target)
    _check_amendments(system, before, target)
    if before.scale == "full" and scale != "full" and before.claims_hash == system.claims_hash:
        raise InputError(
            f"{target} holds the result of these claims at full scale, which one at scale {scale} would replace; move "
            f"{target} to another folder first, or run at full scale"
        )


def _check_amendments(system: System, before: Record, target: Path) -> None:
    """A claim that changed since the record needs a reason of its own, and a recorded reason stays."""
    silent = []
    for claim in system.claims:
        recorded = before.amendments.get(claim.id)
        changed = before.claim_hashes.get(claim.id) != claim.hash
        if (changed and claim.amended in (None, recorded)) or (recorded is not None and claim.amended is None):
            silent.append(claim.id)
    dropped = sorted(set(before.claim_hashes) - {claim.id for claim in system.claims})
    if silent or dropped:
        raise InputError(
            f"the claims of system {system.number} differ from those recorded in {target} "
            f"(changed without a new 'amended' reason, or a recorded one taken away: {', '.join(silent) or 'none'}; "
            f"dropped: {', '.join(dropped) or 'none'}); write the reason into the claim, or restore it"
        )
