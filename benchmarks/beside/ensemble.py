"""AutoAttack beside torchattacks and pyautoattack, on the bundled classifier: with as many steps, and as each comes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Set

from beside.attacks import EPSILON, Settings, attacked, broken, looked, peers, problem
from beside.contest import Contest, Peer

from snellen.methods.attacks.ensemble import StandardEnsemble

PEERS = {package: peers.PACKAGES[package] for package in ("torchattacks", "pyautoattack")}

#: Its authors' steps, and those of torchattacks.AutoAttack, which cannot be set there.
STANDARD, FEW = 100, 10


def contests(available: Set[str]) -> Iterator[Contest]:
    """AutoAttack with 100 steps, which its authors call standard, and with the 10 of torchattacks.AutoAttack."""
    logging.disable(logging.WARNING)
    at = problem("fashion", 16)
    for steps in (STANDARD, FEW):
        given = Settings(epsilon=EPSILON, auto_steps=steps)
        others = {}
        for package in sorted(available):
            for label, attack in peers.attacks_of(package, "standard", given, at).items():
                note = "10 steps, ours 100" if "as it comes" in label and steps != FEW else ""
                if "pyautoattack" not in label or steps == STANDARD:
                    others[label] = Peer(package, looked(at, attack, package), note)
        if steps == FEW:
            others.pop("torchattacks", None)  # the same as what comes
        method = StandardEnsemble(epsilon=EPSILON, steps=steps)
        yield Contest(f"AutoAttack, {steps} steps, 16 images", attacked(method, at), others, broken(at, EPSILON), 2)
