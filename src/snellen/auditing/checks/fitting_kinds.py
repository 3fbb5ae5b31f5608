"""Which kinds of damage fit a domain, in a report: names of kinds, a note, and a table with the reasons."""

from __future__ import annotations

from collections.abc import Sequence

from snellen.checks.panels import Panel
from snellen.core.errors import InputError, unknown_name
from snellen.methods.corruptions.benchmarks import Benchmark
from snellen.methods.corruptions.domains import EVERYTHING, Domain
from snellen.methods.corruptions.nrtk_kinds import NRTK_KINDS

#: Stands for all kinds of NRTK that are not ruled out in the domain.
NRTK = "nrtk"

#: How the note on the domain begins.
DOMAIN_NOTE = "Damage is that of the domain"

#: How the plausibilities are worded in a report, where it is not by their names.
_WORDS = {"no": "not for this domain"}


def named_kinds(names: Sequence[str], chosen: Benchmark, fitted: Domain) -> tuple[str, ...]:
    """Kinds by names of kinds, of families, or ``nrtk``; a family stands for its kinds that need no other package.

    >>> from snellen.methods.corruptions.benchmarks import benchmark
    >>> from snellen.methods.corruptions.domains import domain
    >>> named_kinds(["digital", "fog"], benchmark("sized"), domain("products"))
    ('low_resolution', 'jpeg_compression', 'pixelate', 'fog')

    Raises:
        UnknownNameError: neither a kind nor a family of the benchmark.
        InputError: ``nrtk`` in a domain that rules all its kinds out.
    """
    every = (NRTK,) if NRTK_KINDS.keys() <= chosen.operators.keys() else ()
    found: list[str] = []
    for name in names:
        if name in chosen.operators:
            found.append(name)
        elif name in chosen.families:
            members = chosen.families[name]
            found += [kind for kind in members if kind not in NRTK_KINDS] or members
        elif name in every:
            fit = [kind for kind in NRTK_KINDS if fitted.fits[kind].plausibility != "no"]
            if not fit:
                raise InputError(f"no damage of NRTK is for {fitted.name}; name kinds of it: {', '.join(NRTK_KINDS)}")
            found += fit
        else:
            raise unknown_name(f"corruption of {chosen.name}", name, (*chosen.kinds, *chosen.families, *every))
    return tuple(dict.fromkeys(found))


def fit_note(fitted: Domain, measured: Sequence[str], guess: str | None) -> str:
    """Which domain it is, who says so, what is not measured for it, and the options that change both.

    Args:
        fitted: the domain.
        measured: kinds that are measured.
        guess: why the domain was guessed; None where it was declared.
    """
    how = "as declared" if guess is None else f"guessed: {guess}; --domain NAME, in Python domain=, changes it"
    line = f"{DOMAIN_NOTE} {fitted.name} ({how})."
    left = [kind for kind in fitted.left_out if kind not in measured]
    rare, unfit = ([kind for kind in left if fitted.fits[kind].plausibility == word] for word in ("rare", "no"))
    parts = [
        f"{words}: {', '.join(kinds)}" for words, kinds in (("rare", rare), ("not for this domain", unfit)) if kinds
    ]
    if parts:
        one = (unfit or rare)[0]
        line += (
            f" Not measured: {'; '.join(parts)}. --set 'corruption.also=[\"{one}\"]' brings one back, --domain "
            f"{EVERYTHING} brings all."
        )
    return line


def fit_panel(fitted: Domain, chosen: Benchmark, measured: Sequence[str], check: str) -> Panel:
    """How plausible each kind is in the domain and why: what is measured first, in families."""
    rows = [
        (
            family,
            kind,
            "yes" if kind in measured else "no",
            _WORDS.get(fitted.fits[kind].plausibility, fitted.fits[kind].plausibility),
            fitted.fits[kind].why,
        )
        for family, kinds in chosen.families.items()
        for kind in kinds
        if kind in measured or kind not in NRTK_KINDS
    ]
    return Panel(
        check=check,
        title=f"Which damage fits {fitted.name}",
        about="For the order of findings, and for it alone, harm is multiplied by a factor. It is 1 where a kind is "
        "usual, and 0.5 where it happens sometimes. It is 0.2 where it is rare, and 0.1 where it is not for the "
        "domain.",
        head=("family", "kind", "measured", "in this domain", "why"),
        rows=tuple(sorted(rows, key=lambda row: row[2] != "yes")),
    )
