"""Domains of images, and how plausible each kind of damage is in them: a garment in a shop gets no fog.

The table is ``domains.toml``, with a reason for every kind. It was written from how such images are made, not measured.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from snellen.core import package
from snellen.core.errors import unknown_name
from snellen.methods.corruptions.benchmarks import OWN, SIZED, BenchmarkName, benchmark
from snellen.methods.corruptions.nrtk_kinds import NRTK_KINDS

Plausibility = Literal["usual", "sometimes", "rare", "no"]

#: What harm is multiplied by for the order of findings.
WEIGHTS: Mapping[Plausibility, float] = {"usual": 1.0, "sometimes": 0.5, "rare": 0.2, "no": 0.1}

#: The domains whose kinds are those of ``sized``.
GENERAL = ("photos", "products", "documents", "satellite", "industrial")

MEDICAL = "medical"

#: All kinds, all alike: for who wants to choose himself.
EVERYTHING = "all"


@dataclass(frozen=True)
class Fit:
    """How plausible a kind of damage is, and why."""

    plausibility: Plausibility
    why: str

    @property
    def weight(self) -> float:
        """See :data:`WEIGHTS`."""
        return WEIGHTS[self.plausibility]


@dataclass(frozen=True)
class Domain:
    """A domain of images.

    Attributes:
        name: such as ``products`` or ``medical:xray``.
        benchmark: whose strengths its kinds have.
        fits: of every kind of that benchmark.
    """

    name: str
    benchmark: BenchmarkName
    fits: Mapping[str, Fit]

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is measured by default: usual or sometimes, without what needs another package."""
        return tuple(
            kind
            for kind in benchmark(self.benchmark).main
            if self.fits[kind].plausibility in ("usual", "sometimes") and kind not in NRTK_KINDS
        )

    @property
    def left_out(self) -> tuple[str, ...]:
        """Kinds that are rare in this domain or not for it, without what needs another package."""
        return tuple(
            kind for kind in benchmark(self.benchmark).kinds if kind not in self.kinds and kind not in NRTK_KINDS
        )


def domain_names() -> tuple[str, ...]:
    """The names of all domains.

    >>> domain_names()[:3], domain_names()[-1]
    (('photos', 'products', 'documents'), 'all')
    """
    return (*GENERAL, *(f"{MEDICAL}:{kind}" for kind in medical_kinds()), EVERYTHING)


def medical_kinds() -> tuple[str, ...]:
    """Modalities of medical images that have a domain.

    >>> "xray" in medical_kinds()
    True
    """
    return tuple(name.removeprefix(f"{SIZED}-") for name in OWN if name != SIZED)


@cache
def domain(name: str) -> Domain:
    """A domain by name.

    >>> domain("products").fits["fog"].why
    'products are photographed indoors'
    >>> domain("medical:xray").benchmark
    'sized-xray'

    Raises:
        UnknownNameError: there is none of that name; ``medical`` alone is none.
    """
    if name not in domain_names():
        raise unknown_name("domain", name, domain_names())
    if name == EVERYTHING:
        every = {kind: Fit("usual", "all kinds count alike") for kind in benchmark(SIZED).kinds}
        return Domain(name, SIZED, every)
    if name in GENERAL:
        return Domain(name, SIZED, {kind: Fit(*row) for kind, row in table()[name].items()})
    whose = next(one for one in OWN if one == f"{SIZED}-{name.removeprefix(f'{MEDICAL}:')}")
    rows = {kind: Fit(*row) for kind, row in table()[MEDICAL].items()}
    main = benchmark(whose).main
    fits = {
        kind: rows.get(kind, rows["published"]) if kind in main else rows["other"] for kind in benchmark(whose).kinds
    }
    return Domain(name, whose, fits)


@cache
def table() -> dict[str, Any]:
    """What ``domains.toml`` holds."""
    found = tomllib.loads(package.text("methods/corruptions/domains.toml"))
    levels = get_args(Plausibility)
    assert all(row[0] in levels for name in (*GENERAL, MEDICAL) for row in found[name].values())
    return found
